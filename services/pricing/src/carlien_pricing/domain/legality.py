"""What the tables say about one loan on one date. Every answer names the rule and the date it was looked up for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.cost import AnnualisedCost
from carlien_pricing.domain.policy import (
    Authority,
    CarAge,
    DefaultInterestRule,
    Energy,
    LawTables,
    LenderType,
    LoanPurpose,
    ProductType,
    RateBasis,
    RateCapRule,
    rules_in_force,
)


@dataclass(frozen=True, slots=True)
class CapAnswer:
    """A cap in force, and how far a rate is from it (negative: broken)."""

    rule: str
    limit: Decimal
    basis: RateBasis
    in_force_on: date
    source: str
    explanation: str
    headroom: float | None = None

    @property
    def kept(self) -> bool:
        return self.headroom is None or self.headroom >= 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The tightest limit of a table."""

    rule: str
    value: Decimal
    source: str
    authority: Authority


@dataclass(frozen=True, slots=True)
class LoanFacts:
    """What the rules look at. None = not known, and then every rule that might apply does."""

    on: date
    lender: LenderType
    product: ProductType
    purpose: LoanPurpose
    energy: Energy | None
    age: CarAge | None


# Rounding of cents moves an annualised rate by less than this; a smaller excess is not a breach.
_TOLERANCE = 1e-9


def rate_caps(tables: LawTables, lender: LenderType, on: date, cost: AnnualisedCost | None = None) -> list[CapAnswer]:
    """Caps in force for this lender on this date, tightest first.

    Raises INVALID RULES_NOT_COVERED for a date before the tables begin.
    """
    answers = []
    for row in rules_in_force(tables.rate_caps, on):
        if lender not in row.lender_types:
            continue
        limit, explanation = _cap_limit(tables, row, on)
        headroom = None
        if cost is not None:
            rate = cost.irr if row.basis is RateBasis.IRR else cost.simple
            headroom = round(float(limit) - rate, 12)
            if -_TOLERANCE < headroom < 0:
                headroom = 0.0
        answers.append(CapAnswer(row.id, limit, row.basis, on, row.source, explanation, headroom))
    if not answers:
        raise invalid("quote_date", "RULES_NOT_COVERED", f"no rate cap for {lender} is on record for {on.isoformat()}")
    return sorted(answers, key=lambda answer: (answer.limit, answer.rule))


def _cap_limit(tables: LawTables, row: RateCapRule, on: date) -> tuple[Decimal, str]:
    if row.limit is not None:
        return row.limit, f"{row.explanation} Limit {_percent(row.limit)}."
    assert row.lpr_multiple is not None  # noqa: S101 - checked when the tables are loaded
    lpr = tables.lpr.on(on)
    limit = row.lpr_multiple * lpr.rate
    text = f"{row.explanation} {row.lpr_multiple} x {_percent(lpr.rate)} ({lpr.id}) = {_percent(limit)}."
    if on > tables.lpr.verified_until:
        text += f" The LPR is carried forward from {tables.lpr.verified_until.isoformat()}: update the table."
    return limit, text


def _percent(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f} %"


def ltv_limit(tables: LawTables, facts: LoanFacts) -> Limit | None:
    """The tightest LTV limit that may apply; None where no rule does."""
    found = [
        Limit(row.id, row.limit, row.source, row.authority)
        for row in rules_in_force(tables.ltv_limits, facts.on)
        if _selects(row.purposes, facts.purpose)
        and _selects(row.energies, facts.energy)
        and _selects(row.ages, facts.age)
        and _selects(row.products, facts.product)
    ]
    return min(found, key=lambda limit: (limit.value, limit.rule), default=None)


def tenor_limit(tables: LawTables, facts: LoanFacts) -> Limit | None:
    """The shortest tenor limit in months that may apply."""
    found = [
        Limit(row.id, Decimal(row.max_months), row.source, row.authority)
        for row in rules_in_force(tables.tenor_limits, facts.on)
        if _selects(row.purposes, facts.purpose)
        and _selects(row.ages, facts.age)
        and _selects(row.products, facts.product)
        and _selects(row.lender_types, facts.lender)
    ]
    return min(found, key=lambda limit: (limit.value, limit.rule), default=None)


def _selects(selector: Sequence[object], value: object | None) -> bool:
    return not selector or value is None or value in selector


@dataclass(frozen=True, slots=True)
class UpfrontInterest:
    """Interest withheld: not principal, by the named rule."""

    amount: Decimal
    rule: str
    source: str


def upfront_interest(tables: LawTables, on: date, fees: Sequence[tuple[str, Decimal]]) -> UpfrontInterest | None:
    """Sum of the up-front items that are interest by another name; `fees` = (kind, amount) paid at the start."""
    for row in rules_in_force(tables.upfront_interest, on):
        amount = sum((amount for kind, amount in fees if kind.upper() in row.fee_kinds), Decimal(0))
        if amount:
            return UpfrontInterest(amount, row.id, row.source)
    return None


@dataclass(frozen=True, slots=True)
class FeeBreach:
    """A fee rule that the loan breaks."""

    rule: str
    message: str


def fee_breaches(
    tables: LawTables, lender: LenderType, on: date, principal: Decimal, upfront: Decimal, kinds: Sequence[str]
) -> list[FeeBreach]:
    """Fee rules broken by these fees; empty where all are kept."""
    breaches = []
    for row in rules_in_force(tables.fee_limits, on):
        if row.lender_types and lender not in row.lender_types:
            continue
        if row.max_upfront_share is not None and upfront > row.max_upfront_share * principal:
            breaches.append(FeeBreach(row.id, f"up-front fees exceed {_percent(row.max_upfront_share)} of the principal"))
        breaches.extend(FeeBreach(row.id, f"fee {kind} may not be charged") for kind in kinds if kind.upper() in row.forbidden_kinds)
    return breaches


def default_interest_limit(tables: LawTables, lender: LenderType, on: date, contract_rate: Decimal) -> Limit:
    """Highest annual rate after default, all penalties included: the tightest of the rules in force."""
    found = [
        Limit(row.id, _default_limit(tables, row, on, contract_rate), row.source, row.authority)
        for row in rules_in_force(tables.default_interest, on)
        if lender in row.lender_types
    ]
    if not found:
        raise invalid("quote_date", "RULES_NOT_COVERED", f"no default-interest rule for {lender} on {on.isoformat()}")
    return min(found, key=lambda limit: (limit.value, limit.rule))


def _default_limit(tables: LawTables, row: DefaultInterestRule, on: date, contract_rate: Decimal) -> Decimal:
    if row.limit is not None:
        return row.limit
    if row.lpr_multiple is not None:
        return row.lpr_multiple * tables.lpr.on(on).rate
    assert row.contract_multiple is not None  # noqa: S101 - checked when the tables are loaded
    return row.contract_multiple * contract_rate
