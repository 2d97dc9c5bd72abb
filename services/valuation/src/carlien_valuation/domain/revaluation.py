"""Why a value changed: a chain of levels from the previous value to the new one, whose differences sum to the cent."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import money


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


def explain(previous: Money, factors: Mapping[Cause, float], battery: Money | None, current: Money) -> Changes:
    """Walk from the previous value by the factor of each cause (1 where it isn't given), then the battery's amount; what is left
    to the new value is the model's.

    Each level is rounded to the cent before the difference is taken, so nothing is lost between them.
    """
    level, before = float(previous.amount), previous.quantized()
    amounts: dict[Cause, Money] = {}
    for cause in (Cause.MARKET, Cause.AGE, Cause.MILEAGE, Cause.USAGE, Cause.CONDITION):
        level *= factors.get(cause, 1.0)
        after = money(level, previous.currency)
        amounts[cause] = after - before
        before = after
    amounts[Cause.BATTERY] = battery.quantized() if battery else before - before
    amounts[Cause.MODEL] = current.quantized() - before - amounts[Cause.BATTERY]
    return Changes(amounts, previous.quantized(), current.quantized())
