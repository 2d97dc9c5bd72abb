"""Appraisals of a table of listings: every row gets an answer, if only a reason why not."""

from dataclasses import dataclass
from datetime import date

import numpy as np

from carlien_valuation.listings.checks import check
from carlien_valuation.listings.read import Table
from carlien_valuation.training.columns import Cars, cars_of
from carlien_valuation.training.store import Model

UNKNOWN_MAKE, UNKNOWN_MODEL, NO_AGE = "UNKNOWN_MAKE", "UNKNOWN_MODEL", "AGE_MISSING"


@dataclass(frozen=True, slots=True)
class Answer:
    """p10, p50, p90 in units of currency, or None with the reason; a reason beside values is a caveat."""

    row: str
    values: tuple[float, float, float] | None
    reason: str


def predict_table(model: Model, table: Table, as_of: date) -> list[Answer]:
    """One answer per row of the files, in their order; rows without an as_of date are valued as of `as_of`."""
    listings = check(table, priced=False, as_of=as_of)
    cars = model.stack.encoder.completed(model.stack.encoder.with_attributes(cars_of(listings.frame)))
    values, reasons = quantiles_with_caution(model, cars)
    known = {
        str(source): Answer(str(source), None if reason in {UNKNOWN_MAKE, NO_AGE} else (float(low), float(middle), float(high)), reason)
        for source, (low, middle, high), reason in zip(listings.frame["source"], values, reasons, strict=True)
    }
    return [known.get(source) or Answer(source, None, table.rejections.by_source.get(source, "NOT_READ")) for source in table.sources]


def quantiles_with_caution(model: Model, cars: Cars) -> tuple[np.ndarray, list[str]]:
    """Prices (n, 3) and a reason per car: "" or what is unknown. An unknown model gets the interval measured for unknown models."""
    stack = model.stack
    encoded_keys = stack.encoder.keys(cars)
    _, counts = stack.encoder.target.encode(encoded_keys)
    logs = stack.log_quantiles(cars)
    levels = [name for level in stack.encoder.levels[:2] for name in level]
    has_age = model.card["data"]["age_p99"] is not None
    reasons = []
    for row in range(len(cars)):
        unknown_make = counts[row, 0] == 0
        unknown_model = counts.shape[1] > 1 and levels[:2] == ["make", "model"] and counts[row, 1] == 0
        if has_age and np.isnan(cars.numbers["age_years"][row]):
            reasons.append(NO_AGE)
        elif unknown_make or (unknown_model and model.cold_start is None):
            reasons.append(UNKNOWN_MAKE)
        elif unknown_model and model.cold_start is not None:
            logs[row, 0] = min(logs[row, 0], logs[row, 1] + model.cold_start.low)
            logs[row, 2] = max(logs[row, 2], logs[row, 1] + model.cold_start.high)
            reasons.append(UNKNOWN_MODEL)
        else:
            reasons.append("")
    return np.exp(logs), reasons
