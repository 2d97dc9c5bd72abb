"""Collateral value indices: what the market alone did to the price of the same car.

Two estimators, both with standard errors:

* `hedonic`: rolling time-dummy regression, log price = model effect + age and use + month effect (Hill, Scholz, Shimizu &
  Steurer 2022; RPPI Handbook 2013, ch. 5). Needs no car to be seen twice. Model effects are absorbed.
* `repeat_price`: matched models, log price ratio of the same item at two months (Bailey, Muth & Nourse 1963). Cars age between
  the two, and ageing can't be told from the market by such ratios alone (age, period and cohort are collinear); so the
  ratios are first freed of ageing by the age profile that a cross-section shows.

An index of a month is 100 x exp(month effect), relative to the base month.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_PER_MONTH = 5
"""Fewer prices (or ratios) than this, and the month has no index of its own."""
HUBER = 1.345
ROUNDS = 10
AGE_KNOTS = (1.0, 3.0, 6.0, 10.0)
"""Years at which the slope of log price on age may change."""


@dataclass(frozen=True)
class Prices:
    """Priced cars: `log_price`, `age_years`, `log_use` (log of km per year, 0 where not known) (n,), `month` numbers and `model` codes."""

    log_price: Floats
    month: Ints
    model: Ints
    age_years: Floats
    log_use: Floats

    def take(self, rows: Ints | NDArray[np.bool_]) -> "Prices":
        """A selection."""
        return Prices(self.log_price[rows], self.month[rows], self.model[rows], self.age_years[rows], self.log_use[rows])


@dataclass(frozen=True)
class Index:
    """Levels (base 100) with standard errors of their logs, per month; `n` prices or ratios stand behind each."""

    month: Ints
    level: Floats
    standard_error: Floats
    n: Ints
    base: int
    """Month of level 100."""
    age_profile: tuple[float, ...] = ()

    def at(self, month: int) -> float:
        """Level of a month; of the last month before it where it has none. KeyError before the first."""
        position = int(np.searchsorted(self.month, month, side="right")) - 1
        if position < 0:
            raise KeyError(month)
        return float(self.level[position])


def age_basis(age_years: Floats) -> Floats:
    """(n, 1 + knots) age and what of it lies beyond each knot: a piecewise linear profile."""
    return np.column_stack([age_years, *(np.maximum(age_years - knot, 0.0) for knot in AGE_KNOTS)])


def hedonic(prices: Prices, base: int | None = None) -> Index | None:
    """Time-dummy index; None where fewer than two months have MIN_PER_MONTH prices. `base` is the month of level 100 (the first, if None).

    Huber weights against wrong prices; standard errors clustered by model, as prices of one model err together.
    """
    months, keep = _months(prices.month)
    if len(months) < 2:
        return None
    kept = prices.take(keep)
    base_position = _base(months, base)
    position = np.searchsorted(months, kept.month)
    dummies = np.zeros((len(position), len(months)))
    dummies[np.arange(len(position)), position] = 1.0
    x = np.column_stack([np.delete(dummies, base_position, axis=1), age_basis(kept.age_years), kept.log_use])
    coefficients, covariance = _absorbed(x, kept.log_price, kept.model)
    n_effects = len(months) - 1
    effect = np.insert(coefficients[:n_effects], base_position, 0.0)
    variance = np.insert(np.diag(covariance)[:n_effects], base_position, 0.0)
    profile = tuple(float(c) for c in coefficients[n_effects : n_effects + 1 + len(AGE_KNOTS)])
    return Index(months, 100 * np.exp(effect), np.sqrt(variance), np.bincount(position), int(months[base_position]), profile)


def repeat_price(prices: Prices, item: Ints, age_profile: tuple[float, ...], base: int | None = None) -> Index | None:
    """Matched-model index from consecutive prices of the same `item` (n,); None where fewer than two months are linked.

    `age_profile` are the coefficients of `age_basis`; each ratio is freed of the ageing between its two months.
    """
    order = np.lexsort((prices.month, item))
    earlier, later = order[:-1], order[1:]
    same = (item[earlier] == item[later]) & (prices.month[later] > prices.month[earlier])
    earlier, later = earlier[same], later[same]
    if not len(earlier):
        return None
    ageing = (age_basis(prices.age_years[later]) - age_basis(prices.age_years[earlier])) @ np.array(age_profile)
    ratio = prices.log_price[later] - prices.log_price[earlier] - ageing
    months, keep = _months(prices.month[later], also=prices.month[earlier])
    if len(months) < 2:
        return None
    earlier, later, ratio = earlier[keep], later[keep], ratio[keep]
    base_position = _base(months, base)
    start, end = np.searchsorted(months, prices.month[earlier]), np.searchsorted(months, prices.month[later])
    x = np.zeros((len(ratio), len(months)))
    rows = np.arange(len(ratio))
    x[rows, end] += 1.0
    x[rows, start] -= 1.0
    gap = (prices.month[later] - prices.month[earlier]).astype(np.float64)
    weight = 1 / np.sqrt(gap)  # a ratio over a longer gap carries more noise
    x = np.delete(x, base_position, axis=1) * weight[:, None]
    coefficients, covariance = _huber(x, ratio * weight, prices.model[earlier])
    effect, variance = np.insert(coefficients, base_position, 0.0), np.insert(np.diag(covariance), base_position, 0.0)
    counts = np.bincount(np.concatenate([start, end]), minlength=len(months))
    return Index(months, 100 * np.exp(effect), np.sqrt(variance), counts, int(months[base_position]), age_profile)


@dataclass(frozen=True)
class Nowcast:
    """Level of a month that isn't published yet, and the standard error of its log."""

    level: float
    standard_error: float
    n: int
    weight: float


def nowcast(last_level: float, log_ratio: Floats, months: float, level_sd: float) -> Nowcast:
    """Level now from ratios of fresh prices to their values at the last published month.

    The median ratio is shrunk to none by how far a market usually moves in that many months (`level_sd` per square root of
    a month): few prices say little. Without any the last level stands, with the market's usual movement as its error.
    """
    prior = level_sd**2 * max(months, 0.0)
    n = len(log_ratio)
    if n == 0 or prior == 0:
        return Nowcast(last_level, float(np.sqrt(prior)), n, 0.0)
    centre = float(np.median(log_ratio))
    spread = 1.4826 * float(np.median(np.abs(log_ratio - centre))) if n > 2 else 0.1
    error = np.pi / 2 * max(spread, 1e-3) ** 2 / n  # variance of a median of normals
    weight = prior / (prior + error)
    return Nowcast(last_level * float(np.exp(weight * centre)), float(np.sqrt(weight * error)), n, float(weight))


def _months(month: Ints, also: Ints | None = None) -> tuple[Ints, NDArray[np.bool_]]:
    """Months with enough prices, and which prices lie in one (`also`: the other end of a ratio, which must lie in one too)."""
    everything = month if also is None else np.concatenate([month, also])
    months, counts = np.unique(everything, return_counts=True)
    good = months[counts >= MIN_PER_MONTH]
    keep = np.isin(month, good)
    if also is not None:
        keep &= np.isin(also, good)
        good = np.intersect1d(good, np.concatenate([month[keep], also[keep]]))
    return good.astype(np.int64), keep


def _base(months: Ints, base: int | None) -> int:
    return 0 if base is None else int(np.clip(np.searchsorted(months, base), 0, len(months) - 1))


def _absorbed(x: Floats, y: Floats, group: Ints) -> tuple[Floats, Floats]:
    """Coefficients and covariance with the groups' effects absorbed (Frisch-Waugh-Lovell; weighted means under Huber weights)."""
    _, group = np.unique(group, return_inverse=True)
    weight, residual = np.ones(len(y)), y
    coefficients: Floats = np.zeros(x.shape[1])
    inside = x
    for _ in range(ROUNDS):
        inside = x - _group_mean(x, group, weight)
        target = y - _group_mean(y[:, None], group, weight)[:, 0]
        coefficients = np.asarray(
            np.linalg.lstsq(inside * np.sqrt(weight)[:, None], target * np.sqrt(weight), rcond=None)[0], dtype=np.float64
        )
        residual = target - inside @ coefficients
        weight = _huber_weight(residual)
    return coefficients, _clustered(inside, residual, weight, group)


def _huber(x: Floats, y: Floats, group: Ints) -> tuple[Floats, Floats]:
    weight, residual = np.ones(len(y)), y
    coefficients: Floats = np.zeros(x.shape[1])
    for _ in range(ROUNDS):
        coefficients = np.asarray(np.linalg.lstsq(x * np.sqrt(weight)[:, None], y * np.sqrt(weight), rcond=None)[0], dtype=np.float64)
        residual = y - x @ coefficients
        weight = _huber_weight(residual)
    return coefficients, _clustered(x, residual, weight, np.unique(group, return_inverse=True)[1])


def _huber_weight(residual: Floats) -> Floats:
    scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-12)
    return np.asarray(1 / np.maximum(1.0, np.abs(residual) / (HUBER * scale)))


def _group_mean(values: Floats, group: Ints, weight: Floats) -> Floats:
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values * weight[:, None])
    return np.asarray((total / np.bincount(group, weight)[:, None])[group])


def _clustered(x: Floats, residual: Floats, weight: Floats, group: Ints) -> Floats:
    """Cluster-robust covariance (Liang & Zeger 1986) with the usual small-sample factor."""
    bread = np.linalg.pinv(x.T @ (x * weight[:, None]))
    score = np.zeros((int(group.max()) + 1, x.shape[1]))
    np.add.at(score, group, x * (weight * residual)[:, None])
    clusters = len(score)
    factor = clusters / max(clusters - 1, 1)
    return np.asarray(factor * bread @ (score.T @ score) @ bread)
