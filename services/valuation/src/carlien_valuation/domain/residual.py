"""How a value is carried into the future: ageing by the appraisal model, the market's level by its index, and honest doubt.

RV(t + m) = V_today(age + m, odometer then) x (1 + deflation)^(m/12), as cap hpi forecasts. Doubt grows by three parts in quadrature: the
level of the market moves (a random walk), its drift may be another one, and single models stray from their market (faster than a random
walk, slower than a trend: their drifts persist). The figures come from backtests; see docs/residual-forecast.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.index_publication import Publication

Z80 = 1.2815515655446004
MAX_MONTHS = 60
TREND_WINDOW_MONTHS = 36
"""How far back an index speaks for its drift."""
DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True, slots=True)
class ResidualPolicy:
    """A dated table: standard deviations in logs."""

    in_force_from: date
    source: str
    level_sd: float
    """Of the market's level, per square root of a month."""
    drift_sd: float
    """Of its drift between epochs, per month."""
    model_sd: float
    """Of a model against its market, per month to the power `model_power`."""
    model_power: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Expected log change of the market's level per month, and how much of the doubt about it history has removed (0..1)."""

    per_month: float = 0.0
    weight: float = 0.0

    @property
    def per_year(self) -> float:
        """As a fraction."""
        return math.expm1(12 * self.per_month)


def in_force(policies: Sequence[ResidualPolicy], on: date) -> ResidualPolicy:
    """The edition of a date; the first one before any was in force."""
    if not policies:
        raise precondition("RESIDUAL_POLICY_MISSING", "No table says how forecasts widen.")
    dated = sorted(policies, key=lambda policy: policy.in_force_from)
    return next((policy for policy in reversed(dated) if policy.in_force_from <= on), dated[0])


def trend(publication: Publication | None, day: date, policy: ResidualPolicy) -> Trend:
    """The drift an index supports: that of its last TREND_WINDOW_MONTHS up to `day`, shrunk to none by how short and noisy they are."""
    points = [point for point in publication.points if point.month <= day] if publication else []
    if len(points) < 2:
        return Trend()
    last = points[-1]
    first = min(points[:-1], key=lambda point: abs(_months(point.month, last.month) - TREND_WINDOW_MONTHS))
    months = _months(first.month, last.month)
    noise = last.standard_error**2 + first.standard_error**2
    prior, error = policy.drift_sd**2, policy.level_sd**2 / months + noise / months**2
    weight = prior / (prior + error)
    return Trend(weight * math.log(last.level / first.level) / months, weight)


def _months(earlier: date, later: date) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month


def doubt(months: float, market: Trend, policy: ResidualPolicy) -> float:
    """Standard deviation (log) that `months` ahead add to an appraisal's own."""
    level = policy.level_sd**2 * months
    drift = policy.drift_sd**2 * (1 - market.weight) * months**2
    model = policy.model_sd**2 * months ** (2 * policy.model_power)
    return math.sqrt(level + drift + model)


def widened(distance: float, deviation: float) -> float:
    """A log distance of P10 or P90 from P50, non-negative, with another independent deviation added."""
    return math.hypot(distance, Z80 * deviation)


def day_ahead(day: date, months: int) -> date:
    """A number of mean months (365.25/12 days) after a day."""
    return day + timedelta(days=round(months * DAYS_PER_MONTH))
