"""Gradient boosting on log price with LightGBM: Huber for the centre, monotone where asked; pinball for quantiles.

LightGBM refuses monotone constraints with its quantile loss, which is why intervals are built differently (see `stack`). Its
`path_smooth` helps accuracy but breaks the constraints, and is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

LEARNING_RATE = 0.1
"""Of boosters that are averaged: half the rate changed the average's error by a tenth of a percent of it and doubled the trees."""

PATIENCE = 60
MAX_TREES = 3000
THREADS = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What is tuned: leaves of a tree, the rows a leaf must hold; the learning rate; and the share of the features a tree sees."""

    leaves: int
    leaf_rows: int
    rate: float = LEARNING_RATE
    features: float = 0.4


def shapes(rows: int) -> list[Shape]:
    """Candidates for a data set of that many rows; no more leaves than `forest` can serve."""
    if rows < 8_000:
        return [Shape(15, 5), Shape(31, 5), Shape(31, 15)]
    return [Shape(31, 10), Shape(63, 10), Shape(63, 30)]


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned: matrix (n, b) with the `guarded` non-increasing columns first, target (n,), positions of category codes."""

    matrix: np.ndarray
    target: np.ndarray
    guarded: int
    categorical: list[int]


def fit_boosting(
    task: Task, train: np.ndarray, hold: np.ndarray, *, shape: Shape, quantile: float | None, seed: int, trees: int = MAX_TREES
) -> lgb.Booster:
    """One booster on the rows `train`, stopped early on the rows `hold`, or after `trees` trees where there are none.

    `quantile` None fits the conditional centre by Huber's loss (alpha 0.1 in log price: beyond 10 % it is absolute).
    """
    params: dict[str, Any] = {
        "learning_rate": shape.rate,
        "num_leaves": shape.leaves,
        "min_data_in_leaf": shape.leaf_rows,
        "feature_fraction": shape.features,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "verbosity": -1,
        "num_threads": THREADS,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
    }
    if quantile is None:
        params |= {"objective": "huber", "alpha": 0.1, "metric": "l1"}
    else:
        params |= {"objective": "quantile", "alpha": quantile, "metric": "quantile"}
    if task.guarded:
        params |= {
            "monotone_constraints": [-1] * task.guarded + [0] * (task.matrix.shape[1] - task.guarded),
            "monotone_constraints_method": "basic",
        }
    data = lgb.Dataset(task.matrix[train], task.target[train], categorical_feature=task.categorical)
    if not len(hold):
        return lgb.train(params, data, trees)
    held = lgb.Dataset(task.matrix[hold], task.target[hold], reference=data)
    return lgb.train(params, data, trees, valid_sets=[held], callbacks=[lgb.early_stopping(PATIENCE, verbose=False)])


def predict(booster: lgb.Booster, matrix: np.ndarray) -> np.ndarray:
    """Predicted target (n,) with the trees early stopping chose."""
    return np.asarray(
        booster.predict(matrix, num_iteration=booster.best_iteration if booster.best_iteration > 0 else None, num_threads=THREADS)
    )


def tune(task: Task, train: np.ndarray, hold: np.ndarray, seed: int, candidates: Sequence[Shape]) -> Shape:
    """The candidate with the least absolute error on the held-out rows."""
    errors = {}
    for shape in candidates:
        booster = fit_boosting(task, train, hold, shape=shape, quantile=None, seed=seed)
        errors[shape] = float(np.mean(np.abs(predict(booster, task.matrix[hold]) - task.target[hold])))
    return min(errors, key=errors.__getitem__)
