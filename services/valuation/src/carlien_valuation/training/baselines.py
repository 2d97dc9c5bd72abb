"""What the appraiser is compared with, fitted on the same rows: a well-tuned LightGBM and a per-model depreciation line."""

import numpy as np
import pandas as pd

from carlien_valuation.training import boosting
from carlien_valuation.training.calibrate import LEVELS, QuantileMap, calibrated, fit_map
from carlien_valuation.training.columns import Cars
from carlien_valuation.training.features import fit_encoder
from carlien_valuation.training.split import fingerprints, folds
from carlien_valuation.training.stack import is_relative, target_base

SHAPES = [boosting.Shape(leaves, rows, rate=0.05, features=0.7) for leaves, rows in ((15, 5), (31, 10), (63, 10), (127, 20))]
"""What LightGBM is tuned over. One booster by itself wants a lower rate and more features a tree than boosters that are averaged."""


def lightgbm(frame: pd.DataFrame, cars: Cars, log_price: np.ndarray, test: Cars, *, seed: int) -> np.ndarray:
    """Unconstrained LightGBM: Huber on log price (or log price / price when new), out-of-fold target encodings and text effect,
    leaves tuned and stopped early on a held-out tenth of the cars; quantile LightGBM for P10 and P90, conformalised per price
    tercile on the same tenth. (n_test, 3) log prices.
    """
    fold = folds(fingerprints(frame), 10, seed)
    encoder, encoded = fit_encoder(cars, log_price, fold, seed)
    relative = is_relative(cars)
    target = log_price - target_base(encoder, cars, relative=relative)
    train, hold = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    task = boosting.Task(encoded.boosting, target, 0, encoder.categorical_columns(encoded.boosting.shape[1]))
    shape = boosting.tune(task, train, hold, seed, SHAPES)
    matrix = encoder.encode(test).boosting
    held, tested = np.empty((len(hold), 3)), np.empty((len(test), 3))
    for index, level in enumerate(LEVELS):
        booster = boosting.fit_boosting(task, train, hold, shape=shape, quantile=None if level == 0.5 else level, seed=seed)
        held[:, index] = boosting.predict(booster, encoded.boosting[hold])
        tested[:, index] = boosting.predict(booster, matrix)
    low, high = (fit_map(held[:, index], target[hold], LEVELS[index]) for index in (0, 2))
    quantiles = calibrated(tested, (low, QuantileMap((0.0,), (0.0,)), high))
    result: np.ndarray = quantiles + target_base(encoder, test, relative=relative)[:, None]
    return result


def depreciation(cars: Cars, log_price: np.ndarray, test: Cars) -> np.ndarray:
    """Per model a least-squares line of log price on age and distance, with models of fewer than 10 cars valued by their make's line,
    else by all cars'; P10 and P90 from the line's residuals. (n_test, 3) log prices.
    """
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for keys in (["" for _ in range(len(cars))], cars.text["make"], _models(cars)):
        names, code = np.unique(np.array(keys, object), return_inverse=True)
        for index, name in enumerate(names):
            rows = np.flatnonzero(code == index)
            if len(rows) >= 10:
                design = _design(cars.take(rows))
                line = np.linalg.lstsq(design, log_price[rows], rcond=None)[0]
                lines[name] = (line, np.quantile(log_price[rows] - design @ line, LEVELS))
    design = _design(test)
    result = np.empty((len(test), 3))
    for row, (make, model) in enumerate(zip(test.text["make"], _models(test), strict=True)):
        line, spread = lines.get(model) or lines.get(make) or lines[""]
        result[row] = design[row] @ line + np.array([spread[0], 0.0, spread[2]])
    return result


def _models(cars: Cars) -> list[str]:
    return [f"{make}\0{model}" for make, model in zip(cars.text["make"], cars.text["model"], strict=True)]


def _design(cars: Cars) -> np.ndarray:
    age, odometer = np.nan_to_num(cars.numbers["age_years"], nan=5.0), np.nan_to_num(cars.numbers["odometer_km"], nan=60_000.0)
    return np.column_stack([np.ones(len(cars)), age, odometer / 1e5])
