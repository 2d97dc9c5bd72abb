"""Why a value changed: a chain of levels from the previous value to the new one, whose differences sum to the cent."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from carlien_common.domain.money import Money


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
    """Signed amounts per cause; they sum to new less previous value exactly."""

    amounts: Mapping[Cause, Money]
    previous: Money
    current: Money

    @property
    def market_loss(self) -> Money:
        """Fall the market caused; negative for a rise."""
        return self._zero - self.amounts[Cause.MARKET]

    @property
    def driver_loss(self) -> Money:
        """Fall the driver caused; negative for a rise."""
        total = self._zero
        for cause in DRIVER:
            total = total - self.amounts[cause]
        return total

    @property
    def _zero(self) -> Money:
        return self.current - self.current


def explain(
    previous: Money, factors: Mapping[Cause, float], battery: Money | None, current: Money, counted: Money | None = None
) -> Changes:
    """Walk from the previous value by the factor of each cause (1 where it isn't given), then the battery's amount; what is left
    to the new value is the model's. `counted`: what the battery had added to the previous value; factors don't apply to that part.

    Each level is rounded to the minor unit before the difference is taken, in whole numbers of it, so nothing is lost between them.
    """
    previous, current = previous.quantized(), current.quantized()
    unit = previous.minor_unit
    start = int(previous.amount / unit)
    before = start - (int(counted.quantized().amount / unit) if counted else 0)
    level = float(before)
    steps: dict[Cause, int] = {}
    for cause in _CHAIN:
        level *= factors.get(cause, 1.0)
        after = round(level)
        steps[cause] = after - before
        before = after
    steps[Cause.BATTERY] = int(battery.quantized().amount / unit) if battery else 0
    steps[Cause.MODEL] = int(current.amount / unit) - start - sum(steps.values())
    return Changes({cause: Money(step * unit, previous.currency) for cause, step in steps.items()}, previous, current)
