"""A car as a lender describes it, in the domain's terms."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class Usage(StrEnum):
    """How a car is used by law or contract, after Chinese vehicle-licence practice."""

    PRIVATE = "PRIVATE"
    RENTAL_NON_COMMERCIAL = "RENTAL_NON_COMMERCIAL"
    RIDE_HAILING = "RIDE_HAILING"
    COMMERCIAL_TAXI = "COMMERCIAL_TAXI"
    RENTAL_COMMERCIAL = "RENTAL_COMMERCIAL"
    GOODS = "GOODS"
    FORMER_RIDE_HAILING = "FORMER_RIDE_HAILING"
    FORMER_TAXI = "FORMER_TAXI"
    FORMER_RENTAL = "FORMER_RENTAL"


ACCIDENT_GRADE = 5
"""Condition grades of GB/T 30323-2013 run from 1 (best) to 4; 5 is an accident car, whatever its points."""


@dataclass(frozen=True, slots=True)
class Car:
    """Names are free text in any script; None or "" is "not stated"."""

    vin: str
    make: str
    model: str
    trim: str = ""
    first_registration: date | None = None
    odometer_km: int | None = None
    region_code: str = ""
    usage: Usage = Usage.PRIVATE
    transfer_count: int | None = None
    color: str = ""
    fuel_type: str = ""
    new_price: Decimal | None = None
    """In `new_price_currency`, which must be the currency of the answer."""
    new_price_currency: str = ""
    grade: int | None = None
    options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """Reasons found while the description was read, for example VIN_CHECK_DIGIT."""


@dataclass(frozen=True, slots=True)
class ConditionScores:
    """Sub-scores of an inspection, each 0 (worst) to 4 (best)."""

    exterior: int
    interior: int
    electrical: int
    engine: int
    transmission: int
    accident: int


# Points of the groups of GB/T 30323-2013 (body 20, engine bay and start 40, cabin 10, road test and chassis 30, rounded to our five
# sub-scores); a working assumption until an inspection report states its own points.
_POINTS = {"exterior": 20, "interior": 10, "electrical": 10, "engine": 35, "transmission": 25}
STRUCTURAL = 1
"""An accident sub-score up to this is structural damage: grade 5."""


def grade_of(scores: ConditionScores) -> int:
    """The grade of GB/T 30323-2013 that sub-scores amount to: 90 points or more 1, 60 2, 20 3, else 4; structural damage 5."""
    if scores.accident <= STRUCTURAL:
        return ACCIDENT_GRADE
    points = sum(weight * getattr(scores, name) / 4 for name, weight in _POINTS.items())
    return 1 if points >= 90 else 2 if points >= 60 else 3 if points >= 20 else 4
