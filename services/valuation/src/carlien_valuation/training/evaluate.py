"""One honest comparison: the appraiser and its baselines, fitted on the same training rows, scored on the same cars."""

from typing import Any

import numpy as np

from carlien_valuation.listings.checks import check
from carlien_valuation.listings.read import Table
from carlien_valuation.training import baselines
from carlien_valuation.training.columns import cars_of
from carlien_valuation.training.scores import scores, scores_by
from carlien_valuation.training.split import SplitKind, drop_duplicates, split
from carlien_valuation.training.stack import Progress, fit_stack, quiet


def evaluate(
    table: Table, *, split_kind: SplitKind, seed: int, sample: int | None = None, monotone: bool = True, progress: Progress = quiet
) -> dict[str, Any]:
    """The report of `carlien-valuation evaluate`; percentages throughout."""
    listings = check(table)
    frame, duplicates = drop_duplicates(listings.frame)
    if sample is not None and sample < len(frame):
        frame = frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), sample, replace=False))].reset_index(drop=True)
    parts = split(frame, split_kind, seed)
    train, test = frame.iloc[parts.train].reset_index(drop=True), frame.iloc[parts.test].reset_index(drop=True)
    cars, test_cars = cars_of(train), cars_of(test)
    log_price, price = np.log(train["price"].to_numpy(float)), test["price"].to_numpy(float)
    fitted = fit_stack(train, cars, log_price, seed=seed, progress=progress, monotone=monotone)
    quantiles = np.exp(fitted.stack.log_quantiles(test_cars))
    progress("baselines", 0, 1)
    by_lightgbm = np.exp(baselines.lightgbm(train, cars, log_price, test_cars, seed=seed))
    by_line = np.exp(baselines.depreciation(cars, log_price, test_cars))
    return {
        "schema": "carlien-valuation-evaluate/1",
        "split": parts.kind,
        "seed": seed,
        "monotone": monotone,
        "currency": listings.currency,
        "data_cutoff": listings.as_of.isoformat(),
        "rows_read": table.rows_read,
        "filtered_rows": table.filtered,
        "n_train": len(train),
        "n_test": len(test),
        "duplicates_removed": duplicates,
        "rejected_rows": table.rejections.total,
        "rejected": {"by_reason": dict(table.rejections.counts.most_common()), "examples": table.rejections.examples},
        "unread_cells": dict(table.rejections.unread_cells.most_common()),
        "warnings": list(listings.warnings),
        **scores(price, quantiles),
        "baselines": {"lightgbm": scores(price, by_lightgbm), "depreciation": scores(price, by_line)},
        "by_make": scores_by(test["make"].to_numpy(str), price, quantiles),
        "net_weights": list(fitted.stack.weights),
    }
