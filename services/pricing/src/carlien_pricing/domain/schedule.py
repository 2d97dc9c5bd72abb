"""Repayment schedules, exact to the minor unit.

Every amount is rounded half up (四舍五入) to the currency's minor unit, once; the last instalment takes what rounding left,
so the principal column always sums to the principal exactly.
"""

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from enum import StrEnum
from itertools import pairwise

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.calendar import DayCount, add_months, year_fraction

MAX_TERM_MONTHS = 60
MAX_NOMINAL_RATE = Decimal(10)
MAX_PRINCIPAL = Decimal("1e10")
# 60 compounding factors of 28 digits lose at most a few units of the last place; 40 leaves room for any term allowed.
_PRECISION = Context(prec=40)


class RepaymentMethod(StrEnum):
    """How principal is repaid; payments fall due monthly."""

    EQUAL_PAYMENT = "EQUAL_PAYMENT"
    EQUAL_PRINCIPAL = "EQUAL_PRINCIPAL"
    INTEREST_ONLY = "INTEREST_ONLY"


@dataclass(frozen=True, slots=True)
class LoanTerms:
    """What is lent and how it is repaid. Amounts in the loan's currency, rates as fractions a year."""

    principal: Decimal
    term_months: int
    nominal_rate: Decimal
    method: RepaymentMethod
    start: date
    minor_unit: Decimal = Decimal("0.01")
    balloon: Decimal = Decimal(0)
    """Part of the principal that falls due with the last instalment."""
    grace_months: int = 0
    """First months in which interest alone is paid."""
    day_count: DayCount = DayCount.THIRTY_360
    curtailments: tuple[tuple[int, Decimal], ...] = ()
    """(month, share of the original principal) that an interest-only loan repays on the way; shares below 1 in all."""

    def __post_init__(self) -> None:
        if not self.principal.is_finite() or self.principal <= 0:
            raise invalid("amount", "AMOUNT_NOT_POSITIVE", "the amount must be positive")
        if self.principal > MAX_PRINCIPAL:
            raise invalid("amount", "AMOUNT_TOO_LARGE", f"the amount must not exceed {MAX_PRINCIPAL:f}")
        if self.principal % self.minor_unit:
            raise invalid("amount", "AMOUNT_TOO_PRECISE", f"the amount must be a multiple of {self.minor_unit}")
        if not 1 <= self.term_months <= MAX_TERM_MONTHS:
            raise invalid("term_months", "TERM_OUT_OF_RANGE", f"the term must be 1 to {MAX_TERM_MONTHS} months")
        if not self.nominal_rate.is_finite() or not 0 <= self.nominal_rate <= MAX_NOMINAL_RATE:
            raise invalid("nominal_rate", "RATE_OUT_OF_RANGE", "the nominal rate must be a fraction of 0 to 10 a year")
        if not self.balloon.is_finite() or self.balloon < 0 or self.balloon % self.minor_unit:
            raise invalid("balloon", "BALLOON_INVALID", f"the balloon must be a multiple of {self.minor_unit}, not negative")
        if self.balloon > self.principal:
            raise invalid("balloon", "NEVER_AMORTISES", "a balloon above the principal never amortises")
        if not 0 <= self.grace_months < self.term_months:
            raise invalid("grace_months", "GRACE_TOO_LONG", "the grace period must be shorter than the term")


@dataclass(frozen=True, slots=True)
class Instalment:
    """One payment. `payment` = principal + interest; fees come on top."""

    number: int
    due: date
    principal: Decimal
    interest: Decimal
    fees: Decimal
    remaining: Decimal

    @property
    def payment(self) -> Decimal:
        return self.principal + self.interest

    @property
    def total(self) -> Decimal:
        return self.principal + self.interest + self.fees


def round_money(amount: Decimal, minor_unit: Decimal) -> Decimal:
    """Half up to a multiple of the minor unit."""
    return amount.quantize(minor_unit, rounding=ROUND_HALF_UP)


def level_payment(principal: Decimal, balloon: Decimal, rates: list[Decimal]) -> Decimal:
    """The unrounded payment that takes `principal` to `balloon` under these period rates.

    The balance is linear in the payment: B_n = P * prod(1+r_k) - A * sum_j prod_{k>j}(1+r_k). With equal rates this is
    the annuity formula; with day counts it is the one payment that fits all periods.
    """
    growth, annuity = Decimal(1), Decimal(0)
    for rate in rates:
        annuity = annuity * (1 + rate) + 1
        growth *= 1 + rate
    return (principal * growth - balloon) / annuity


def build_schedule(terms: LoanTerms, monthly_fee: Decimal = Decimal(0)) -> tuple[Instalment, ...]:
    """All instalments; principal sums to `terms.principal`, and the last `remaining` is zero.

    `monthly_fee` (a multiple of the minor unit) is paid with every instalment.
    """
    with localcontext(_PRECISION):
        return _build(terms, monthly_fee)


def _build(terms: LoanTerms, monthly_fee: Decimal) -> tuple[Instalment, ...]:
    unit, term, grace = terms.minor_unit, terms.term_months, terms.grace_months
    dates = [add_months(terms.start, month) for month in range(term + 1)]
    if terms.day_count is DayCount.THIRTY_360:
        rates = [terms.nominal_rate / 12] * term
    else:
        rates = [terms.nominal_rate * year_fraction(begin, end, terms.day_count) for begin, end in pairwise(dates)]
    amortising = term - grace
    payment = Decimal(0)
    principal_part = Decimal(0)
    match terms.method:
        case RepaymentMethod.EQUAL_PAYMENT:
            payment = round_money(level_payment(terms.principal, terms.balloon, rates[grace:]), unit)
        case RepaymentMethod.EQUAL_PRINCIPAL:
            principal_part = round_money((terms.principal - terms.balloon) / amortising, unit)
        case RepaymentMethod.INTEREST_ONLY:
            pass

    curtailed = {month: round_money(terms.principal * share, unit) for month, share in terms.curtailments}
    rows: list[Instalment] = []
    remaining = terms.principal
    for number in range(1, term + 1):
        interest = round_money(remaining * rates[number - 1], unit)
        if number == term:
            principal = remaining
        elif terms.method is RepaymentMethod.INTEREST_ONLY:
            principal = min(curtailed.get(number, Decimal(0)), remaining - terms.balloon)
        elif number <= grace:
            principal = Decimal(0)
        else:
            wanted = principal_part if terms.method is RepaymentMethod.EQUAL_PRINCIPAL else payment - interest
            # Rounding of tiny loans must neither raise the balance nor take it below the balloon.
            principal = min(max(wanted, Decimal(0)), remaining - terms.balloon)
        remaining -= principal
        rows.append(Instalment(number, dates[number], principal, interest, monthly_fee, remaining))
    return tuple(rows)
