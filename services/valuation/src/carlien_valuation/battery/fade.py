"""State of health ahead: what is known at an origin, the baselines, and a model learned from other cells.

All inputs of the model are free of the unit of use (cycles, throughput, kilometres): the fade so far and at earlier fractions of
the life so far, and how far ahead is asked relative to it. So what is learned on cells can be asked of a pack whose use is known in km.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carlien_valuation.battery.cells import Cell, Floats, smooth

Ints = NDArray[np.int64]

FRACTIONS = (0.25, 0.5, 0.75)
RECENT = 0.5
"""The recent slope is that of the latest half of the life so far."""
MIN_POINTS = 20
ROUNDS = 300
FOLDS = 4
Z90 = 1.2815515655446004
MIN_SCALE = 0.05
"""Percentage points; keeps a lucky fit from claiming certainty."""


@dataclass(frozen=True)
class Origin:
    """What is known of a cell after `cycle` cycles: fractions of the capacity when new."""

    cycle: float
    soh: float
    loss_at: tuple[float, ...]
    slope: float
    slope_recent: float
    slope_sqrt: float


def observe(cell: Cell, cycle: float) -> Origin | None:
    """The state at an origin, from measurements up to it only; None with fewer than MIN_POINTS."""
    known = cell.until(cycle)
    if len(known.cycle) < MIN_POINTS:
        return None
    curve = smooth(known.soh)
    recent = known.cycle >= RECENT * cycle
    if recent.sum() < 3:
        recent = np.ones(len(curve), dtype=bool)
    return Origin(
        cycle=cycle,
        soh=float(np.median(known.soh[-7:])),
        loss_at=tuple(1 - float(np.interp(fraction * cycle, known.cycle, curve)) for fraction in FRACTIONS),
        slope=_slope(known.cycle, curve),
        slope_recent=_slope(known.cycle[recent], curve[recent]),
        slope_sqrt=_slope(np.sqrt(known.cycle), curve),
    )


def _slope(x: Floats, y: Floats) -> float:
    x = x - x.mean()
    return float(x @ y / max(float(x @ x), 1e-12))


def baselines(origin: Origin, ahead: float) -> dict[str, float]:
    """State of health after `ahead` more cycles: last value, linear in all and in recent cycles, square root of cycles."""
    root = np.sqrt(origin.cycle + ahead) - np.sqrt(origin.cycle)
    return {
        "last_value": origin.soh,
        "linear": origin.soh + origin.slope * ahead,
        "linear_recent": origin.soh + origin.slope_recent * ahead,
        "sqrt": origin.soh + origin.slope_sqrt * float(root),
    }


def features(origin: Origin, ahead: float) -> list[float]:
    """Inputs of the model, in percentage points and ratios."""
    lines = baselines(origin, ahead)
    steps = [100 * (lines[name] - origin.soh) for name in ("linear", "linear_recent", "sqrt")]
    return [100 * (1 - origin.soh), *(100 * loss for loss in origin.loss_at), ahead / origin.cycle, *steps]


@dataclass(frozen=True)
class FadeModel:
    """Median change ahead and its scale by LightGBM, interval by conformal quantiles of out-of-fold errors (whole cells left out)."""

    median: Any
    scale: Any
    low: float
    high: float

    def predict(self, x: Floats, soh: Floats) -> tuple[Floats, Floats, Floats]:
        """P10, P50, P90 of the state of health (n,); never above what it is by more than the interval, never below 0."""
        change = np.asarray(self.median.predict(x))
        scale = np.maximum(np.asarray(self.scale.predict(x)), MIN_SCALE)
        middle = soh + change / 100
        return (
            np.clip(middle + self.low * scale / 100, 0, None),
            np.clip(middle, 0, None),
            np.clip(middle + self.high * scale / 100, 0, None),
        )


def train(x: Floats, change: Floats, cell: Ints, seed: int) -> FadeModel:
    """Train on (n, F) features and changes (n,) in percentage points of cells (n,)."""
    random = np.random.default_rng(seed)
    names = np.unique(cell)
    fold_of = dict(zip(names.tolist(), random.permutation(np.arange(len(names)) % FOLDS).tolist(), strict=True))
    fold = np.array([fold_of[name] for name in cell.tolist()])
    error, scale = np.zeros(len(change)), np.zeros(len(change))
    for k in range(FOLDS):
        left_out = fold == k
        error[left_out] = change[left_out] - _boost(x[~left_out], change[~left_out], seed).predict(x[left_out])
    for k in range(FOLDS):
        left_out = fold == k
        scale[left_out] = _boost(x[~left_out], np.abs(error[~left_out]), seed).predict(x[left_out])
    low, high = np.quantile(error / np.maximum(scale, MIN_SCALE), (0.1, 0.9))
    return FadeModel(_boost(x, change, seed), _boost(x, np.abs(error), seed), float(low), float(high))


def _boost(x: Floats, y: Floats, seed: int) -> Any:
    import lightgbm as lgb

    parameters = {
        "objective": "l1", "num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 30, "feature_fraction": 0.8,
        "bagging_fraction": 0.8, "bagging_freq": 1, "verbose": -1, "num_threads": 1, "seed": seed, "deterministic": True,
        "force_row_wise": True,
    }  # fmt: skip
    return lgb.train(parameters, lgb.Dataset(x, y), ROUNDS)
