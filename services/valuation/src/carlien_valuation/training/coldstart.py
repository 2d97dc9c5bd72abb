"""How wrong the appraiser is about models it has never seen: measured by leaving whole models out, not assumed."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from carlien_valuation.training import boosting
from carlien_valuation.training.columns import Cars
from carlien_valuation.training.features import fit_encoder
from carlien_valuation.training.stack import is_relative, target_base

MAX_ROWS = 30_000
PARTS = 4
LEAST_MODELS = 12


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Log-price distances of P10 and P90 from P50 for an unknown model of a known make, and the error of P50 (MAPE, fraction)."""

    low: float
    high: float
    mape: float
    models: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure(cars: Cars, log_price: np.ndarray, seed: int) -> ColdStart | None:
    """Leave a quarter of the models out at a time and value them from the rest; None where there are too few models to say."""
    random = np.random.default_rng(seed)
    if len(cars) > MAX_ROWS:
        rows = np.sort(random.choice(len(cars), MAX_ROWS, replace=False))
        cars, log_price = cars.take(rows), log_price[rows]
    names = [f"{make}\0{model}" for make, model in zip(cars.text["make"], cars.text["model"], strict=True)]
    distinct, code = np.unique(np.array(names, object), return_inverse=True)
    if len(distinct) < LEAST_MODELS:
        return None
    part = random.integers(0, PARTS, len(distinct))[code]
    rest = np.full(len(cars), np.nan)
    for left_out in range(PARTS):
        train, held = np.flatnonzero(part != left_out), np.flatnonzero(part == left_out)
        known = set(np.array(cars.text["make"], object)[train])
        held = held[[cars.text["make"][row] in known for row in held]] if len(held) else held
        if not len(held):
            continue
        inside, outside = cars.take(train), cars.take(held)
        encoder, encoded = fit_encoder(inside, log_price[train], random.integers(0, PARTS, len(distinct))[code[train]], seed)
        relative = is_relative(inside)
        task = boosting.Task(
            encoded.boosting, log_price[train] - target_base(encoder, inside, relative=relative), len(encoder.guarded),
            encoder.categorical_columns(encoded.boosting.shape[1]),
        )  # fmt: skip
        booster = boosting.fit_boosting(
            task, np.arange(len(train)), np.arange(0), shape=boosting.Shape(31, 20, rate=0.1), quantile=None, seed=seed, trees=150
        )
        predicted = boosting.predict(booster, encoder.encode(outside).boosting) + target_base(encoder, outside, relative=relative)
        rest[held] = log_price[held] - predicted
    rest = rest[~np.isnan(rest)]
    if len(rest) < 100:
        return None
    low, high = np.quantile(rest, [0.1, 0.9])
    return ColdStart(float(min(low, 0.0)), float(max(high, 0.0)), float(np.mean(np.abs(np.expm1(-rest)))), len(distinct))
