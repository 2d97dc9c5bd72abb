"""Fits the scorecard: monotone optimal binning (optbinning), weight of evidence, logistic regression with the right signs."""

import hashlib
import warnings
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from optbinning import OptimalBinning
from scipy.optimize import minimize

from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.tables import contributions

Array = npt.NDArray[np.float64]

_TRENDS = {"auto": "auto_asc_desc", "rising": "ascending", "falling": "descending"}
_RIDGE = 1.0  # per unit of WOE coefficient around 1: plain WOE is the prior, data move it
_SMOOTHING = 0.5


def fit_scorecard(
    attributes: tuple[Attribute, ...],
    x: Array,
    y: npt.NDArray[np.int64],
    ratios: dict[str, list[str]] | None = None,
    offset: Array | None = None,
) -> Scorecard:
    """A monotone scorecard. Rows x attributes, NaN where missing; deterministic.

    `offset`: log-odds already known of each row; the card is then what its attributes say beyond them.
    """
    overall = float(np.log((y.sum() + _SMOOTHING) / (len(y) - y.sum() + _SMOOTHING)))
    binned = [_bin(attribute, x[:, column], y, overall) for column, attribute in enumerate(attributes)]
    woe = np.column_stack([contributions(part, x[:, column]) for column, part in enumerate(binned)])
    intercept, weights = _fit_weights(woe, y, np.zeros(len(y)) if offset is None else offset)
    kept = tuple(_weighted(part, float(weight)) for part, weight in zip(binned, weights, strict=True) if weight > 1e-6)
    named = tuple((name, top, bottom) for name, (top, bottom) in (ratios or {}).items() if name in {part.name for part in kept})
    card = Scorecard("", round(intercept, 9), kept, named)
    digest = hashlib.sha256(repr(card).encode()).hexdigest()[:12]
    return Scorecard(f"scorecard-{digest}", card.intercept, kept, named)


def _bin(attribute: Attribute, values: Array, y: npt.NDArray[np.int64], overall: float) -> ScorecardAttribute:
    """Bins with their smoothed log-odds relative to the whole."""

    def evidence(mask: npt.NDArray[np.bool_]) -> float:
        # Shrunk towards the whole by half a default and its share of good loans.
        bad, good = float(y[mask].sum()), float((1 - y[mask]).sum())
        if bad + good == 0:
            return 0.0
        share = 1 / (1 + np.exp(-overall))
        return float(np.log((bad + share) / (good + 1 - share))) - overall

    absent = np.isnan(values)
    missing = evidence(absent) if absent.sum() >= 20 else 0.0
    if attribute.category:
        codes = tuple(float(code) for code in np.unique(values[~absent]))
        # A code seen too rarely to say anything is no evidence.
        odds = tuple(evidence(values == code) if (values == code).sum() >= 20 else 0.0 for code in codes)
        return ScorecardAttribute(attribute.name, True, (), codes, odds, missing)
    edges = _edges(attribute, values[~absent], y[~absent])
    place = np.searchsorted(np.asarray(edges), values, side="right")
    odds = tuple(evidence(~absent & (place == number)) for number in range(len(edges) + 1))
    return ScorecardAttribute(attribute.name, False, edges, (), _isotonic(odds), missing)


def _edges(attribute: Attribute, values: Array, y: npt.NDArray[np.int64]) -> tuple[float, ...]:
    if len(np.unique(values)) < 2:
        return ()
    binning = OptimalBinning(
        name=attribute.name,
        dtype="numerical",
        monotonic_trend=_TRENDS[attribute.effect],
        max_n_bins=10,
        min_bin_size=0.03,
        max_n_prebins=30,
        solver="cp",
        time_limit=10,
    )
    with warnings.catch_warnings():
        # optbinning passes parameters that newer scikit-learn versions deprecate.
        warnings.simplefilter("ignore")
        binning.fit(values, y)
    return tuple(float(edge) for edge in binning.splits)


def _isotonic(odds: tuple[float, ...]) -> tuple[float, ...]:
    """optbinning's bins are monotone in the event rate; smoothing may turn two close ones, so equal them."""
    if len(odds) < 2 or all(b >= a for a, b in pairwise(odds)):
        return odds
    falling = odds[-1] < odds[0]
    return tuple((np.minimum if falling else np.maximum).accumulate(np.asarray(odds)).tolist())


def _fit_weights(woe: Array, y: npt.NDArray[np.int64], offset: Array) -> tuple[float, Array]:
    """Logistic regression on evidence, no negative weight (a negative one would turn the sign of a whole attribute)."""
    k = woe.shape[1]

    def loss(parameters: Array) -> tuple[float, Array]:
        z = offset + parameters[0] + woe @ parameters[1:]
        p = 1 / (1 + np.exp(-z))
        value = float(np.logaddexp(0, z).sum() - y @ z) + 0.5 * _RIDGE * float(((parameters[1:] - 0.7) ** 2).sum())
        slope = np.concatenate(([float((p - y).sum())], woe.T @ (p - y) + _RIDGE * (parameters[1:] - 0.7)))
        return value, slope

    start = np.concatenate(([float(np.log(y.mean() / (1 - y.mean())) - offset.mean())], np.full(k, 0.7)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *[(0.0, None)] * k])
    return float(found.x[0]), np.asarray(found.x[1:])


def _weighted(part: ScorecardAttribute, weight: float) -> ScorecardAttribute:
    return ScorecardAttribute(
        part.name,
        part.category,
        part.edges,
        part.codes,
        tuple(round(value * weight, 9) for value in part.log_odds),
        round(part.missing * weight, 9),
    )
