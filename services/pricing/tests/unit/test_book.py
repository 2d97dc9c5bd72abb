from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.book_file import COLUMNS, read_book
from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.cli import main
from carlien_pricing.domain.book import STRESSES, Scenario, reprice, tightest_caps
from carlien_pricing.domain.collateral import Recovery, value_path
from carlien_pricing.domain.credit import cumulative_pd
from carlien_pricing.domain.policy import Energy, ProductType
from carlien_pricing.domain.raroc import Deal, Economics, LoanShape, RiskInputs
from carlien_pricing.domain.schedule import RepaymentMethod

BUNDLE = load_bundle()
HEADER = "loan_id," + ",".join(COLUMNS)
ROWS = (
    "L1,60000,24,0.08,0.09,0.02,100000,85000,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1",
    "L2,70000,6,0.11,0.13,0.05,90000,60000,INTEREST_ONLY,MICRO_LOAN,NEV,NEV,4",
    "L3,30000,60,0.10,0.119,0.01,100000,95000,EQUAL_PAYMENT,PRIVATE,OWNER,ICE,3",
)


@pytest.fixture
def book_file(tmp_path: Path) -> Path:
    path = tmp_path / "book.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    return path


def test_the_book_agrees_with_a_single_loan(book_file: Path) -> None:
    """Flat seasoning, one loan: the array formulas are the quote's."""
    economics = replace(BUNDLE.economics_on(date(2026, 3, 2)), seasoning=(1.0,), opex_upfront_share=0.0)
    found = reprice(read_book(book_file), economics, BUNDLE, Scenario("base"))
    pack, path = BUNDLE.packs[ProductType.OWNER], economics.value_paths[Energy.ICE]
    recovery = Recovery(
        economics.recovery_lag_months,
        economics.liquidation_cost,
        economics.forced_sale_ratio,
        pack.recoverability[0],
        economics.unsecured_recovery,
    )
    decline = path.annual_decline + economics.unforecast_decline_margin
    risk = RiskInputs(
        0.02,
        cumulative_pd(0.02, (1.0,), 24),
        value_path(100_000, 85_000, decline, path.market_volatility, path.own_volatility, 24 + recovery.lag_months),
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
        ("L,-1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1", "outstanding"),
        ("L,1,0,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1", "months_left"),
        ("L,1,24,nan,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,1", "nominal_rate"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,BANK,OWNER,ICE,1", "lender_type"),
        ("L,1,24,0.08,0.09,0.02,1,1,EQUAL_PAYMENT,LICENSED,OWNER,ICE,9", "usage_grade"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "book.csv"
    path.write_text(f"{HEADER}\n{ROWS[0]}\n{row}\n", encoding="utf-8")
    with pytest.raises(DomainError, match=f"line 3: {complaint}"):
        read_book(path)


def test_optional_columns_default_to_the_worse(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    names = [name for name in COLUMNS if name not in ("method", "product_type", "energy", "usage_grade")]
    values = dict(zip(["loan_id", *COLUMNS], ROWS[0].split(","), strict=True))
    path.write_text(",".join(names) + "\n" + ",".join(values[name] for name in names) + "\n", encoding="utf-8")
    book = read_book(path)
    assert book.usage_grade.tolist() == [5]
    assert np.array_equal(book.energy, [1])


def test_the_reports(book_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "portfolio.html"
    assert main(["portfolio", "--book", str(book_file), "--report", str(report), "--date", "2026-03-02", "--json"]) == 0
    assert '"share_above_cap_if_new"' in capsys.readouterr().out
    page = report.read_text(encoding="utf-8")
    assert page.count("<img") == 3
    assert "market -30 %" in page
    readiness = tmp_path / "readiness.html"
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "0.03"]) == 1, "L2 is above 12 %"
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "0.05"]) == 0
    assert main(["readiness", "--book", str(book_file), "--report", str(readiness), "--lpr", "x"]) == 2
    assert main(["portfolio", "--book", str(tmp_path / "none.csv"), "--report", str(report)]) == 2
