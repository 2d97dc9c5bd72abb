"""The annualised cost of a loan: all payments over what was actually received.

PBoC Announcement 2021 No. 3: all-in cost over the principal actually received, annualised; compound = IRR, simple where
labelled so. Civil Code 670 and the private-lending interpretation (Art. 26): interest withheld up front is not principal,
so everything deducted at the start lowers the denominator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.schedule import Instalment

_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class AnnualisedCost:
    """Fractions. `irr` = (1 + monthly)^12 - 1 (compound), `simple` = 12 x monthly."""

    monthly: float
    irr: float
    simple: float

    @classmethod
    def from_monthly(cls, monthly: float) -> "AnnualisedCost":
        return cls(monthly, (1 + monthly) ** 12 - 1, 12 * monthly)


def monthly_irr(received: float, payments: Sequence[float]) -> float:
    """The one monthly rate at which the payments (month 1, 2, ...; none negative, one positive) are worth `received`.

    With discount factor v, f(v) = sum c_k v^k - received is increasing and convex for v > 0, so Newton's steps from the
    right of the root fall monotonically onto it: no bracket, no second root.
    """
    if received <= 0:
        raise invalid("fees", "NET_PROCEEDS_NOT_POSITIVE", "fees deducted up front leave nothing to pay out")
    if not any(payment > 0 for payment in payments) or any(payment < 0 for payment in payments):
        raise invalid("schedule", "PAYMENTS_NOT_POSITIVE", "payments must not be negative and one must be positive")
    v = 1.0
    while _polynomial(v, payments)[0] < received:
        v *= 2
    for _ in range(_MAX_STEPS):
        value, slope = _polynomial(v, payments)
        step = (value - received) / slope
        if v - step >= v:
            break
        v -= step
    return 1 / v - 1


def _polynomial(v: float, payments: Sequence[float]) -> tuple[float, float]:
    """Sum of c_k v^k for k = 1.. and its derivative, by Horner's rule."""
    value = slope = 0.0
    for payment in reversed(payments):
        slope = slope * v + value
        value = value * v + payment
    return value * v, slope * v + value


def annualised_cost(principal: Decimal, schedule: Sequence[Instalment], upfront_fees: Decimal) -> AnnualisedCost:
    """All-in cost: the borrower receives principal less up-front fees and pays every instalment with its fees."""
    return AnnualisedCost.from_monthly(monthly_irr(float(principal - upfront_fees), [float(row.total) for row in schedule]))


def annualised_interest(principal: Decimal, schedule: Sequence[Instalment]) -> AnnualisedCost:
    """Cost of interest alone, without any fee."""
    return AnnualisedCost.from_monthly(monthly_irr(float(principal), [float(row.payment) for row in schedule]))


def simple_to_irr(simple: float) -> float:
    """Compound rate of a simple one with monthly payments."""
    return float((1 + simple / 12) ** 12 - 1)
