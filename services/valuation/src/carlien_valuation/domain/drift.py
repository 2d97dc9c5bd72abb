"""Whether the cars that are sold are still those the model learned from: the population stability index.

PSI = sum over bins of (actual - expected) x ln(actual / expected); below 0.1 stable, above 0.25 shifted (Siddiqi 2006). Between equal
populations of N and M cars its mean is (bins - 1)(1/N + 1/M) and it is chi-squared (Yurdakul & Naranjo 2020), so that a hundred sales alone
make 0.1: only what exceeds that chance counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from carlien_valuation.domain.calibration import MIN_SALES, Light

Floats = NDArray[np.float64]

SHIFTED, STABLE = 0.25, 0.1
BINS = 10
MOST_CATEGORIES = 20
OTHER = "\0other"
Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class NumberReference:
    """A number's distribution in training: inner edges of bins and the share of cars in each bin (one more than edges)."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CategoryReference:
    """A category's distribution in training: shares of the most frequent values; what is left is all others'."""

    shares: Mapping[str, float]


def number_reference(values: Floats) -> NumberReference | None:
    """Deciles of (n,), NaN left out; ties make fewer bins. None where nothing varies."""
    known = values[~np.isnan(values)]
    if len(known) < MIN_SALES:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1) / len(known)
    return NumberReference(tuple(map(float, edges)), tuple(map(float, shares))) if (shares > 0).sum() > 1 else None


def category_reference(values: Sequence[str]) -> CategoryReference | None:
    """Shares of the most frequent values. None where nothing varies."""
    names, counts = np.unique(np.array(values, dtype=object).astype(str), return_counts=True)
    if len(values) < MIN_SALES or len(names) < 2:
        return None
    order = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    return CategoryReference({str(names[index]): float(counts[index] / len(values)) for index in order})


@dataclass(frozen=True, slots=True)
class Drift:
    """A feature's index, what chance alone makes of it in 95 of 100 cases, and its light."""

    psi: float
    chance: float
    light: Light


def number_drift(reference: NumberReference, trained_on: int, values: Floats) -> Drift | None:
    """PSI of (n,) against training; None below MIN_SALES known values."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(np.array(reference.edges), known, side="right"), minlength=len(reference.shares))
    return _drift(np.array(reference.shares), trained_on, counts)


def category_drift(reference: CategoryReference, trained_on: int, values: Sequence[str]) -> Drift | None:
    """The same for a category."""
    places = {name: place for place, name in enumerate(reference.shares)}
    counts = np.bincount([places.get(value, len(places)) for value in values] or [0], minlength=len(places) + 1)
    rest = max(1 - sum(reference.shares.values()), 0.0)
    return _drift(np.array([*reference.shares.values(), rest]), trained_on, counts) if values else None


def _drift(expected: Floats, trained_on: int, counts: NDArray[np.int64]) -> Drift | None:
    n = int(counts.sum())
    if n < MIN_SALES:
        return None
    kept = (expected > 0) | (counts > 0)
    # Half a car in an empty bin: an index must not become infinite by one car.
    ours = (counts[kept] + 0.5) / (n + 0.5 * kept.sum())
    theirs = (expected[kept] * trained_on + 0.5) / (trained_on + 0.5 * kept.sum())
    psi = float(np.sum((ours - theirs) * np.log(ours / theirs)))
    freedom = max(int(kept.sum()) - 1, 1)
    # 95 % quantile of chi-squared by Wilson & Hilferty's cube root.
    chance = freedom * (1 - 2 / (9 * freedom) + Z95 * math.sqrt(2 / (9 * freedom))) ** 3 * (1 / n + 1 / trained_on)
    significant = psi > chance
    light = Light.RED if significant and psi > SHIFTED else Light.YELLOW if significant and psi > STABLE else Light.GREEN
    return Drift(psi, chance, light)


def training_reference(numbers: Mapping[str, Floats], makes: Sequence[str]) -> dict[str, object]:
    """What a model card keeps of its training cars, so that later ones can be compared: plain JSON, by feature."""
    found = {name: number_reference(values) for name, values in numbers.items()} | {"make": category_reference(makes)}
    return {name: asdict(one) for name, one in found.items() if one is not None}
