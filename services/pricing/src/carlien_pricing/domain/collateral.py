"""The value of the car over the loan's life, and what is lost when the borrower defaults.

The value t months from now is lognormal: today's appraisal error (from P10/P50), plus a market move common to all cars, plus
what happens to this car. A loss is a put: exposure less what the sale brings, never less than zero.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.normal import normal_cdf

Array = npt.NDArray[np.float64]

# Standard normal quantile of 90 %: ln(P50/P10) is this many standard deviations.
Z90 = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class ValuePath:
    """Distribution of the value in month 0..n of one car, in currency.

    `median[t]`; the logarithm's deviation has three independent parts: `spread_now` (appraisal error, constant over time) and
    random walks with monthly volatilities `market_volatility` (common) and `own_volatility`.
    """

    median: Array
    spread_now: float
    market_volatility: float
    own_volatility: float

    def deviation(self, month: Array) -> Array:
        """Standard deviation of the log value, by month."""
        walk = self.market_volatility**2 + self.own_volatility**2
        return np.sqrt(self.spread_now**2 + walk * month)

    def percentile_10(self) -> Array:
        months = np.arange(len(self.median), dtype=np.float64)
        return np.asarray(self.median * np.exp(-Z90 * self.deviation(months)))


def value_path(p50: float, p10: float, annual_decline: float, market_volatility: float, own_volatility: float, months: int) -> ValuePath:
    """A path of geometric decline. `annual_decline` as a fraction a year; volatilities are annual."""
    monthly = math.log1p(-annual_decline) / 12
    median = p50 * np.exp(monthly * np.arange(months + 1, dtype=np.float64))
    return ValuePath(
        median,
        max(math.log(p50 / p10), 0.0) / Z90,
        market_volatility / math.sqrt(12),
        own_volatility / math.sqrt(12),
    )


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a sale after default takes and costs."""

    lag_months: int
    """From default to money from the sale."""
    liquidation_cost: float
    """Towing, storage, auction, court: share of the sale price."""
    forced_sale_ratio: float
    """Sale price over the appraised basis."""
    recoverability: float
    """Probability that the car is found and taken, from telematics trust and lien rank."""
    unsecured_recovery: float
    """Share of what remains that the borrower still pays."""
    prior_claims: float = 0.0
    """Secured amounts that rank ahead, paid first."""


def loss_given_default(path: ValuePath, recovery: Recovery, exposure: Array, annual_rate: float) -> Array:
    """Expected loss in currency for a default in month 1..n, where `exposure[m-1]` is owed then.

    Interest accrues on the exposure until the sale, so that the result is in money of the default month.
    """
    months = np.arange(1, len(exposure) + 1)
    sale = np.minimum(months + recovery.lag_months, len(path.median) - 1)
    discount = (1 + annual_rate / 12) ** -recovery.lag_months
    net = (1 - recovery.liquidation_cost) * recovery.forced_sale_ratio * discount
    # Prior claims are paid first: the sale must bring exposure + prior before ours is whole.
    strike = exposure + recovery.prior_claims * discount
    put = lognormal_put(path.median[sale] * net, path.deviation(sale.astype(np.float64)), strike)
    shortfall = np.minimum(put, exposure)
    loss = recovery.recoverability * shortfall + (1 - recovery.recoverability) * exposure
    return np.asarray((1 - recovery.unsecured_recovery) * loss)


def lognormal_put(median: Array, deviation: Array, strike: Array) -> Array:
    """E[max(strike - V, 0)] for V = median * exp(deviation * Z)."""
    sigma = np.maximum(deviation, 1e-9)
    with np.errstate(divide="ignore"):
        d = (np.log(strike) - np.log(median)) / sigma
    return np.asarray(
        np.where(
            strike > 0,
            strike * normal_cdf(d) - median * np.exp(0.5 * sigma * sigma) * normal_cdf(d - sigma),
            0.0,
        )
    )
