"""A model against realised prices: traffic lights, bias, coverage, and the conformal shifts that make its intervals hold again.

Lights are those of the Basel Committee's backtesting framework (1996, part II): with k exceptions among n under a model that is right,
green up to a cumulative probability of 95 %, yellow up to 99.99 %, red from there on. A model isn't blamed for what doesn't matter: what
is tested is not "exactly 20 %" but "no more than 22 %" (TOLERANCE), else any model turns red once there are enough sales.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

YELLOW_FROM, RED_FROM = 0.95, 0.9999
LEVELS = (0.1, 0.5, 0.9)
TOLERANCE = 0.02
"""Coverage of 78 to 82 % counts as 80 %; each tail gets half of it."""
MEDIAN_TOLERANCE = 0.05
"""45 to 55 % of prices below P50 count as half of them."""
MIN_SALES = 30
"""Below this nothing is tested."""
MIN_RECALIBRATION = 100
"""Sales in a market from which its intervals can be recalibrated: the 10 % tail then has ten of them."""
FOLDS = 5


class Light(StrEnum):
    """How a test ended."""

    UNTESTED = "UNTESTED"
    GREEN = "GREEN"
    YELLOW = "YELLOW"
    RED = "RED"


_ORDER = list(Light)


def worst(lights: Sequence[Light]) -> Light:
    """The worst of some lights; UNTESTED of none."""
    return max(lights, key=_ORDER.index, default=Light.UNTESTED)


def at_most(k: int, n: int, p: float) -> float:
    """Probability that a binomial (n, p) is at most k."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    counts = np.arange(k + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    logs = factorials[n] - factorials[counts] - factorials[n - counts] + counts * math.log(p) + (n - counts) * math.log1p(-p)
    return float(min(np.exp(logs).sum(), 1.0))


def zone(probability: float) -> Light:
    """The Basel zone of a cumulative probability."""
    return Light.GREEN if probability < YELLOW_FROM else Light.YELLOW if probability < RED_FROM else Light.RED


@dataclass(frozen=True, slots=True)
class ShareTest:
    """One test: how many of n did what `expected` of them (a share) should."""

    n: int
    observed: int
    expected: float
    probability: float
    """Of no more exceptions than these (or, beyond the other end, of no fewer) under the tolerated share."""
    light: Light

    def document(self) -> dict[str, object]:
        """For a report."""
        share = round(self.observed / self.n, 4) if self.n else None
        return {"n": self.n, "observed": self.observed, "share": share, "expected": self.expected,
                "probability": round(self.probability, 6), "light": self.light.value}  # fmt: skip


def share_test(observed: int, n: int, expected: float, tolerance: float, *, below: Light = Light.RED) -> ShareTest:
    """Whether a share is what it should be, give or take the tolerance. `below` is the worst light too few of them can get."""
    if n < MIN_SALES:
        return ShareTest(n, observed, expected, 0.0, Light.UNTESTED)
    many, few = at_most(observed, n, expected + tolerance), 1 - at_most(observed - 1, n, expected - tolerance)
    if many >= few:
        return ShareTest(n, observed, expected, many, zone(many))
    return ShareTest(n, observed, expected, few, min(zone(few), below, key=_ORDER.index))


@dataclass(frozen=True, slots=True)
class Judged:
    """n sales beside what the model says, all (n,): prices and quantiles in units of currency."""

    price: Floats
    p10: Floats
    p50: Floats
    p90: Floats

    def __len__(self) -> int:
        return len(self.price)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Judged":
        """A selection."""
        return Judged(self.price[rows], self.p10[rows], self.p50[rows], self.p90[rows])

    @property
    def error(self) -> Floats:
        """Relative error of P50."""
        return np.asarray(self.p50 / self.price - 1)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Prices between P10 and P90."""
        return np.asarray((self.p10 <= self.price) & (self.price <= self.p90))

    def shifted(self, shift: "Shift") -> "Judged":
        """As a recalibrated model would have said."""
        p50 = self.p50 * math.exp(shift.p50)
        return Judged(self.price, np.minimum(self.p10 * math.exp(shift.p10), p50), p50, np.maximum(self.p90 * math.exp(shift.p90), p50))


def share_tests(judged: Judged) -> dict[str, ShareTest]:
    """Coverage and its two tails, and the median. An interval that holds too often is no danger, only not honest: yellow at worst."""
    n = len(judged)
    below, above = int((judged.price < judged.p10).sum()), int((judged.price > judged.p90).sum())
    return {
        "outside": share_test(below + above, n, 0.2, TOLERANCE, below=Light.YELLOW),
        "below_p10": share_test(below, n, 0.1, TOLERANCE / 2, below=Light.YELLOW),
        "above_p90": share_test(above, n, 0.1, TOLERANCE / 2, below=Light.YELLOW),
        "below_p50": share_test(int((judged.price < judged.p50).sum()), n, 0.5, MEDIAN_TOLERANCE),
    }


def measures(judged: Judged) -> dict[str, float]:
    """Fractions: mean and median relative error, MAPE, coverage and mean width relative to P50."""
    error = judged.error
    return {
        "bias": round(float(error.mean()), 5),
        "median_error": round(float(np.median(error)), 5),
        "mape": round(float(np.abs(error).mean()), 5),
        "coverage80": round(float(judged.inside.mean()), 5),
        "rel_width80": round(float(((judged.p90 - judged.p10) / judged.p50).mean()), 5),
    }


@dataclass(frozen=True, slots=True)
class Shift:
    """How far each quantile of log price is moved in one market; constants, so that monotonicity stays."""

    p10: float = 0.0
    p50: float = 0.0
    p90: float = 0.0


def conformal_shift(judged: Judged, *, median: bool) -> Shift:
    """Shifts after which each quantile is exceeded as often as it says (split conformal, Romano, Patterson & Candès 2019).

    The tails' ranks are pushed outwards by what a finite sample leaves open. P50 moves only where `median` says so.
    """
    logs = np.log(judged.price)
    n = len(judged)
    low, high = np.sort(logs - np.log(judged.p10)), np.sort(logs - np.log(judged.p90))
    middle = float(np.median(logs - np.log(judged.p50))) if median else 0.0
    return Shift(
        float(low[max(math.floor((n + 1) * LEVELS[0]) - 1, 0)]),
        middle,
        float(high[min(math.ceil((n + 1) * LEVELS[2]) - 1, n - 1)]),
    )


def cross_fitted(judged: Judged, *, median: bool) -> Judged:
    """Every sale beside what a recalibration by the other folds would have said: the honest test of recalibrating."""
    fold = np.random.default_rng(0).permutation(len(judged)) % FOLDS
    parts = [judged.take(fold == part).shifted(conformal_shift(judged.take(fold != part), median=median)) for part in range(FOLDS)]
    order = np.argsort(np.concatenate([np.flatnonzero(fold == part) for part in range(FOLDS)]), kind="stable")
    return Judged(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in ("price", "p10", "p50", "p90")))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger beside the champion, judged by the same sales."""

    n: int
    champion: dict[str, float]
    challenger: dict[str, float]
    promoted: bool
    reasons: tuple[str, ...]
    """Why it isn't promoted; empty where it is."""


def compare(champion: Judged, challenger: Judged) -> Comparison:
    """The promotion rule, written down before any test (docs/model-risk.md): enough sales, no larger MAPE, no worse light on coverage."""
    n = len(champion)
    if n < MIN_RECALIBRATION:
        return Comparison(n, {}, {}, promoted=False, reasons=("TOO_FEW_SALES",))
    old, new = measures(champion), measures(challenger)
    reasons = []
    if new["mape"] > old["mape"]:
        reasons.append("MAPE_WORSE")
    if _ORDER.index(share_tests(challenger)["outside"].light) > _ORDER.index(share_tests(champion)["outside"].light):
        reasons.append("COVERAGE_WORSE")
    return Comparison(n, old, new, promoted=not reasons, reasons=tuple(reasons))
