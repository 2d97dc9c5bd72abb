"""Why a value changed: a chain of levels from the previous value to the new one, whose differences sum to the cent."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import in_units, of_units


class Cause(StrEnum):
    """In the order the chain is walked."""

    MARKET = "MARKET"
    AGE = "AGE"
    MILEAGE = "MILEAGE"
    USAGE = "USAGE"
    CONDITION = "CONDITION"
    BATTERY = "BATTERY"
    MODEL = "MODEL"


DRIVER = (Cause.MILEAGE, Cause.USAGE, Cause.CONDITION, Cause.BATTERY)
"""What a driver answers for. Ordinary ageing with ordinary use was known when the loan was made; the market is nobody's doing
(Civil Code of the PRC, art. 408, turns on this distinction)."""


_CHAIN = (Cause.MARKET, Cause.AGE, Cause.MILEAGE, Cause.USAGE, Cause.CONDITION)


@dataclass(frozen=True, slots=True)
class Changes:
    """Signed amounts per cause, in minor units of the currency; they sum to new less previous value exactly.

    They become Money where one is asked for: a book makes tens of thousands a second.
    """

    units: Mapping[Cause, int]
    previous_units: int
    current_units: int
    currency: str

    @property
    def amounts(self) -> dict[Cause, Money]:
        """As money."""
        return {cause: of_units(units, self.currency) for cause, units in self.units.items()}

    @property
    def previous(self) -> Money:
        """The previous value."""
        return of_units(self.previous_units, self.currency)

    @property
    def current(self) -> Money:
        """The new one."""
        return of_units(self.current_units, self.currency)

    @property
    def market_loss_units(self) -> int:
        """Fall the market caused; negative for a rise."""
        return -self.units[Cause.MARKET]

    @property
    def driver_loss_units(self) -> int:
        """Fall the driver caused; negative for a rise."""
        return -sum(self.units[cause] for cause in DRIVER)

    @property
    def market_loss(self) -> Money:
        """As money."""
        return of_units(self.market_loss_units, self.currency)

    @property
    def driver_loss(self) -> Money:
        """As money."""
        return of_units(self.driver_loss_units, self.currency)


def explain(previous: Money, factors: Mapping[Cause, float], battery: Money | None, current: int, counted: Money | None = None) -> Changes:
    """Walk from the previous value by the factor of each cause (1 where it isn't given), then the battery's amount; what is left
    to the new value is the model's. `current`: the new value in minor units. `counted`: what the battery had added to the previous value;
    factors don't apply to that part.

    Each level is rounded to the minor unit before the difference is taken, in whole numbers of it, so nothing is lost between them.
    """
    start = in_units(previous)
    before = start - (in_units(counted) if counted else 0)
    level = float(before)
    steps: dict[Cause, int] = {}
    for cause in _CHAIN:
        level *= factors.get(cause, 1.0)
        after = round(level)
        steps[cause] = after - before
        before = after
    steps[Cause.BATTERY] = in_units(battery) if battery else 0
    steps[Cause.MODEL] = current - start - sum(steps.values())
    return Changes(steps, start, current, previous.currency)
