"""What getting older costs, read off one cross-section: the same model at neighbouring model years on one date."""

from dataclasses import dataclass

import numpy as np

from carlien_valuation.series.market import robust_sd
from carlien_valuation.series.panel import NEW, Floats, Ints, Panel

MAX_AGE = 15
MIN_PAIRS = 8
"""Fewer pairs of neighbours than this make no step of their own; the next younger step is used."""


@dataclass(frozen=True)
class AgeSteps:
    """Median log price step from a model year to the one before it, same model, same date.

    `step[i]` belongs to model year `newest - i`. `dispersion` is the standard deviation of a model's own
    step around the median one.
    """

    newest: int
    step: Floats
    dispersion: float

    def change(self, model_year: Ints, months: float) -> Floats:
        """(S,) log change after `months` of ageing at constant market: whole steps, then a fraction of one."""
        whole, rest = divmod(months / 12, 1.0)
        start = np.clip(self.newest - model_year, 0, None)
        total = np.concatenate([[0.0], np.cumsum(np.append(self.step, np.repeat(self.step[-1], int(whole) + 2)))])
        last = len(total) - 2
        begin, end = np.minimum(start, last), np.minimum(start + int(whole), last)
        change = total[end] - total[begin] + rest * (total[end + 1] - total[end])
        return np.where(model_year == NEW, 0.0, change)


def neighbours(known: Panel, column: int, years: int) -> Ints:
    """(S,) row of the same model `years` older, or -1; only rows with a price in that column count."""
    priced = np.flatnonzero(~np.isnan(known.log_price[:, column]) & ~known.is_new)
    rows = {(int(known.code[row]), int(known.model_year[row])): int(row) for row in priced}
    wanted = zip(known.code.tolist(), (known.model_year - years).tolist(), strict=True)
    return np.array([rows.get(key, -1) for key in wanted], dtype=np.int64)


def age_steps(known: Panel, column: int) -> AgeSteps | None:
    """The steps at one column; None when no two neighbouring model years are priced there."""
    older = neighbours(known, column, 1)
    price = known.log_price[:, column]
    usable = (older >= 0) & ~np.isnan(price) & ~known.is_new
    if not usable.any():
        return None
    newest = int(known.model_year[usable].max())
    step = np.full(known.n_series, np.nan)
    step[usable] = price[older[usable]] - price[usable]
    position = newest - known.model_year
    overall = float(np.median(step[usable]))
    steps: list[float] = []
    residual = np.full(known.n_series, np.nan)
    for offset in range(min(int(position[usable].max()) + 1, MAX_AGE)):
        of_year = usable & (position == offset)
        enough = of_year.sum() >= MIN_PAIRS
        steps.append(float(np.median(step[of_year])) if enough else (steps[-1] if steps else overall))
        residual[of_year] = step[of_year] - steps[-1]
    return AgeSteps(newest=newest, step=np.array(steps), dispersion=robust_sd(residual))


def declining_balance(known: Panel, column: int, oldest: float) -> Floats:
    """(S,) log change per year of age, one rate per make: least squares within models, cars up to `oldest` years.

    A make without two model years of one model gets the market's rate.
    """
    price, age = known.log_price[:, column], known.age_years(column)
    usable = ~np.isnan(price) & ~known.is_new & (age <= oldest)
    count = np.bincount(known.code[usable], minlength=int(known.code.max()) + 1).clip(1)
    price_in = price[usable] - (np.bincount(known.code[usable], price[usable], len(count)) / count)[known.code[usable]]
    age_in = age[usable] - (np.bincount(known.code[usable], age[usable], len(count)) / count)[known.code[usable]]
    makes = int(known.make.max()) + 1
    product = np.bincount(known.make[usable], price_in * age_in, makes)
    square = np.bincount(known.make[usable], age_in**2, makes)
    overall = product.sum() / square.sum() if square.sum() > 0 else 0.0
    rate = np.where(square > 0, product / np.where(square > 0, square, 1.0), overall)
    return np.where(known.is_new, 0.0, rate[known.make])
