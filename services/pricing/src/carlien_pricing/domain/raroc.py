"""The rate at which a loan earns the hurdle on its capital.

RAROC = (1 - tax) (interest + fees - funding - operating cost - expected loss) / capital, all as present values over the life
(funding rate as discount rate). Interest less funding is the only part that moves much with the rate, and it is close to linear
in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.collateral import LossCurve, Recovery, ValuePath
from carlien_pricing.domain.credit import irb_capital, marginal_pd
from carlien_pricing.domain.schedule import RepaymentMethod

Array = npt.NDArray[np.float64]

_MAX_RATE = 5.0
PRECISION = 1e-9
"""Of a rate that is rounded up to 1e-4."""
ROUGH = 1e-6
"""Of a rate that only starts a search or shows a direction."""


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
    curtailments: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RiskInputs:
    """What is known of borrower and car. The last fields follow from the first
    and are kept because a price is solved by asking many times.
    """

    pd_12m: float
    cumulative_pd: Array
    path: ValuePath
    recovery: Recovery
    marginal_pd: Array = field(init=False)
    alive: Array = field(init=False)
    losses: LossCurve = field(init=False)
    capital_per_lgd: float = field(init=False)

    def __post_init__(self) -> None:
        survival = 1 - self.cumulative_pd
        object.__setattr__(self, "marginal_pd", marginal_pd(self.cumulative_pd))
        object.__setattr__(self, "alive", np.concatenate(([1.0], survival[:-1])))
        object.__setattr__(self, "losses", LossCurve(self.path, self.recovery, len(self.cumulative_pd)))
        # K is linear in LGD: one number per unit of LGD is enough.
        object.__setattr__(self, "capital_per_lgd", irb_capital(self.pd_12m, 1.0))


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
            owed = np.full(n, shape.principal)
            for due, share in shape.curtailments:
                owed[due:] -= shape.principal * share
            return np.asarray(np.maximum(owed, shape.balloon))
        case RepaymentMethod.EQUAL_PRINCIPAL:
            return np.asarray(shape.principal - (shape.principal - shape.balloon) * after / paying)
        case RepaymentMethod.EQUAL_PAYMENT:
            i = annual_rate / 12
            if i < 1e-9:
                return np.asarray(shape.principal - (shape.principal - shape.balloon) * after / paying)
            growth = (1 + i) ** after
            payment = (shape.principal - shape.balloon * (1 + i) ** -paying) * i / (1 - (1 + i) ** -paying)
            return np.asarray(shape.principal * growth - payment * (growth - 1) / i)


class Deal:
    """A loan on a car, a borrower and a lender: everything but the rate. What was computed for a rate is kept, for a search comes
    back to it and only the factor of the loss changes.
    """

    __slots__ = ("_at", "_economics", "_risk", "_shape", "_weight")

    def __init__(self, shape: LoanShape, risk: RiskInputs, economics: Economics) -> None:
        self._shape, self._risk, self._economics = shape, risk, economics
        self._weight = risk.alive * _discount(economics.funding_rate, shape.term_months)
        self._at: dict[float, Profitability] = {}

    def profitability(self, annual_rate: float, loss_factor: float = 1.0) -> Profitability:
        """RAROC and its parts at this nominal rate. `loss_factor` scales the closed-form loss to the joint simulation's."""
        shape, economics = self._shape, self._economics
        plain = self._at.get(annual_rate)
        if plain is None:
            plain = self._at[annual_rate] = self._without_factor(annual_rate)
        expected_loss = loss_factor * plain.expected_loss
        months = float(self._weight.sum())
        margin = (annual_rate - economics.funding_rate) / 12 * plain.held
        fees = shape.upfront_fees + shape.monthly_fee * months
        opex = economics.opex_upfront + economics.opex_monthly * months
        raroc = (1 - economics.tax_rate) * (margin + fees - opex - expected_loss) / max(plain.capital, 1e-9)
        return Profitability(raroc, expected_loss, plain.capital, plain.held, plain.lgd, plain.exposure)

    def _without_factor(self, annual_rate: float) -> Profitability:
        """Loss, capital and exposure at a rate; the return isn't known yet."""
        shape, risk, economics = self._shape, self._risk, self._economics
        exposure = exposure_profile(shape, annual_rate)
        loss = risk.losses.loss(exposure, annual_rate)
        lgd = np.minimum(loss / np.maximum(exposure, 1e-9), 1.0)
        held = exposure * self._weight
        expected_loss = float((risk.marginal_pd * loss) @ _discount(economics.funding_rate, shape.term_months))
        capital = float(np.maximum(risk.capital_per_lgd * lgd, economics.capital_floor) @ held) / 12
        return Profitability(0.0, expected_loss, capital, float(held.sum()), lgd, exposure)

    def rate_for_hurdle(self, loss_factor: float = 1.0, guess: float | None = None, precision: float = PRECISION) -> float | None:
        """The lowest nominal rate (fraction a year) with RAROC >= hurdle; None where none below 500 % does.

        With loss and exposure as they are at rate r, the rate that would earn the hurdle is explicit: g(r). Both hardly move with
        r, so r = g(r) is found in a few secant steps; where it isn't, by bisection.
        """
        economics = self._economics

        def wanted(rate: float) -> float:
            found = self.profitability(rate, loss_factor)
            missing = economics.hurdle - found.raroc
            return rate + 12 * missing * found.capital / ((1 - economics.tax_rate) * found.held)

        previous = economics.funding_rate if guess is None else guess
        step_back = wanted(previous) - previous
        rate = max(previous + step_back, 0.0)
        for _ in range(12):
            step = wanted(rate) - rate
            if abs(step) < precision:
                return rate
            slope = (step - step_back) / (rate - previous) if rate != previous else -1.0
            previous, step_back = rate, step
            rate = min(max(rate - step / slope if slope < 0 else rate + step, 0.0), _MAX_RATE)
            if rate == previous:
                break
        return _bisect(wanted)


@lru_cache(maxsize=256)
def _discount(rate: float, months: int) -> Array:
    factors = (1 + rate / 12) ** -np.arange(1, months + 1, dtype=np.float64)
    factors.setflags(write=False)
    return factors


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
