"""Listings to a model directory with its card."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from carlien_valuation.domain.drift import training_reference
from carlien_valuation.listings.checks import check
from carlien_valuation.listings.mapping import Mapping
from carlien_valuation.listings.read import Table
from carlien_valuation.training import baselines, coldstart
from carlien_valuation.training.card import write_card
from carlien_valuation.training.columns import cars_of
from carlien_valuation.training.scores import scores, scores_by
from carlien_valuation.training.split import drop_duplicates, fingerprints, folds
from carlien_valuation.training.stack import FULL, Effort, Progress, fit_stack, quiet
from carlien_valuation.training.store import read_card, save_model


def train(
    table: Table,
    mapping: Mapping,
    directory: Path,
    *,
    seed: int,
    progress: Progress = quiet,
    synthetic: bool = False,
    effort: Effort = FULL,
) -> dict[str, Any]:
    """Fit on all usable rows, write the model directory, return its model.json.

    The scores on the card are out of fold: each car valued by models that saw neither it nor its re-listing.
    """
    listings = check(table)
    frame, duplicates = drop_duplicates(listings.frame)
    cars, log_price = cars_of(frame), np.log(frame["price"].to_numpy(float))
    fitted = fit_stack(frame, cars, log_price, seed=seed, progress=progress, effort=effort)
    progress("cold start", 0, 1)
    cold_start = coldstart.measure(cars, log_price, seed)
    progress("depreciation baseline and card", 0, 1)
    price, quantiles = np.exp(log_price), np.exp(fitted.out_of_fold)
    fold = folds(fingerprints(frame), effort.folds, seed)
    by_line = np.empty_like(quantiles)
    for part in range(effort.folds):
        rows, held = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        by_line[held] = np.exp(baselines.depreciation(cars.take(rows), log_price[rows], cars.take(held)))
    age = frame["age_years"].to_numpy(float)
    card = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "currency": listings.currency,
        "data": {
            "description": mapping.description,
            "price_kind": mapping.price_kind,
            "synthetic": synthetic,
            "cutoff": listings.as_of.isoformat(),
            "rows_read": table.rows_read,
            "filtered_rows": table.filtered,
            "duplicates_removed": duplicates,
            "rejected_rows": table.rejections.total,
            "rejected_by_reason": dict(table.rejections.counts.most_common()),
            "rows": len(frame),
            "makes": int(frame["make"].nunique()),
            "models": int((frame["make"] + "\0" + frame["model"]).nunique()),
            "warnings": list(listings.warnings),
            "price_p01": float(np.quantile(price, 0.01)),
            "price_p99": float(np.quantile(price, 0.99)),
            "age_p99": float(np.nanquantile(age, 0.99)) if not np.isnan(age).all() else None,
            "reference": training_reference(
                {"age_years": age, "odometer_km": frame["odometer_km"].to_numpy(float), "price": price},
                frame["make"].str.strip().str.casefold().tolist(),
            ),
            "odometer_p99": float(np.nanquantile(frame["odometer_km"], 0.99)) if frame["odometer_km"].notna().any() else None,
        },
        "out_of_fold": {**scores(price, quantiles), "by_make": scores_by(frame["make"].to_numpy(str), price, quantiles)},
        "depreciation_baseline": scores(price, by_line),
    }
    save_model(directory, fitted.stack, cold_start, card)
    document = read_card(directory)
    write_card(directory, document, price, quantiles, age)
    return document
