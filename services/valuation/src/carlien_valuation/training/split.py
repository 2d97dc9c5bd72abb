"""Splits under which a score means something: by time, or with a car and its re-listing on one side only."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from carlien_common.domain.errors import precondition

SplitKind = Literal["auto", "time", "group"]

MILEAGE_BAND = 0.01
"""Odometers within 1 % count as the same car's, all else equal."""

TEST_SHARE = 0.2
MIN_SPREAD_DAYS = 60.0
"""Below this spread of dates a split by time would separate days, not markets."""


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of both sides and which kind was used."""

    kind: Literal["time", "group"]
    train: np.ndarray
    test: np.ndarray


def drop_duplicates(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows equal in everything but their place in the file are one; how many were removed is returned."""
    columns = [name for name in frame.columns if name != "source"]
    kept = frame[~frame.duplicated(subset=columns)].reset_index(drop=True)
    return kept, len(frame) - len(kept)


def fingerprints(frame: pd.DataFrame) -> np.ndarray:
    """A group number per row, shape (n,): same make, model, trim and year, and odometers chained within 1 %.

    Chaining (single linkage) makes the guarantee strict: no pair within the band is ever in two groups.
    """
    key, _ = pd.factorize(frame[["make", "model", "trim", "year"]].astype(str).agg("\0".join, axis=1).str.casefold())
    log_km = np.log1p(frame["odometer_km"].fillna(-0.5).to_numpy(float))
    order = np.lexsort((log_km, key))
    sorted_key, sorted_km = key[order], log_km[order]
    band = np.log1p(MILEAGE_BAND)
    starts = np.ones(len(frame), bool)
    starts[1:] = (sorted_key[1:] != sorted_key[:-1]) | (np.diff(sorted_km) > band)
    groups = np.empty(len(frame), int)
    groups[order] = np.cumsum(starts) - 1
    return groups


def split(frame: pd.DataFrame, kind: SplitKind, seed: int) -> Split:
    """The test side holds about a fifth of the rows; `auto` takes time where dates spread over at least 60 days.

    Raises DomainError SPLIT_NOT_POSSIBLE where a split by time is asked for and the dates don't spread.
    """
    days = frame["as_of"].to_numpy(float)
    low, high = np.quantile(days, [0.01, 0.99])
    spread = high - low >= MIN_SPREAD_DAYS
    if kind == "time" and not spread:
        raise precondition("SPLIT_NOT_POSSIBLE", f"the as_of dates span {high - low:.0f} days; a split by time needs {MIN_SPREAD_DAYS:.0f}")
    if kind == "time" or (kind == "auto" and spread):
        return _by_time(frame, days)
    groups = fingerprints(frame)
    side = assign(groups, TEST_SHARE, seed)
    return Split("group", np.flatnonzero(~side), np.flatnonzero(side))


def _by_time(frame: pd.DataFrame, days: np.ndarray) -> Split:
    """The latest fifth is the test; a test car that was already listed before the cut is left out of training."""
    cut = np.quantile(days, 1 - TEST_SHARE)
    after = days > cut if (days > cut).mean() > TEST_SHARE / 4 else days >= cut
    groups = fingerprints(frame)
    relisted = np.isin(groups, np.unique(groups[after]))
    return Split("time", np.flatnonzero(~after & ~relisted), np.flatnonzero(after))


def assign(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Put whole groups on the test side until it has `share` of the rows; a mask, shape (n,)."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = np.zeros(len(sizes), bool)
    chosen[order[before < share * len(groups)]] = True
    result: np.ndarray = chosen[groups]
    return result


def folds(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A fold number per row, whole groups together, shape (n,); the largest groups are dealt first so that folds stay even."""
    sizes = np.bincount(groups)
    noise = np.random.default_rng(seed).random(len(sizes))
    order = np.lexsort((noise, -sizes))
    fold_of, load = np.empty(len(sizes), int), np.zeros(count)
    big = order[sizes[order] > 1]
    for group in big:
        lightest = int(np.argmin(load))
        fold_of[group] = lightest
        load[lightest] += sizes[group]
    single = order[sizes[order] == 1]
    fold_of[single] = (np.arange(len(single)) + int(np.argmin(load))) % count
    result: np.ndarray = fold_of[groups]
    return result
