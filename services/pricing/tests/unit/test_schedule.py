from datetime import date
from decimal import Decimal

import pytest
import pyxirr
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_pricing.domain.calendar import DayCount, add_months, months_between, year_fraction
from carlien_pricing.domain.cost import annualised_cost, annualised_interest, monthly_irr
from carlien_pricing.domain.schedule import LoanTerms, RepaymentMethod, build_schedule


def terms(**changes: object) -> LoanTerms:
    base: dict[str, object] = {
        "principal": Decimal(100_000),
        "term_months": 12,
        "nominal_rate": Decimal("0.08"),
        "method": RepaymentMethod.EQUAL_PAYMENT,
        "start": date(2026, 1, 15),
    }
    return LoanTerms(**{**base, **changes})  # type: ignore[arg-type]


class TestGoldenVectors:
    """The reference's golden annualised rates, to the printed digits; pyxirr agrees."""

    def test_equal_principal_with_flat_monthly_fee(self) -> None:
        loan = terms(nominal_rate=Decimal(0), method=RepaymentMethod.EQUAL_PRINCIPAL)
        schedule = build_schedule(loan, monthly_fee=Decimal(1000))
        cost = annualised_cost(loan.principal, schedule, Decimal(0))
        assert f"{cost.monthly:.5%}" == "1.78810%"
        assert f"{cost.simple:.3%}" == "21.457%"
        assert f"{cost.irr:.3%}" == "23.698%"

    def test_netted_upfront_fees(self) -> None:
        loan = terms(term_months=36)
        schedule = build_schedule(loan)
        assert schedule[0].payment == Decimal("3133.64")
        cost = annualised_cost(loan.principal, schedule, Decimal(3000 + 1200))
        assert f"{cost.simple:.3%}" == "10.940%"
        assert f"{cost.irr:.3%}" == "11.505%"

    def test_without_fees_the_cost_is_the_nominal_rate(self) -> None:
        loan = terms(term_months=36)
        assert annualised_interest(loan.principal, build_schedule(loan)).simple == pytest.approx(0.08, abs=1e-6)


methods = st.sampled_from(list(RepaymentMethod))
cents = st.integers(min_value=1, max_value=10**9).map(lambda n: Decimal(n) / 100)


@st.composite
def loans(draw: st.DrawFn) -> LoanTerms:
    term = draw(st.integers(1, 60))
    principal = draw(cents)
    share = draw(st.integers(0, 100))
    return LoanTerms(
        principal=principal,
        term_months=term,
        nominal_rate=Decimal(draw(st.integers(0, 30_000))) / 10_000,
        method=draw(methods),
        start=draw(st.dates(date(2018, 1, 1), date(2030, 12, 31))),
        balloon=(principal * share / 100).quantize(Decimal("0.01"), rounding="ROUND_DOWN"),
        grace_months=draw(st.integers(0, term - 1)),
        day_count=draw(st.sampled_from(list(DayCount))),
    )


class TestSchedule:
    @given(loans())
    def test_principal_sums_to_the_cent_and_never_rises(self, loan: LoanTerms) -> None:
        schedule = build_schedule(loan)
        assert sum(row.principal for row in schedule) == loan.principal
        assert schedule[-1].remaining == 0
        assert all(row.principal >= 0 and row.interest >= 0 for row in schedule)
        assert all(row.principal == 0 for row in schedule[: loan.grace_months] if row.number < loan.term_months)
        assert [row.number for row in schedule] == list(range(1, loan.term_months + 1))

    @given(loans())
    def test_the_cost_of_any_schedule_is_what_pyxirr_says(self, loan: LoanTerms) -> None:
        schedule = build_schedule(loan)
        payments = [float(row.total) for row in schedule]
        received = float(loan.principal) * 0.97
        ours = monthly_irr(received, payments)
        # pyxirr may miss extreme roots; the definition never lies.
        assert sum(p / (1 + ours) ** k for k, p in enumerate(payments, 1)) == pytest.approx(received, rel=1e-9)
        theirs = pyxirr.irr([-received, *payments])
        if theirs is not None and theirs > -0.99:
            assert ours == pytest.approx(theirs, abs=1e-7)

    def test_equal_payments_are_equal_but_for_rounding(self) -> None:
        schedule = build_schedule(terms(term_months=36))
        assert len({row.payment for row in schedule[:-1]}) == 1
        assert abs(schedule[-1].payment - schedule[0].payment) < Decimal("0.36")

    def test_interest_only_pays_principal_at_the_end(self) -> None:
        schedule = build_schedule(terms(method=RepaymentMethod.INTEREST_ONLY))
        assert {row.principal for row in schedule[:-1]} == {0}
        assert schedule[-1].principal == 100_000

    def test_balloon_falls_due_with_the_last_instalment(self) -> None:
        schedule = build_schedule(terms(balloon=Decimal(40_000)))
        assert schedule[-2].remaining > Decimal(40_000)
        assert schedule[-1].principal > Decimal(40_000)
        assert abs(schedule[-1].payment - schedule[0].payment - 40_000) < Decimal("0.12")

    def test_grace_defers_principal(self) -> None:
        schedule = build_schedule(terms(grace_months=3))
        assert [row.principal for row in schedule[:3]] == [0, 0, 0]
        assert schedule[3].principal > 0

    def test_yen_has_no_decimals(self) -> None:
        schedule = build_schedule(terms(minor_unit=Decimal(1)))
        assert all(row.interest == row.interest.to_integral_value() for row in schedule)

    @pytest.mark.parametrize(
        ("changes", "field", "reason"),
        [
            ({"principal": Decimal(0)}, "amount", "AMOUNT_NOT_POSITIVE"),
            ({"principal": Decimal(-5)}, "amount", "AMOUNT_NOT_POSITIVE"),
            ({"principal": Decimal("NaN")}, "amount", "AMOUNT_NOT_POSITIVE"),
            ({"principal": Decimal("1e11")}, "amount", "AMOUNT_TOO_LARGE"),
            ({"principal": Decimal("0.001")}, "amount", "AMOUNT_TOO_PRECISE"),
            ({"term_months": 0}, "term_months", "TERM_OUT_OF_RANGE"),
            ({"term_months": 61}, "term_months", "TERM_OUT_OF_RANGE"),
            ({"nominal_rate": Decimal(11)}, "nominal_rate", "RATE_OUT_OF_RANGE"),
            ({"balloon": Decimal(100_001)}, "balloon", "NEVER_AMORTISES"),
            ({"balloon": Decimal(-1)}, "balloon", "BALLOON_INVALID"),
            ({"grace_months": 12}, "grace_months", "GRACE_TOO_LONG"),
        ],
    )
    def test_terms_that_are_no_loan_are_refused(self, changes: dict[str, object], field: str, reason: str) -> None:
        with pytest.raises(DomainError) as caught:
            terms(**changes)
        assert caught.value.reason == reason
        assert caught.value.violations[0].field == field

    def test_fees_that_eat_the_loan_are_refused(self) -> None:
        with pytest.raises(DomainError) as caught:
            annualised_cost(Decimal(1000), build_schedule(terms(principal=Decimal(1000))), Decimal(1000))
        assert caught.value.reason == "NET_PROCEEDS_NOT_POSITIVE"


class TestDates:
    def test_month_ends(self) -> None:
        assert add_months(date(2026, 1, 31), 1) == date(2026, 2, 28)
        assert add_months(date(2028, 1, 31), 1) == date(2028, 2, 29)
        assert add_months(date(2026, 11, 30), 14) == date(2028, 1, 30)

    @given(st.dates(date(2000, 1, 1), date(2060, 1, 1)), st.integers(0, 60))
    def test_months_between_inverts_add_months(self, start: date, months: int) -> None:
        assert months_between(start, add_months(start, months)) in (months, months - (add_months(start, months).day < start.day))

    @pytest.mark.parametrize(
        ("convention", "start", "end", "expected"),
        [
            (DayCount.THIRTY_360, date(2026, 1, 31), date(2026, 2, 28), Decimal(28) / 360),
            (DayCount.THIRTY_360, date(2026, 1, 15), date(2027, 1, 15), Decimal(1)),
            (DayCount.ACT_365, date(2026, 1, 1), date(2027, 1, 1), Decimal(1)),
            (DayCount.ACT_360, date(2026, 1, 1), date(2026, 12, 27), Decimal(1)),
            (DayCount.ACT_ACT, date(2027, 7, 1), date(2028, 7, 1), Decimal(184) / 365 + Decimal(182) / 366),
        ],
    )
    def test_day_counts(self, convention: DayCount, start: date, end: date, expected: Decimal) -> None:
        assert year_fraction(start, end, convention) == expected
