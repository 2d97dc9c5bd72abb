"""How good a default model is: discrimination, calibration, stability."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from carlien_pricing.domain.credit import population_stability_index

Array = npt.NDArray[np.float64]
_EDGE = 1e-9


def auc(score: Array, y: npt.NDArray[np.int64]) -> float:
    """Area under the ROC curve (Mann-Whitney, ties half)."""
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=ranks)
    mean_rank = (sums / counts)[inverse]
    bad = int(y.sum())
    return float((mean_rank[y == 1].sum() - bad * (bad + 1) / 2) / (bad * (len(y) - bad)))


def kolmogorov_smirnov(score: Array, y: npt.NDArray[np.int64]) -> float:
    """Largest distance between the score distributions of bad and good loans."""
    values = np.sort(np.unique(score))
    bad = np.searchsorted(np.sort(score[y == 1]), values, side="right") / max(int(y.sum()), 1)
    good = np.searchsorted(np.sort(score[y == 0]), values, side="right") / max(int((1 - y).sum()), 1)
    return float(np.abs(bad - good).max())


def calibration(log_odds: Array, y: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of the outcome on the predicted log-odds: 1 and 0 are perfect."""

    def loss(parameters: Array) -> tuple[float, Array]:
        z = parameters[0] + parameters[1] * log_odds
        p = 1 / (1 + np.exp(-z))
        return float(np.logaddexp(0, z).sum() - y @ z), np.array([(p - y).sum(), ((p - y) * log_odds).sum()])

    found = minimize(loss, np.array([0.0, 1.0]), jac=True, method="BFGS").x
    return float(found[1]), float(found[0])


def reliability(p: Array, y: npt.NDArray[np.int64], bins: int = 10) -> list[dict[str, float]]:
    """Predicted against observed default rate in bins of equal size."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return [
        {"n": len(part), "predicted": round(float(p[part].mean()), 6), "observed": round(float(y[part].mean()), 6)}
        for part in parts
        if len(part)
    ]


def measures(log_odds: Array, y: npt.NDArray[np.int64]) -> dict[str, Any]:
    """All measures of one model on one sample."""
    p = np.clip(1 / (1 + np.exp(-log_odds)), _EDGE, 1 - _EDGE)
    slope, intercept = calibration(log_odds, y)
    found = auc(log_odds, y)
    return {
        "auc": round(found, 6),
        "gini": round(2 * found - 1, 6),
        "ks": round(kolmogorov_smirnov(log_odds, y), 6),
        "brier": round(float(((p - y) ** 2).mean()), 6),
        "log_loss": round(float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()), 6),
        "calibration_slope": round(slope, 6),
        "calibration_intercept": round(intercept, 6),
    }


def stability(reference: Array, sample: Array, bins: int = 10) -> float:
    """PSI of scores in deciles of the reference: below 0.10 stable, to 0.25 watch, above act."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) for values in (reference, sample)]
    return population_stability_index(*(list(count / count.sum()) for count in counts))
