import csv
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.book_file import COLUMNS, read_book
from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.cli import main
from carlien_pricing.domain.book import STRESSES, Scenario, reprice, tightest_caps
from carlien_pricing.domain.collateral import Recovery, ValuePath, loss_given_default, value_path
from carlien_pricing.domain.credit import cumulative_pd, expected_credit_loss, marginal_pd
from carlien_pricing.domain.policy import Energy, ProductType
from carlien_pricing.domain.products import EconomicsRow
from carlien_pricing.domain.raroc import Deal, Economics, LoanShape, RiskInputs, exposure_profile
from carlien_pricing.domain.schedule import RepaymentMethod

BUNDLE = load_bundle()
HEADER = ",".join(COLUMNS)
ROWS = (
    "L1,60000,24,0.08,0.09,0.02,100000,85000,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,0,0.02",
    "L2,70000,6,0.11,0.13,0.05,90000,60000,INTEREST_ONLY,MICRO_LOAN,NEV,NEV,4,31,0.05",
    "L3,30000,60,0.10,0.119,0.01,100000,95000,EQUAL_PAYMENT,PRIVATE,OWNER,ICE,3,120,0.01",
)


@pytest.fixture
def book_file(tmp_path: Path) -> Path:
    path = tmp_path / "book.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return path


def single_loan(economics: EconomicsRow) -> tuple[Recovery, ValuePath]:
    """What the book's 24-month loan on a petrol car stands on."""
    pack, path = BUNDLE.packs[ProductType.OWNER], economics.value_paths[Energy.ICE]
    recovery = Recovery(
        economics.recovery_lag_months,
        economics.liquidation_cost,
        economics.forced_sale_ratio,
        pack.recoverability[0],
        economics.unsecured_recovery,
    )
    decline = path.annual_decline + economics.unforecast_decline_margin
    return recovery, value_path(100_000, 85_000, decline, path.market_volatility, path.own_volatility, 24 + recovery.lag_months)


def test_the_book_agrees_with_a_single_loan(book_file: Path) -> None:
    """Flat seasoning, one loan: the array formulas are the quote's."""
    economics = replace(BUNDLE.economics_on(date(2026, 3, 2)), seasoning=(1.0,), opex_upfront_share=0.0)
    found = reprice(read_book(book_file), economics, BUNDLE, Scenario("base"))
    recovery, car = single_loan(economics)
    risk = RiskInputs(
        0.02,
        cumulative_pd(0.02, (1.0,), 24),
        car,
        recovery,
    )
    shape = LoanShape(60_000.0, 24, RepaymentMethod.EQUAL_PAYMENT, 0.0, 0, 0.0, 0.0)
    opex = economics.opex_monthly_share * 60_000
    rates = (economics.tax_rate, economics.hurdle, economics.capital_floor)
    costs = Economics(economics.funding_rate(24), 0.0, opex, *rates)
    single = Deal(shape, risk, costs).profitability(0.08)
    assert found.expected_loss[0] == pytest.approx(single.expected_loss, rel=1e-6)
    assert found.raroc[0] == pytest.approx(single.raroc, rel=1e-5)
    assert found.ltv_p50[0] == pytest.approx(0.6)


def test_every_stress_hurts(book_file: Path) -> None:
    economics = BUNDLE.economics_on(date(2026, 3, 2))
    book = read_book(book_file)
    base, *stressed = [reprice(book, economics, BUNDLE, scenario) for scenario in STRESSES]
    for result in stressed:
        assert (result.raroc < base.raroc).all()
    assert (stressed[0].ltv_p50 > base.ltv_p50).all()
    assert (stressed[1].expected_loss <= base.expected_loss + 1e-9).all(), "dearer money discounts the same losses more"
    assert (stressed[2].expected_loss > base.expected_loss).all()


def test_caps_follow_the_scenario() -> None:
    caps = dict(zip(["LICENSED", "MICRO_LOAN", "PRIVATE"], tightest_caps(BUNDLE.law, date(2027, 12, 31), 0.02)[:3], strict=True))
    assert caps == {"LICENSED": 0.24, "MICRO_LOAN": pytest.approx(0.08), "PRIVATE": pytest.approx(0.08)}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("L,-1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,,", "outstanding"),
        ("L,1,0,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,,", "months_left"),
        ("L,1,24,nan,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,,", "nominal_rate"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,BANK,OWNER,ICE,1,,", "lender_type"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,9,,", "usage_grade"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,-1,", "days_past_due"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1,,nan", "pd_at_origination"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "book.csv"
    path.write_text(f"{HEADER}\n{ROWS[0]}\n{row}\n", encoding="utf-8")
    with pytest.raises(DomainError, match=f"line 3: {complaint}"):
        read_book(path)


def test_optional_columns_default_to_the_worse(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    optional = ("loan_id", "method", "product_type", "energy", "usage_grade", "days_past_due", "pd_at_origination")
    names = [name for name in COLUMNS if name not in optional]
    values = dict(zip(COLUMNS, ROWS[0].split(","), strict=True))
    path.write_text(",".join(names) + "\n" + ",".join(values[name] for name in names) + "\n", encoding="utf-8")
    book = read_book(path)
    assert book.usage_grade.tolist() == [5]
    assert np.array_equal(book.energy, [1])
    assert book.loan_id.tolist() == ["line 2"]
    assert reprice(book, BUNDLE.economics_on(date(2026, 3, 2)), BUNDLE, Scenario("base")).stage.tolist() == [2]


def test_the_stage_decides_what_is_booked(book_file: Path) -> None:
    """Against the formula for single loans; a default that has happened loses what its LGD says of what is owed now."""
    economics = BUNDLE.economics_on(date(2026, 3, 2))
    book = read_book(book_file)
    found = reprice(book, economics, BUNDLE, Scenario("base"))
    assert found.stage.tolist() == [1, 2, 3]
    assert (found.ecl_12m <= found.ecl_lifetime).all()
    assert found.ecl_12m[1] == pytest.approx(found.ecl_lifetime[1]), "it ends within twelve months"
    assert found.allowance[:2].tolist() == [found.ecl_12m[0], found.ecl_lifetime[1]]
    assert found.ecl_lifetime[2] < found.allowance[2] < book.outstanding[2]

    recovery, car = single_loan(economics)
    exposure = exposure_profile(LoanShape(60_000.0, 24, RepaymentMethod.EQUAL_PAYMENT, 0.0, 0, 0.0, 0.0), 0.08)
    lgd = loss_given_default(car, recovery, exposure, 0.08) / exposure
    single = expected_credit_loss(marginal_pd(cumulative_pd(0.02, (1.0,), 24)), lgd, exposure, 0.08 / 12, stage=1)
    assert found.ecl_12m[0] == pytest.approx(single.twelve_month, rel=1e-6)
    assert found.ecl_lifetime[0] == pytest.approx(single.lifetime, rel=1e-6)


def test_a_stress_moves_stages_and_allowances(book_file: Path) -> None:
    economics = BUNDLE.economics_on(date(2026, 3, 2))
    book = read_book(book_file)
    base, market, _, doubled, worst = [reprice(book, economics, BUNDLE, scenario) for scenario in STRESSES]
    assert market.stage.tolist() == base.stage.tolist()
    assert (market.allowance > base.allowance).all()
    assert doubled.stage.tolist() == base.stage.tolist(), "twice is not more than twice"
    tripled = reprice(book, economics, BUNDLE, Scenario("PD x 3", pd=3.0))
    assert tripled.stage.tolist() == [2, 2, 3]
    assert tripled.allowance[0] == tripled.ecl_lifetime[0]
    assert (worst.allowance >= np.maximum(market.allowance, doubled.allowance)).all()


def test_the_reports(book_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "portfolio.html"
    loans = tmp_path / "allowances.csv"
    arguments = ["portfolio", "--book", str(book_file), "--report", str(report), "--loans", str(loans), "--date", "2026-03-02", "--json"]
    assert main(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert "share_above_cap_if_new" in figures["scenarios"][0]
    page = report.read_text(encoding="utf-8")
    assert page.count("<img") == 4
    rows = list(csv.DictReader(loans.read_text(encoding="utf-8").splitlines()))
    assert [(row["loan_id"], row["stage"]) for row in rows if row["scenario"] == "base"] == [("L1", "1"), ("L2", "2"), ("L3", "3")]
    for scenario in STRESSES:
        mine = [row for row in figures["allowances"] if row["scenario"] == scenario.name]
        whole = sum(Decimal(row["allowance"]) for row in rows if row["scenario"] == scenario.name)
        for axis in {row["axis"] for row in mine}:
            assert sum(row["allowance"] for row in mine if row["axis"] == axis) == pytest.approx(float(whole), abs=0.02)
            assert sum(row["loans"] for row in mine if row["axis"] == axis) == len(ROWS)
    assert "market -30 %" in page
    readiness = tmp_path / "readiness.html"
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "0.03"]) == 1, "L2 is above 12 %"
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "0.05"]) == 0
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "x"]) == 2
    assert main(["portfolio", "--book", str(tmp_path / "none.csv"), "--report", str(report)]) == 2
