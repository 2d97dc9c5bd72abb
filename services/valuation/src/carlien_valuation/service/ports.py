"""What the use cases need of the outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol

import numpy as np

from carlien_valuation.domain.car import Car


class Point(NamedTuple):
    """A car in a hypothetical state, to be valued: what differs from the description is said here."""

    car: Car
    market_date: date
    age_years: float
    odometer_km: float | None
    condition: bool = True
    """False: as if its condition were not stated."""
    usage: bool = True
    """False: as if it were used privately and never changed hands."""
    region: bool = True
    """False: as if its region were not stated."""


@dataclass(frozen=True, slots=True)
class Support:
    """What a car's value rests on."""

    sample_size: int
    unknown_make: bool
    unknown_model: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """Log distances of P10 (negative) and P90 (positive) from P50."""

    low: float
    high: float


class Appraiser(Protocol):
    """A trained model."""

    version: str
    currency: str
    price_kind: str
    data_cutoff: date
    synthetic: bool
    knows_age: bool
    condition: bool
    """Whether the training data told conditions apart."""
    usage: bool
    region: bool
    cold_start: Spread | None
    """For a known make's unknown model; None where that was not measurable."""
    max_age_years: float
    max_odometer_km: float

    def values(self, points: Sequence[Point]) -> np.ndarray:
        """P10, P50, P90 of each point in units of currency, shape (n, 3)."""
        ...

    def support(self, cars: Sequence[Car]) -> list[Support]:
        """What each car's value rests on."""
        ...

    def typical_odometer(self, age_years: float) -> float:
        """Median kilometres at an age; 0 where not known."""
        ...


@dataclass(frozen=True, slots=True)
class IndexReading:
    """A market index at a date: its vintage, its level, and its level relative to the model's data cutoff."""

    vintage: str
    level: float
    ratio: float


class MarketIndex(Protocol):
    """Brings a value from the model's cutoff to a date."""

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:
        """The index of the car's segment."""
        ...
