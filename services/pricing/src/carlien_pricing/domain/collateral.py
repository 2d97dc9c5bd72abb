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
_LEAST_DEVIATION = 1e-9
_LEAST_STRIKE = 1e-12


@dataclass(frozen=True, slots=True)
class ValuePath:
    """Distribution of the value in month 0..n of one car, in currency.

    `median[t]`; the logarithm's deviation has three independent parts: `spread_now` (appraisal error, constant over time), a
    random walk of monthly volatility `market_volatility` (common to all cars), and this car's own, of standard deviation `own[t]`.
    """

    median: Array
    spread_now: float
    market_volatility: float
    own: Array
    floor: Array | None = None
    """What the car brings at least, whatever its market does (an own traction battery); None: nothing."""

    def deviation(self) -> Array:
        """Standard deviation of the log value, by month."""
        months = np.arange(len(self.median), dtype=np.float64)
        return np.asarray(np.sqrt(self.spread_now**2 + self.market_volatility**2 * months + self.own**2))

    def percentile_10(self) -> Array:
        """Value that is undercut with 10 % probability, by month."""
        low = np.asarray(self.median * np.exp(-Z90 * self.deviation()))
        return low if self.floor is None else np.maximum(low, self.floor)


def value_path(p50: float, p10: float, annual_decline: float, market_volatility: float, own_volatility: float, months: int) -> ValuePath:
    """A path of geometric decline. `annual_decline` as a fraction a year; volatilities are annual."""
    month = np.arange(months + 1, dtype=np.float64)
    median = p50 * np.exp(math.log1p(-annual_decline) / 12 * month)
    return ValuePath(median, _spread(p50, p10), market_volatility / math.sqrt(12), own_volatility * np.sqrt(month / 12))


def forecast_path(
    p50: float,
    p10: float,
    ahead: Array,
    forecast_p50: Array,
    forecast_p10: Array,
    market_volatility: float,
    annual_decline: float,
    months: int,
) -> ValuePath:
    """A path along valuation's forecast, its months `ahead` rising from 0; beyond them the value declines by the policy.

    The forecast's shape is taken relative to its month 0, so that the path begins at the appraised value. Its width is the whole
    deviation: what appraisal and market don't explain is this car's own. Where they alone are wider, the wider one holds.
    """
    month = np.arange(months + 1, dtype=np.float64)
    last = ahead[-1]
    beyond = np.maximum(month - last, 0.0)
    drift = np.interp(month, ahead, np.log(forecast_p50 / forecast_p50[0])) + math.log1p(-annual_decline) / 12 * beyond
    # Variance beyond the forecast grows as it did to its end.
    variance = np.interp(month, ahead, (np.log(forecast_p50 / forecast_p10) / Z90) ** 2)
    if last > 0:
        variance = variance + (variance[min(int(last), months)] / last) * beyond
    spread, market = _spread(p50, p10), market_volatility / math.sqrt(12)
    own = np.sqrt(np.maximum(variance - spread**2 - market**2 * month, 0.0))
    return ValuePath(np.asarray(p50 * np.exp(drift)), spread, market, np.asarray(own))


def _spread(p50: float, p10: float) -> float:
    return max(math.log(p50 / p10), 0.0) / Z90


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


class LossCurve:
    """Expected loss of a default in month 1..n on one car, for any exposure: what doesn't depend on the loan's rate is kept."""

    __slots__ = ("_deviation", "_floor", "_log_net", "_recovery", "_scaled")

    def __init__(self, path: ValuePath, recovery: Recovery, months: int) -> None:
        sale = np.minimum(np.arange(1, months + 1) + recovery.lag_months, len(path.median) - 1)
        net = path.median[sale] * ((1 - recovery.liquidation_cost) * recovery.forced_sale_ratio)
        self._recovery = recovery
        self._deviation = np.maximum(path.deviation()[sale], _LEAST_DEVIATION)
        self._log_net = np.log(net)
        self._scaled = net * np.exp(0.5 * self._deviation**2)
        self._floor = None if path.floor is None else path.floor[sale] * (1 - recovery.liquidation_cost)

    def loss(self, exposure: Array, annual_rate: float) -> Array:
        """In currency of the default month, where `exposure[m-1]` is owed. Interest accrues on it until the sale."""
        recovery = self._recovery
        discount = (1 + annual_rate / 12) ** -recovery.lag_months
        # Prior claims are paid first: the sale must bring exposure + prior before ours is whole.
        strike = exposure + recovery.prior_claims * discount
        put = _put(strike, self._log_net + math.log(discount), self._scaled * discount, self._deviation)
        if self._floor is not None:
            # max(K - max(V, F), 0) = max(K - V, 0) - max(F - V, 0) for a floor F up to K.
            held = np.minimum(self._floor * discount, strike)
            put = np.maximum(put - _put(held, self._log_net + math.log(discount), self._scaled * discount, self._deviation), 0.0)
        shortfall = np.minimum(put, exposure)
        share = (1 - recovery.unsecured_recovery) * recovery.recoverability
        lost = (1 - recovery.unsecured_recovery) * (1 - recovery.recoverability)
        return np.asarray(share * shortfall + lost * exposure)


def loss_given_default(path: ValuePath, recovery: Recovery, exposure: Array, annual_rate: float) -> Array:
    """Expected loss in currency for a default in month 1..n, where `exposure[m-1]` is owed then."""
    return LossCurve(path, recovery, len(exposure)).loss(exposure, annual_rate)


def lognormal_put(median: Array, deviation: Array, strike: Array) -> Array:
    """E[max(strike - V, 0)] for V = median * exp(deviation * Z)."""
    sigma = np.maximum(deviation, _LEAST_DEVIATION)
    return _put(strike, np.log(median), median * np.exp(0.5 * sigma * sigma), sigma)


def _put(strike: Array, log_median: Array, scaled: Array, sigma: Array) -> Array:
    """`scaled` = median * exp(sigma^2 / 2), the mean."""
    positive = np.maximum(strike, _LEAST_STRIKE)
    both = np.empty((2, *strike.shape))
    np.divide(np.log(positive) - log_median, sigma, out=both[0])
    np.subtract(both[0], sigma, out=both[1])
    below, weighted = normal_cdf(both)
    return np.asarray(positive * below - scaled * weighted)
