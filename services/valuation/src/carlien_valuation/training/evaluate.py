"""One honest comparison: the appraiser and its baselines, fitted on the same training rows, scored on the same cars."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from carlien_valuation.listings.checks import check
from carlien_valuation.listings.read import Table
from carlien_valuation.training import baselines
from carlien_valuation.training.columns import cars_of
from carlien_valuation.training.scores import scores, scores_by
from carlien_valuation.training.split import SplitKind, drop_duplicates, split
from carlien_valuation.training.stack import Progress, fit_stack, quiet

AVERAGED = ("mape", "mdape", "p90ape", "bias", "ppe10", "ppe20", "fsd", "coverage80", "rel_width80")


def evaluate(
    table: Table,
    *,
    split_kind: SplitKind,
    seeds: Sequence[int],
    sample: int | None = None,
    compare_free: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """The report of `carlien-valuation evaluate`; percentages throughout.

    One split per seed. With several, measures are means over the splits, and `splits` holds each. `compare_free` adds the same
    appraiser without the monotone guarantee (`free`), to tell what that costs.
    """
    listings = check(table)
    frame, duplicates = drop_duplicates(listings.frame)
    splits = []
    for seed in seeds:
        if len(seeds) > 1:
            progress(f"split of seed {seed}", 0, 1)
        splits.append(_one_split(_sampled(frame, sample, seed), split_kind, seed, compare_free, progress))
    report = splits[0] if len(splits) == 1 else {**_mean(splits), "splits": splits}
    return {
        "schema": "carlien-valuation-evaluate/1",
        "currency": listings.currency,
        "data_cutoff": listings.as_of.isoformat(),
        "rows_read": table.rows_read,
        "filtered_rows": table.filtered,
        "duplicates_removed": duplicates,
        "rejected_rows": table.rejections.total,
        "rejected": {"by_reason": dict(table.rejections.counts.most_common()), "examples": table.rejections.examples},
        "unread_cells": dict(table.rejections.unread_cells.most_common()),
        "warnings": list(listings.warnings),
        **report,
    }


def _sampled(frame: pd.DataFrame, sample: int | None, seed: int) -> pd.DataFrame:
    if sample is None or sample >= len(frame):
        return frame
    return frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), sample, replace=False))].reset_index(drop=True)


def _one_split(frame: pd.DataFrame, split_kind: SplitKind, seed: int, compare_free: bool, progress: Progress) -> dict[str, Any]:
    parts = split(frame, split_kind, seed)
    train, test = frame.iloc[parts.train].reset_index(drop=True), frame.iloc[parts.test].reset_index(drop=True)
    cars, test_cars = cars_of(train), cars_of(test)
    log_price, price = np.log(train["price"].to_numpy(float)), test["price"].to_numpy(float)
    fitted = fit_stack(train, cars, log_price, seed=seed, progress=progress)
    quantiles = np.exp(fitted.stack.log_quantiles(test_cars))
    progress("baselines", 0, 1)
    by_lightgbm = np.exp(baselines.lightgbm(train, cars, log_price, test_cars, seed=seed))
    by_line = np.exp(baselines.depreciation(cars, log_price, test_cars))
    by_make = scores_by(test["make"].to_numpy(str), price, quantiles)
    report = {
        "split": parts.kind,
        "seed": seed,
        "n_train": len(train),
        "n_test": len(test),
        **scores(price, quantiles),
        "baselines": {"lightgbm": scores(price, by_lightgbm), "depreciation": scores(price, by_line)},
        "by_make": by_make,
        "makes_off_coverage": [make["make"] for make in by_make if make["n"] >= 200 and _off(make["coverage80"], make["n"])],
        "net_weights": list(fitted.stack.weights),
    }
    if compare_free:
        progress("without the monotone guarantee", 0, 1)
        free = fit_stack(train, cars, log_price, seed=seed, progress=progress, monotone=False)
        report["free"] = scores(price, np.exp(free.stack.log_quantiles(test_cars)))
    return report


def _off(coverage: float, n: int) -> bool:
    """More than three standard errors of a share of 80 % from it; coverage in percent."""
    return abs(coverage - 80) > 300 * math.sqrt(0.8 * 0.2 / n)


def _mean(splits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean measures of several splits."""

    def of(*path: str) -> dict[str, Any]:
        reports: list[dict[str, Any]] = list(splits)
        for name in path:
            reports = [report[name] for report in reports]
        terciles = np.mean([report["coverage80_by_tercile"] for report in reports], axis=0)
        return {
            **{name: round(float(np.mean([report[name] for report in reports])), 3) for name in AVERAGED},
            "coverage80_by_tercile": [round(float(value), 3) for value in terciles],
        }

    return {
        "split": splits[0]["split"],
        "seeds": [report["seed"] for report in splits],
        "n_train": splits[0]["n_train"],
        "n_test": splits[0]["n_test"],
        **of(),
        "baselines": {name: of("baselines", name) for name in splits[0]["baselines"]},
        **({"free": of("free")} if "free" in splits[0] else {}),
    }
