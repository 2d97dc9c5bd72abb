"""Intervals that hold: each raw quantile is moved by a monotone map so that, out of sample, it is exceeded as often as it says.

Conformalised quantile regression (Romano, Patterson & Candès 2019) with one offset per price tercile. The offsets are joined
by straight lines over the quantile's own value, instead of jumping between terciles, because a jump could raise P90 as a car
ages; the map's slope is kept positive, so an interval falls wherever its raw quantile falls. A second step does the same by make
(Mondrian conformal prediction, Vovk et al. 2005).
"""

from dataclasses import dataclass

import numpy as np

LEVELS = (0.1, 0.5, 0.9)
GROUP_LEAST, GROUP_PRIOR = 100, 100
_LEAST_SLOPE = 0.05


@dataclass(frozen=True, slots=True)
class QuantileMap:
    """A non-decreasing piecewise-linear map of log price: value + offset, offsets given at three knots."""

    knots: tuple[float, ...]
    offsets: tuple[float, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Calibrated values, same shape."""
        result: np.ndarray = values + np.interp(values, self.knots, self.offsets)
        return result


def fit_map(raw: np.ndarray, truth: np.ndarray, level: float) -> QuantileMap:
    """Offsets so that in each tercile of `raw` (n,) the share of `truth` (n,) below the map is `level`.

    Offsets between knots are interpolated, so they are found by a few damped rounds of per-tercile correction.
    """
    cuts = np.quantile(raw, [1 / 3, 2 / 3])
    part = np.searchsorted(cuts, raw)
    knots = np.array([np.median(raw[part == index]) if (part == index).any() else cuts[min(index, 1)] for index in range(3)])
    if len(np.unique(knots)) < 3 or len(raw) < 150:
        offset = _quantile(truth - raw, level)
        return QuantileMap((float(knots[0]),), (offset,))
    offsets = np.full(3, _quantile(truth - raw, level))
    for _ in range(40):
        rest = truth - raw - np.interp(raw, knots, offsets)
        offsets += 0.5 * np.array([_quantile(rest[part == index], level) for index in range(3)])
    for index in (1, 2):
        least = offsets[index - 1] - (1 - _LEAST_SLOPE) * (knots[index] - knots[index - 1])
        offsets[index] = max(offsets[index], least)
    return QuantileMap(tuple(map(float, knots)), tuple(map(float, offsets)))


def fit_group_offsets(quantiles: np.ndarray, truth: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """What P10 and P90 of each group are moved by so that they hold in it as well, (groups, 2).

    quantiles (n, 3), truth (n,), group (n,) whole numbers below `groups`, 0 for cars of no known group, which stay. Shrunk towards
    no move by GROUP_PRIOR cars; groups of fewer than GROUP_LEAST cars stay. A constant per group keeps monotonicity.
    """
    offsets = np.zeros((groups, 2))
    for one, count in enumerate(np.bincount(group, minlength=groups)):
        if one and count >= GROUP_LEAST:
            rows = group == one
            for side, level in ((0, LEVELS[0]), (1, LEVELS[2])):
                offsets[one, side] = _quantile(truth[rows] - quantiles[rows, 2 * side], level) * count / (count + GROUP_PRIOR)
    return offsets


def moved(quantiles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Quantiles (n, 3) with P10 and P90 moved by offsets (n, 2), in order still."""
    middle = quantiles[:, 1]
    return np.column_stack(
        [np.minimum(quantiles[:, 0] + offsets[:, 0], middle), middle, np.maximum(quantiles[:, 2] + offsets[:, 1], middle)]
    )


def _quantile(values: np.ndarray, level: float) -> float:
    """The conformal quantile: the level is pushed outwards by what a finite sample leaves open."""
    n = len(values)
    rank = level * (n + 1) / n if level > 0.5 else level * (n + 1) / n - 1 / n if level < 0.5 else level
    return float(np.quantile(values, float(np.clip(rank, 0, 1))))


def calibrated(raw: np.ndarray, maps: tuple[QuantileMap, QuantileMap, QuantileMap]) -> np.ndarray:
    """Calibrated quantiles (n, 3); P10 <= P50 <= P90 is kept by minimum and maximum, which keep monotonicity."""
    low, middle, high = (one(raw[:, index]) for index, one in enumerate(maps))
    return np.column_stack([np.minimum(low, middle), middle, np.maximum(high, middle)])
