"""Several quotes as one: each source's bias and scatter as learned from sales, outliers left out.

A source's log(quote / price) on cars that were sold later is normal with its own mean and variance; both are shrunk, the mean to none
(prior standard deviation PRIOR_BIAS), the variance to that of an unknown source (scaled inverse chi-squared, PRIOR_DEGREES): few sales
say little. Quotes are then averaged by their precision; where they scatter more than their variances say, the result's variance is raised
by that (Birge 1932). With three or more, one too far from the others is left out and said to be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRIOR_BIAS, PRIOR_SCATTER, PRIOR_DEGREES = 0.10, 0.12, 4.0
"""Standard deviations of log price, and the weight of the prior scatter in sales. Working assumptions, as loose as guides differ (25 %)."""
MONTHLY_DRIFT = 0.015
"""Standard deviation of the market's level per square root of a month (policies/residual.yaml): an old quote says less."""
OUTLIER = 3.0


@dataclass(frozen=True, slots=True)
class Skill:
    """What is known of a source: log bias, scatter of a single quote, how sure the bias is, and the sales that taught it."""

    bias: float
    scatter: float
    bias_error: float
    sales: int


def learn(log_ratios: Sequence[float]) -> Skill:
    """From log(quote / realised price) of one source."""
    n = len(log_ratios)
    mean = sum(log_ratios) / n if n else 0.0
    squares = sum((ratio - mean) ** 2 for ratio in log_ratios)
    variance = (PRIOR_DEGREES * PRIOR_SCATTER**2 + squares) / (PRIOR_DEGREES + max(n - 1, 0))
    precision = n / variance + 1 / PRIOR_BIAS**2
    return Skill(n * mean / variance / precision, math.sqrt(variance), math.sqrt(1 / precision), n)


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote in one market: log value, months ago, its source's skill."""

    quote_id: str
    log_value: float
    months_ago: float
    skill: Skill

    @property
    def adjusted(self) -> float:
        """Freed of its source's bias."""
        return self.log_value - self.skill.bias

    @property
    def variance(self) -> float:
        """Of the adjusted log value."""
        return self.skill.scatter**2 + self.skill.bias_error**2 + MONTHLY_DRIFT**2 * max(self.months_ago, 0.0)


@dataclass(frozen=True, slots=True)
class Fused:
    """Log value, its standard deviation, each quote's weight (0 for outliers), and whether two quotes contradict each other."""

    log_value: float
    deviation: float
    weights: tuple[float, ...]
    outliers: tuple[bool, ...]
    disagree: bool


def fuse(quotes: Sequence[Quote]) -> Fused:
    """ValueError without any."""
    if not quotes:
        raise ValueError("no quote")
    kept = list(range(len(quotes)))
    while len(kept) >= 3:
        # Not the farthest one: a wrong quote draws the others' middle to itself. The odd one is that without which the rest agree best.
        odd = min(kept, key=lambda one: _spread([quotes[other] for other in kept if other != one]))
        if _distance(quotes, kept, odd) <= OUTLIER:
            break
        kept.remove(odd)
    mean, variance = _mean([quotes[one] for one in kept])
    birge = max(1.0, _spread([quotes[one] for one in kept]) / (len(kept) - 1)) if len(kept) > 1 else 1.0
    disagree = len(kept) == 2 and _distance(quotes, kept, kept[0]) > OUTLIER
    weights = [variance / quotes[one].variance if one in kept else 0.0 for one in range(len(quotes))]
    return Fused(mean, math.sqrt(variance * birge), tuple(weights), tuple(one not in kept for one in range(len(quotes))), disagree)


def _distance(quotes: Sequence[Quote], kept: Sequence[int], one: int) -> float:
    """Of a quote from the others' mean, in standard deviations of the difference."""
    mean, variance = _mean([quotes[other] for other in kept if other != one])
    return abs(quotes[one].adjusted - mean) / math.sqrt(quotes[one].variance + variance)


def _spread(quotes: Sequence[Quote]) -> float:
    """Chi-squared of the quotes about their mean."""
    mean, _ = _mean(quotes)
    return sum((quote.adjusted - mean) ** 2 / quote.variance for quote in quotes)


def _mean(quotes: Sequence[Quote]) -> tuple[float, float]:
    precision = sum(1 / quote.variance for quote in quotes)
    return sum(quote.adjusted / quote.variance for quote in quotes) / precision, 1 / precision
