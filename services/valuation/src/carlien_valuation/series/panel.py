"""A panel: the same cars (model code, fuel, model year) priced again and again.

Everything that is fitted gets a panel cut off at its origin (`Panel.until`), so that nothing
after the origin can leak into it: later prices are not in the object it holds.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEW = -1
"""Model year of a zero-kilometre series: its cars never age, each month's price is that of a new one."""


def month_number(year: int, month: int) -> int:
    """Months since year 0, so that differences are months."""
    return year * 12 + month - 1


def parse_month(text: str) -> int:
    """`YYYY-MM` as a month number; ValueError when it isn't one."""
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
    if found is None:
        raise ValueError(f"{text!r} is no month")
    return month_number(int(found[1]), int(found[2]))


def format_month(number: int) -> str:
    """A month number as `YYYY-MM`."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


@dataclass(frozen=True)
class Panel:
    """Log prices of S series on a regular grid of T months, NaN where a month has no price.

    Labels are integer codes (S,): `make`, `family` (make and first word of the model), `code` (one
    model and fuel, all model years) and `fuel`.
    """

    log_price: Floats
    first_month: int
    make: Ints
    family: Ints
    code: Ints
    fuel: Ints
    model_year: Ints
    names: tuple[str, ...] = ()

    @property
    def n_series(self) -> int:
        """S."""
        return len(self.log_price)

    @property
    def n_months(self) -> int:
        """T."""
        return int(self.log_price.shape[1])

    @property
    def last_month(self) -> int:
        """Month number of the last column: the origin of a panel that was cut off there."""
        return self.first_month + self.n_months - 1

    @cached_property
    def is_new(self) -> NDArray[np.bool_]:
        """(S,) which series are of zero-kilometre cars."""
        return np.asarray(self.model_year == NEW)

    @cached_property
    def observed(self) -> Ints:
        """Columns that hold at least one price."""
        return np.flatnonzero(~np.all(np.isnan(self.log_price), axis=0))

    @cached_property
    def change(self) -> Floats:
        """(S, T-1) log change from each month to the next, NaN where either is missing."""
        return np.diff(self.log_price, axis=1)

    @cached_property
    def market(self) -> Floats:
        """(T-1,) median monthly log change of the used series; NaN where fewer than `MIN_MARKET` changed hands."""
        used = self.change[~self.is_new]
        enough = np.sum(~np.isnan(used), axis=0) >= MIN_MARKET
        market = np.full(self.n_months - 1, np.nan)
        if enough.any():
            market[enough] = np.nanmedian(used[:, enough], axis=0)
        return market

    @cached_property
    def market_level(self) -> Floats:
        """(T,) cumulative median log change of the used series over months with prices, carried through months without."""
        level = np.zeros(self.n_months)
        columns = self.observed
        for earlier, later in pairwise(columns.tolist()):
            moved = (self.log_price[:, later] - self.log_price[:, earlier])[~self.is_new]
            moved = moved[~np.isnan(moved)]
            level[later:] += np.median(moved) if len(moved) >= MIN_MARKET else 0.0
        return level

    def age_years(self, column: int) -> Floats:
        """(S,) age at a column, counted from the start of the model year; 0 for a new car."""
        age = (self.first_month + column) / 12 - self.model_year
        return np.where(self.is_new, 0.0, age)

    def until(self, month: int) -> "Panel":
        """The panel as it was known at the end of a month; a copy, so that later prices are out of reach."""
        width = month - self.first_month + 1
        if width < 1:
            raise ValueError(f"no data up to {format_month(month)}")
        return Panel(
            log_price=self.log_price[:, :width].copy(),
            first_month=self.first_month,
            make=self.make,
            family=self.family,
            code=self.code,
            fuel=self.fuel,
            model_year=self.model_year,
            names=self.names,
        )


MIN_MARKET = 20
"""Fewer changes than this make no market median."""
