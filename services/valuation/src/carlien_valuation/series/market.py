"""The common factor: how fast the level of a whole market moves, and how sure that is.

Two sources speak. The *cross-section* at one date says what a car loses by getting older while the
market stands still. *History* says how far prices moved beyond that. A short history of a noisy level says
little about its drift: the normal-normal posterior mean weighs it by T / (T + s^2/t^2), with s the monthly
standard deviation of level changes and t that of the drift between epochs.
"""

import numpy as np

from carlien_valuation.series.panel import Floats, Panel

LEVEL_SD = 0.015
"""Standard deviation of a market's level, per square root of a month, in logs: US CPI used cars and trucks
(CUSR0000SETA02), 1- and 2-year changes of 2000-01..2017-09, scaled to a month. Used only where a panel is too
sparse to show its own."""
DRIFT_SD = 0.002
"""Standard deviation of the drift between epochs, log per month (2.4 % a year)."""

MIN_MONTHLY = 6
"""From so many monthly medians on, a panel's own level noise replaces LEVEL_SD."""


def is_monthly(known: Panel) -> bool:
    """Whether most steps of the grid have a market median."""
    medians = ~np.isnan(known.market)
    return bool(medians.any() and medians.mean() >= 0.5)


def monthly_trend(known: Panel) -> float | None:
    """Robust market trend, log change per month: the median of past monthly medians; None when the panel isn't monthly."""
    return float(np.nanmedian(known.market)) if is_monthly(known) else None


def level_sd(known: Panel) -> float:
    """Standard deviation of the market's level per square root of a month."""
    medians = known.market[~np.isnan(known.market)]
    if not is_monthly(known) or len(medians) < MIN_MONTHLY:
        return LEVEL_SD
    return float(np.std(medians, ddof=1))


def drift_weight(months: float, level: float) -> float:
    """How far `months` of history are to be believed about the drift, 0..1."""
    return months / (months + (level / DRIFT_SD) ** 2)


def level_uncertainty(known: Panel, horizon: int) -> float:
    """Standard deviation (log) of the level `horizon` months ahead, around a forecast that knows the panel."""
    level = level_sd(known)
    history = float(known.observed[-1] - known.observed[0]) if len(known.observed) else 0.0
    unknown_drift = DRIFT_SD * np.sqrt(1 - drift_weight(history, level))
    return float(np.sqrt(level**2 * horizon + (unknown_drift * horizon) ** 2))


def robust_sd(values: Floats) -> float:
    """Standard deviation by the median absolute deviation; 0 for nothing."""
    values = values[~np.isnan(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
