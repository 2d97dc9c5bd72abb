"""A realised sale: the only judge of a value."""

from dataclasses import dataclass
from datetime import date

from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.car import Car


@dataclass(frozen=True, slots=True)
class Answered:
    """What a recorded appraisal had said of the car in the market it was sold in."""

    p10: Money
    p50: Money
    p90: Money

    def error(self, price: Money) -> float:
        """(P50 - price) / price."""
        return float(self.p50.amount / price.amount) - 1

    def holds(self, price: Money) -> bool:
        """Whether the price lay within the interval."""
        return self.p10.amount <= price.amount <= self.p90.amount


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sale. `car` is the car as it was sold; None where no description of it is known."""

    outcome_id: str
    vin: str
    price: Money
    price_type: PriceType
    sold_on: date
    odometer_km: int | None
    source: str
    reference: str
    car: Car | None = None
    pack: Pack | None = None
    appraisal_id: str = ""
    answered: Answered | None = None
