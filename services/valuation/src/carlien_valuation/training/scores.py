"""How good an appraiser is: the published AVM measures, in percent.

Error = (model - price) / price. MAPE mean, MdAPE median and P90 of its absolute value; bias its mean; PPE10/20 the share of
appraisals within 10 and 20 %; FSD its standard deviation, winsorised at the 0.5 and 99.5 % points so that single slips of
the pen don't make it (AVMetrics glossary; Ecker, Isakson & Kennedy 2019).
"""

from typing import Any

import numpy as np


def point_scores(price: np.ndarray, p50: np.ndarray) -> dict[str, float]:
    """Accuracy of point values, arrays of shape (n,) in units of currency; all measures in percent."""
    error = p50 / price - 1
    size = np.abs(error)
    low, high = np.quantile(error, [0.005, 0.995])
    return _rounded({
        "mape": 100 * size.mean(), "mdape": 100 * np.median(size), "p90ape": 100 * np.quantile(size, 0.9), "bias": 100 * np.mean(error),
        "ppe10": 100 * np.mean(size <= 0.1), "ppe20": 100 * np.mean(size <= 0.2), "fsd": 100 * np.std(np.clip(error, low, high)),
    })  # fmt: skip


def interval_scores(price: np.ndarray, p10: np.ndarray, p50: np.ndarray, p90: np.ndarray) -> dict[str, Any]:
    """Coverage of [p10, p90] and its mean width relative to P50, in percent, overall and by tercile of P50 (cheapest first)."""
    inside = (p10 <= price) & (price <= p90)
    tercile = np.searchsorted(np.quantile(p50, [1 / 3, 2 / 3]), p50)
    return {
        "coverage80": round(100 * float(inside.mean()), 3),
        "rel_width80": round(100 * float(np.mean((p90 - p10) / p50)), 3),
        "coverage80_by_tercile": [
            round(100 * float(inside[tercile == part].mean()), 3) if (tercile == part).any() else None for part in range(3)
        ],
    }


def scores(price: np.ndarray, quantiles: np.ndarray) -> dict[str, Any]:
    """Point and interval measures of one method; quantiles of shape (n, 3): p10, p50, p90."""
    p10, p50, p90 = quantiles.T
    return {**point_scores(price, p50), **interval_scores(price, p10, p50, p90)}


def scores_by(labels: np.ndarray, price: np.ndarray, quantiles: np.ndarray, least: int = 30) -> list[dict[str, Any]]:
    """The measures of each label with at least `least` rows, most frequent first."""
    names, counts = np.unique(labels, return_counts=True)
    result = []
    for index in np.argsort(-counts, kind="stable"):
        if counts[index] >= least:
            rows = labels == names[index]
            one = scores(price[rows], quantiles[rows])
            del one["coverage80_by_tercile"]
            result.append({"make": str(names[index]), "n": int(counts[index]), **one})
    return result


def _rounded(values: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in values.items()}
