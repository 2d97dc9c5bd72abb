"""What a learned method sees of a series at one month: its own momentum, its relatives', its place among them.

Everything is relative to the market's level, so that what is learned in one market phase holds in the next. A
feature at column c is computed from columns up to c only.
"""

from dataclasses import dataclass

import numpy as np

from carlien_valuation.series.ageing import neighbours
from carlien_valuation.series.panel import Floats, Ints, Panel

MOMENTUM_MONTHS = (1, 2, 3, 6, 12, 24)
RELATIVE_MONTHS = (3, 24)
CAP = 0.034
"""Published tables limit a month's change (FIPE: +-3.5 %); a series at the limit goes on moving next month."""
SHRINK_MONTHS = 6.0
SHRINK_RELATIVES = 2.0
GROUPS = ("code", "family", "make", "model_year", "fuel")


@dataclass(frozen=True)
class Pairs:
    """Training rows: features at an anchor and the mean monthly change, beyond the market's, over the `k` months after it."""

    x: Floats
    y: Floats
    weight: Floats
    series: Ints
    anchor: Ints
    k: Ints

    def take(self, rows: Ints) -> "Pairs":
        """A selection."""
        return Pairs(self.x[rows], self.y[rows], self.weight[rows], self.series[rows], self.anchor[rows], self.k[rows])


def feature_names() -> tuple[str, ...]:
    """In column order."""
    momentum = tuple(f"momentum_{months}" for months in MOMENTUM_MONTHS)
    relatives = tuple(f"momentum_{months}_{group}" for months in RELATIVE_MONTHS for group in ("own", *GROUPS))
    return (*momentum, *relatives, "is_new", "age", "log_price", "gap_older", "gap_younger", "gap_new", "at_cap", "history", "volatility")


def features(panel: Panel, column: int) -> Floats:
    """(S, F) features at a column; NaN where a series doesn't show them."""
    relative = panel.log_price[:, : column + 1] - panel.market_level[: column + 1]
    momentum = {months: _momentum(relative, months) for months in MOMENTUM_MONTHS}
    columns = [momentum[months][0] for months in MOMENTUM_MONTHS]
    for months in RELATIVE_MONTHS:
        mean, span = momentum[months]
        columns.append(np.nan_to_num(mean) * span / (span + SHRINK_MONTHS))
        columns.extend(_relatives_mean(mean, getattr(panel, group)) for group in GROUPS)
    price = panel.log_price[:, column]
    older, younger = neighbours(panel, column, 1), neighbours(panel, column, -1)
    columns += [panel.is_new.astype(np.float64), panel.age_years(column), price]
    columns += [price - _at(price, older), _at(price, younger) - price, _new_price(panel, column) - price]
    recent = np.diff(panel.log_price[:, max(0, column - 3) : column + 1], axis=1)
    columns.append(np.nansum(np.sign(recent) * (np.abs(recent) > CAP), axis=1))
    seen = ~np.isnan(relative)
    columns.append(seen.sum(axis=1).astype(np.float64))
    columns.append(_spread(np.diff(relative, axis=1)))
    return np.column_stack(columns)


def _momentum(relative: Floats, months: int) -> tuple[Floats, Floats]:
    """(S,) mean monthly change over the last `months` and the span it was seen over; NaN and 0 where it wasn't."""
    window = relative[:, -(months + 1) :]
    seen = ~np.isnan(window)
    first = np.argmax(seen, axis=1)
    span = np.where(seen.any(axis=1), window.shape[1] - 1 - first, 0).astype(np.float64)
    change = window[:, -1] - window[np.arange(len(window)), first]
    mean = np.full(len(window), np.nan)
    np.divide(change, span, out=mean, where=span > 0)
    return mean, np.where(np.isnan(mean), 0.0, span)


def _relatives_mean(values: Floats, group: Ints) -> Floats:
    """(S,) mean of the others of a series' group, shrunk towards none."""
    key = group - group.min()
    present = ~np.isnan(values)
    own = np.where(present, values, 0.0)
    total, count = np.bincount(key, own), np.bincount(key, present)
    return np.asarray((total[key] - own) / (count[key] - present + SHRINK_RELATIVES))


def _at(values: Floats, rows: Ints) -> Floats:
    return np.where(rows >= 0, values[rows], np.nan)


def _new_price(panel: Panel, column: int) -> Floats:
    """(S,) log price of the same model when new, NaN for new ones themselves."""
    price = np.full(int(panel.code.max()) + 1, np.nan)
    price[panel.code[panel.is_new]] = panel.log_price[panel.is_new, column]
    return np.where(panel.is_new, np.nan, price[panel.code])


def _spread(change: Floats) -> Floats:
    """(S,) standard deviation of monthly changes; NaN for fewer than two."""
    seen = ~np.isnan(change)
    count = seen.sum(axis=1)
    filled = np.where(seen, change, 0.0)
    mean = filled.sum(axis=1) / np.maximum(count, 1)
    variance = (np.where(seen, (change - mean[:, None]) ** 2, 0.0)).sum(axis=1) / np.maximum(count - 1, 1)
    return np.where(count >= 2, np.sqrt(variance), np.nan)


HORIZONS = (1, 2, 3, 4, 6, 9, 12, 18, 24, 36, 48, 60)
MAX_ROWS = 200_000


def training_pairs(known: Panel, longest: int, seed: int) -> Pairs | None:
    """Every anchor of the panel with every horizon of HORIZONS that ends within it; a seeded sample beyond MAX_ROWS.

    None where the panel has no two months with prices. Weights grow with k: long horizons are what is asked for,
    and their targets are less noisy per month.
    """
    columns = known.observed
    anchors = columns[1:-1] if len(columns) > 2 else columns[:-1]
    available = {int(later - a) for a in anchors for later in columns if later > a}
    wanted = {k for k in HORIZONS if k in available} or available
    horizons = sorted(k for k in wanted if k <= longest) or sorted(available)[:1]
    if not horizons:
        return None
    seen = set(columns.tolist())
    x, y, series, anchor, k_of = [], [], [], [], []
    for a in anchors.tolist():
        at_anchor = features(known, a)
        for k in horizons:
            if a + k not in seen:
                continue
            moved = known.log_price[:, a + k] - known.log_price[:, a] - (known.market_level[a + k] - known.market_level[a])
            rows = np.flatnonzero(~np.isnan(moved))
            x.append(at_anchor[rows])
            y.append(moved[rows] / k)
            series.append(rows)
            anchor.append(np.full(len(rows), a))
            k_of.append(np.full(len(rows), k))
    if not x:
        return None
    months = np.concatenate(k_of)
    pairs = Pairs(np.concatenate(x), np.concatenate(y), months / longest, np.concatenate(series), np.concatenate(anchor), months)
    if len(pairs.y) <= MAX_ROWS:
        return pairs
    return pairs.take(np.sort(np.random.default_rng(seed).choice(len(pairs.y), MAX_ROWS, replace=False)))
