"""Cars as plain columns: what both a table of listings and a single request become before any encoding.

Plain lists and arrays instead of a data frame keep a single appraisal cheap.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from carlien_valuation.listings.read import ATTRIBUTE

CATEGORIES = ("fuel_type", "transmission", "body_type", "drive", "color", "region_code", "seller_type", "usage_nature")
"""Text fields with few distinct values."""

NUMBERS = ("engine_l", "power_kw", "transfer_count")
SEVERITY = {"": np.nan, "no": 0.0, "minor": 1.0, "major": 2.0}

_DECIMAL = re.compile(r"(?<![\d.])([0-9]\.[0-9])(?![\d.])")
_YEAR = re.compile(r"(?<!\d)(19[5-9]\d|20[0-4]\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class Cars:
    """n cars. `text` columns hold n case-folded strings ("" = missing), `numbers` arrays of shape (n,) with NaN = missing."""

    text: dict[str, list[str]]
    numbers: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.text["make"])

    def take(self, rows: np.ndarray) -> "Cars":
        """The cars of some row numbers."""
        return Cars(
            {name: [values[row] for row in rows] for name, values in self.text.items()},
            {name: values[rows] for name, values in self.numbers.items()},
        )

    def with_numbers(self, **numbers: np.ndarray) -> "Cars":
        """The same cars with some numbers replaced."""
        return Cars(self.text, {**self.numbers, **numbers})


def cars_of(frame: pd.DataFrame) -> Cars:
    """Columns of a table of checked listings (see `listings.read` and `listings.checks`)."""
    text = {name: frame[name].str.casefold().tolist() for name in ("make", "model", "trim", *CATEGORIES)}
    numbers = {name: frame[name].to_numpy(float) for name in (*NUMBERS, "odometer_km", "age_years", "new_price", "condition_grade")}
    numbers["market_years"] = frame["as_of"].to_numpy(float) / 365.25
    numbers["accident"] = frame["accident"].str.casefold().map(SEVERITY).to_numpy(float)
    # A model year says more than an age only where the date of registration is known beside it.
    text_year = np.array([year_in(text_) for text_ in text["trim"]])
    stated = frame["model_year"].where(frame["has_registration"]).to_numpy(float)
    numbers["model_year"] = np.where(np.isnan(stated), np.where(frame["has_registration"], text_year, np.nan), stated)
    numbers["engine_l"] = np.where(np.isnan(numbers["engine_l"]), [displacement_in(text_) for text_ in text["trim"]], numbers["engine_l"])
    for name in frame.columns:
        if name.startswith(ATTRIBUTE):
            if pd.api.types.is_numeric_dtype(frame[name]):
                numbers[name] = frame[name].to_numpy(float)
            else:
                text[name] = frame[name].str.casefold().tolist()
    return Cars(text, numbers)


def displacement_in(text: str) -> float:
    """Litres in a trim's text ("2.0 TDI", "1.4L"), NaN where there are none."""
    found = _DECIMAL.search(text)
    litres = float(found.group(1)) if found else np.nan
    return litres if 0.5 <= litres <= 9 else np.nan


def year_in(text: str) -> float:
    """The model year in a trim's text ("2014款"), NaN where there is none."""
    found = _YEAR.search(text)
    return float(found.group(1)) if found else np.nan
