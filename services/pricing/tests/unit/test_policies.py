from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.policies import PolicyError, bundle_version, load_bundle, parse_bundle, read_files
from carlien_pricing.domain.cost import AnnualisedCost
from carlien_pricing.domain.legality import (
    LoanFacts,
    default_interest_limit,
    fee_breaches,
    ltv_limit,
    rate_caps,
    tenor_limit,
    upfront_interest,
)
from carlien_pricing.domain.matrix import Axis, UsageFacts, borrower_grade, collateral_grade, usage_grade
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType

BUNDLE = load_bundle()
LAW = BUNDLE.law
MATRIX = BUNDLE.matrix_on(date(2026, 3, 2))


def cost(rate: float) -> AnnualisedCost:
    monthly = (1 + rate) ** (1 / 12) - 1
    return AnnualisedCost.from_monthly(monthly)


class TestRateCaps:
    @pytest.mark.parametrize(
        ("lender", "on", "expected"),
        [
            (LenderType.PRIVATE, date(2020, 8, 19), [("PRIVATE_24", "0.24")]),
            (LenderType.PRIVATE, date(2020, 8, 20), [("PRIVATE_4X_LPR", "0.154")]),
            (LenderType.PRIVATE, date(2024, 10, 20), [("PRIVATE_4X_LPR", "0.134")]),
            (LenderType.PRIVATE, date(2024, 10, 21), [("PRIVATE_4X_LPR", "0.124")]),
            (LenderType.MICRO_LOAN, date(2026, 1, 5), [("MICRO_LOAN_24", "0.24")]),
            (LenderType.MICRO_LOAN, date(2027, 12, 31), [("MICRO_LOAN_4X_LPR", "0.12"), ("MICRO_LOAN_24", "0.24")]),
            (LenderType.LICENSED, date(2026, 1, 5), [("LICENSED_24_PRACTICE", "0.24")]),
            (LenderType.FACILITATION, date(2025, 9, 30), [("FACILITATION_24_PRACTICE", "0.24")]),
            (LenderType.FACILITATION, date(2025, 10, 1), [("FACILITATION_24", "0.24")]),
            (LenderType.OTHER_FINANCIAL, date(2026, 1, 5), [("OTHER_FINANCIAL_24_PRACTICE", "0.24")]),
        ],
    )
    def test_by_lender_and_date(self, lender: LenderType, on: date, expected: list[tuple[str, str]]) -> None:
        found = rate_caps(LAW, lender, on)
        assert [(cap.rule, cap.limit) for cap in found] == [(rule, Decimal(limit)) for rule, limit in expected]
        assert all(cap.in_force_on == on and cap.source and cap.headroom is None for cap in found)

    def test_golden_loan_keeps_24_percent_and_breaks_4x_lpr(self) -> None:
        golden = AnnualisedCost.from_monthly(0.0178810)
        (licensed,) = rate_caps(LAW, LenderType.LICENSED, date(2021, 1, 4), golden)
        (private,) = rate_caps(LAW, LenderType.PRIVATE, date(2021, 1, 4), golden)
        assert licensed.kept
        assert not private.kept

    def test_the_limit_itself_is_kept(self) -> None:
        (cap,) = rate_caps(LAW, LenderType.LICENSED, date(2026, 1, 5), cost(0.24))
        assert cap.kept
        assert cap.headroom == pytest.approx(0, abs=1e-9)

    def test_an_old_lpr_is_carried_forward_and_said_so(self) -> None:
        (cap,) = rate_caps(LAW, LenderType.PRIVATE, LAW.lpr.verified_until + timedelta(days=1))
        assert "carried forward" in cap.explanation
        (cap,) = rate_caps(LAW, LenderType.PRIVATE, LAW.lpr.verified_until)
        assert "carried forward" not in cap.explanation

    def test_a_date_before_the_tables_is_a_typed_error(self) -> None:
        with pytest.raises(DomainError) as caught:
            rate_caps(LAW, LenderType.LICENSED, date(2010, 1, 1))
        assert caught.value.reason == "RULES_NOT_COVERED"

    @given(st.sampled_from(list(LenderType)), st.dates(date(2018, 1, 1), date(2035, 12, 31)))
    def test_every_lender_has_a_cap_on_every_date(self, lender: LenderType, on: date) -> None:
        if lender is LenderType.PRIVATE or on >= date(2018, 1, 1):
            assert rate_caps(LAW, lender, on)


def facts(
    purpose: LoanPurpose,
    energy: Energy | None = None,
    age: CarAge | None = None,
    on: date = date(2026, 3, 2),
    product: ProductType = ProductType.OWNER,
) -> LoanFacts:
    return LoanFacts(on, LenderType.LICENSED, product, purpose, energy, age)


PRIVATE, COMMERCIAL = LoanPurpose.PURCHASE_PRIVATE_USE, LoanPurpose.PURCHASE_COMMERCIAL_USE


class TestLtvLimits:
    @pytest.mark.parametrize(
        ("given", "rule", "limit"),
        [
            (facts(PRIVATE, Energy.ICE, CarAge.NEW, date(2024, 4, 2)), "PURCHASE_PRIVATE_ICE_80", "0.80"),
            (facts(PRIVATE, Energy.NEV, CarAge.NEW, date(2024, 4, 2)), "PURCHASE_PRIVATE_NEV_85", "0.85"),
            (facts(PRIVATE, Energy.ICE, CarAge.NEW, date(2024, 4, 3)), "PURCHASE_PRIVATE_LENDER_DECIDES", "1.00"),
            (facts(COMMERCIAL, Energy.ICE, CarAge.NEW), "PURCHASE_COMMERCIAL_ICE_70", "0.70"),
            (facts(COMMERCIAL, Energy.NEV, CarAge.NEW), "PURCHASE_COMMERCIAL_NEV_75", "0.75"),
            (facts(PRIVATE, Energy.NEV, CarAge.USED), "PURCHASE_USED_70", "0.70"),
            (facts(LoanPurpose.OPERATING, Energy.ICE, CarAge.USED), "HOUSE_OWNER_80", "0.80"),
            # Unknown facts meet the tightest limit that might apply.
            (facts(PRIVATE, None, None), "PURCHASE_USED_70", "0.70"),
            (facts(COMMERCIAL, None, CarAge.NEW), "PURCHASE_COMMERCIAL_ICE_70", "0.70"),
        ],
    )
    def test_by_use_energy_and_date(self, given: LoanFacts, rule: str, limit: str) -> None:
        found = ltv_limit(LAW, given)
        assert found is not None
        assert (found.rule, found.value) == (rule, Decimal(limit))


def test_tenor_limits() -> None:
    used = tenor_limit(LAW, facts(PRIVATE, Energy.ICE, CarAge.USED))
    new = tenor_limit(LAW, facts(PRIVATE, Energy.ICE, CarAge.NEW))
    stock = tenor_limit(LAW, facts(LoanPurpose.OPERATING, product=ProductType.DEALER_STOCK))
    assert used is not None
    assert new is not None
    assert stock is not None
    assert (used.value, new.value, stock.value) == (36, 60, 12)


def test_default_interest() -> None:
    on = date(2026, 1, 5)
    assert default_interest_limit(LAW, LenderType.PRIVATE, on, Decimal("0.10")).value == Decimal("0.12")
    assert default_interest_limit(LAW, LenderType.LICENSED, on, Decimal("0.10")).value == Decimal("0.150")
    assert default_interest_limit(LAW, LenderType.LICENSED, on, Decimal("0.20")).rule == "DEFAULT_24"


def test_interest_withheld_is_found_by_its_kind() -> None:
    found = upfront_interest(LAW, date(2026, 1, 5), [("GPS", Decimal(100)), ("interest", Decimal(50))])
    assert found is not None
    assert (found.amount, found.rule) == (Decimal(50), "CIVIL_CODE_670")
    assert upfront_interest(LAW, date(2026, 1, 5), [("GPS", Decimal(100))]) is None


def test_fee_limits() -> None:
    broken = fee_breaches(LAW, LenderType.MICRO_LOAN, date(2026, 1, 5), Decimal(1000), Decimal(101), ["OTHER"])
    assert {breach.rule for breach in broken} == {"HOUSE_UPFRONT_FEES_10", "MICRO_LOAN_UNDISCLOSED_FEES"}


class TestMatrix:
    def test_every_axis_is_monotone(self) -> None:
        assert len(MATRIX.cells) == 7 * 5 * 5
        for cell in MATRIX:
            for axis in Axis:
                better = cell.grades.better(axis)
                if better:
                    assert cell.at_least_as_strict_as(MATRIX.cell(better))

    def test_grades(self) -> None:
        rules = MATRIX.grade_rules
        assert [borrower_grade(rules, pd) for pd in (0.001, 0.005, 0.0051, 0.5)] == [1, 1, 2, 7]
        assert collateral_grade(rules, 0.1, low_confidence=False, first_rank=True) == 1
        assert collateral_grade(rules, 0.1, low_confidence=True, first_rank=True) == 2
        assert collateral_grade(rules, 0.1, low_confidence=False, first_rank=False) == 5

    @given(st.booleans(), st.floats(0, 1e5), st.booleans(), st.booleans())
    def test_not_knowing_is_never_better(self, device: bool, silent: float, alarm: bool, commercial: bool) -> None:
        known = usage_grade(MATRIX.grade_rules, UsageFacts(True, device, silent, alarm), commercial)
        unknown = usage_grade(MATRIX.grade_rules, UsageFacts(known=False), commercial)
        assert known <= unknown


def broken(name: str, edit: Callable[[str], str]) -> dict[str, str]:
    texts = read_files()
    changed = edit(texts[name])
    assert changed != texts[name]
    return {**texts, name: changed}


class TestLoading:
    @pytest.mark.parametrize(
        ("name", "old", "new", "complaint"),
        [
            ("risk_matrix", '[2, 2, 2, 1, "0.84"', '[2, 2, 2, 1, "0.99"', "is kinder than"),
            ("risk_matrix", "[7, 5, 5,", "[7, 5, 4,", "occurs twice"),
            ("lpr", "effective_to: 2019-09-19", "effective_to: 2019-09-10", "must begin the day after"),
            ("rate_caps", 'lpr_multiple: "4"\n    effective_from: 2020', "effective_from: 2020", "exactly one of"),
            ("rate_caps", "basis", "bases", ""),
            ("ltv_limits", 'limit: "0.80", purposes: [OPERATING]', "limt: 1, purposes: [OPERATING]", "limt"),
            ("fee_limits", "source: House limit", "source: ''", "names no source"),
            ("products", "[0.90, 0.87, 0.82, 0.75, 0.65]", "[0.90, 0.97, 0.82, 0.75, 0.65]", "falling"),
            ("economics", "hurdle: 0.15", "hurdle: 15", "fractions"),
        ],
    )
    def test_a_table_that_makes_no_sense_does_not_load(self, name: str, old: str, new: str, complaint: str) -> None:
        if name == "rate_caps" and old == "basis":
            texts = broken(name, lambda text: text.replace("rows:", "rowz:", 1))
        else:
            texts = broken(name, lambda text: text.replace(old, new, 1))
        with pytest.raises(PolicyError) as caught:
            parse_bundle(texts)
        assert complaint in str(caught.value)

    def test_the_version_is_the_content(self) -> None:
        texts = read_files()
        assert bundle_version(texts) == BUNDLE.version
        assert bundle_version({**texts, "lpr": texts["lpr"] + "\n"}) != BUNDLE.version
