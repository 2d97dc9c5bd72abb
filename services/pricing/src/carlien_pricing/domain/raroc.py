"""The rate at which a loan earns the hurdle on its capital.

RAROC = (1 - tax) (interest + fees - funding - operating cost - expected loss) / capital, all as present values over the life
(funding rate as discount rate). Interest less funding is the only part that moves much with the rate, and it is close to linear
in it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.collateral import Recovery, ValuePath, loss_given_default
from carlien_pricing.domain.credit import irb_capital, marginal_pd
from carlien_pricing.domain.schedule import RepaymentMethod

Array = npt.NDArray[np.float64]

_MAX_RATE = 5.0


@dataclass(frozen=True, slots=True)
class Economics:
    """What money, work and capital cost. Rates as fractions a year, amounts in currency."""

    funding_rate: float
    opex_upfront: float
    opex_monthly: float
    tax_rate: float
    hurdle: float
    capital_floor: float
    """Least capital over exposure, whatever the IRB formula says."""


@dataclass(frozen=True, slots=True)
class LoanShape:
    """A loan without its rate. Fees here are the lender's own income."""

    principal: float
    term_months: int
    method: RepaymentMethod
    balloon: float
    grace_months: int
    upfront_fees: float
    monthly_fee: float


@dataclass(frozen=True, slots=True)
class RiskInputs:
    """What is known of borrower and car. `loss_factor` scales the closed-form loss to the joint simulation's."""

    pd_12m: float
    cumulative_pd: Array
    path: ValuePath
    recovery: Recovery
    loss_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Profitability:
    """Present values in currency, RAROC as a fraction a year. `held` in currency x months, `capital` in currency x years."""

    raroc: float
    expected_loss: float
    capital: float
    held: float
    lgd: Array
    exposure: Array


def exposure_profile(shape: LoanShape, annual_rate: float) -> Array:
    """Principal owed at the start of month 1..n, unrounded."""
    n, grace = shape.term_months, shape.grace_months
    month = np.arange(n, dtype=np.float64)
    after = np.maximum(month - grace, 0.0)
    paying = n - grace
    match shape.method:
        case RepaymentMethod.INTEREST_ONLY:
            return np.full(n, shape.principal)
        case RepaymentMethod.EQUAL_PRINCIPAL:
            return np.asarray(shape.principal - (shape.principal - shape.balloon) * after / paying)
        case RepaymentMethod.EQUAL_PAYMENT:
            i = annual_rate / 12
            if i < 1e-9:
                return np.asarray(shape.principal - (shape.principal - shape.balloon) * after / paying)
            growth = (1 + i) ** after
            payment = (shape.principal - shape.balloon * (1 + i) ** -paying) * i / (1 - (1 + i) ** -paying)
            return np.asarray(shape.principal * growth - payment * (growth - 1) / i)


def profitability(shape: LoanShape, risk: RiskInputs, economics: Economics, annual_rate: float) -> Profitability:
    """RAROC and its parts at this nominal rate."""
    n = shape.term_months
    exposure = exposure_profile(shape, annual_rate)
    loss = loss_given_default(risk.path, risk.recovery, exposure, annual_rate)
    lgd = np.clip(loss / np.maximum(exposure, 1e-9), 0.0, 1.0)
    alive = 1 - np.concatenate(([0.0], risk.cumulative_pd[: n - 1]))
    discount = (1 + economics.funding_rate / 12) ** -np.arange(1, n + 1, dtype=np.float64)
    held = exposure * alive * discount
    expected_loss = risk.loss_factor * float((marginal_pd(risk.cumulative_pd[:n]) * loss * discount).sum())
    held_sum = float(held.sum())
    margin = (annual_rate - economics.funding_rate) / 12 * held_sum
    fees = shape.upfront_fees + shape.monthly_fee * float((alive * discount).sum())
    opex = economics.opex_upfront + economics.opex_monthly * float((alive * discount).sum())
    # K is linear in LGD: one number per unit of LGD is enough.
    per_lgd = irb_capital(risk.pd_12m, 1.0)
    capital = float((np.maximum(per_lgd * lgd, economics.capital_floor) * held).sum()) / 12
    raroc = (1 - economics.tax_rate) * (margin + fees - opex - expected_loss) / max(capital, 1e-9)
    return Profitability(raroc, expected_loss, capital, held_sum, lgd, exposure)


def rate_for_hurdle(shape: LoanShape, risk: RiskInputs, economics: Economics) -> float | None:
    """The lowest nominal rate (fraction a year) with RAROC >= hurdle; None where none below 500 % does.

    With loss and exposure as they are at rate r, the rate that would earn the hurdle is explicit: g(r). Both hardly move with
    r, so r = g(r) is found in a few secant steps; where it isn't, by bisection.
    """

    def wanted(rate: float) -> float:
        found = profitability(shape, risk, economics, rate)
        missing = economics.hurdle - found.raroc
        return rate + 12 * missing * found.capital / ((1 - economics.tax_rate) * found.held)

    previous = economics.funding_rate
    step_back = wanted(previous) - previous
    rate = max(previous + step_back, 0.0)
    for _ in range(12):
        step = wanted(rate) - rate
        if abs(step) < 1e-10:
            return rate
        slope = (step - step_back) / (rate - previous) if rate != previous else -1.0
        previous, step_back = rate, step
        rate = min(max(rate - step / slope if slope < 0 else rate + step, 0.0), _MAX_RATE)
        if rate == previous:
            break
    return _bisect(wanted)


def _bisect(wanted: Callable[[float], float]) -> float | None:
    low, high = 0.0, _MAX_RATE
    if wanted(low) <= low:
        return low
    if wanted(high) > high:
        return None
    while high - low > 1e-10:
        middle = (low + high) / 2
        if wanted(middle) > middle:
            low = middle
        else:
            high = middle
    return high
