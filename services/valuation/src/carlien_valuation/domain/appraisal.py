"""What an appraisal is: estimates per market that add up to the cent, or an honest abstention."""

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from statistics import NormalDist

from carlien_common.domain.currencies import MINOR_UNITS
from carlien_common.domain.money import Money
from carlien_valuation.domain.battery import PackInCar
from carlien_valuation.domain.confidence import Confidence as Confidence
from carlien_valuation.domain.liquidation import Liquidation


class PriceType(StrEnum):
    """In which market a price is meant."""

    TRADE_IN = "TRADE_IN"
    PRIVATE = "PRIVATE"
    DEALER_RETAIL = "DEALER_RETAIL"
    WHOLESALE = "WHOLESALE"
    FORCED_SALE = "FORCED_SALE"


class Cause(StrEnum):
    """Why an appraisal was recorded."""

    REQUEST = "REQUEST"
    USAGE = "USAGE"
    MILEAGE = "MILEAGE"
    BATTERY = "BATTERY"
    MODEL = "MODEL"


FACTORS = ("base", "mileage", "age", "condition", "usage", "region", "options", "market_index")
"""Steps of a waterfall, in the order they are shown."""

Z80 = NormalDist().inv_cdf(0.9)
"""Standard deviations from the median to P90."""


@dataclass(frozen=True, slots=True)
class Step:
    """One signed addend of an estimate."""

    factor: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value in one market; the waterfall's amounts sum to p50 exactly.

    Amounts are kept as whole minor units of the currency and become Money where one is asked for: a batch makes thousands a second.
    """

    price_type: PriceType
    currency: str
    p10_units: int
    p50_units: int
    p90_units: int
    steps: tuple[tuple[str, int], ...]
    """Factor and signed minor units, in the order of FACTORS, then a battery's; empty where no waterfall was asked for."""
    sample_size: int
    fsd: float
    confidence: Confidence
    liquidation: Liquidation | None = None
    """What a forced sale leaves; None for other markets."""
    battery: PackInCar | None = None
    """None where no battery is described, or it can't be valued."""

    @property
    def p10(self) -> Money:
        """Nine in ten such cars fetch more."""
        return of_units(self.p10_units, self.currency)

    @property
    def p50(self) -> Money:
        """The median."""
        return of_units(self.p50_units, self.currency)

    @property
    def p90(self) -> Money:
        """Nine in ten such cars fetch less."""
        return of_units(self.p90_units, self.currency)

    @property
    def waterfall(self) -> tuple[Step, ...]:
        """The steps as money."""
        return tuple(Step(factor, of_units(amount, self.currency)) for factor, amount in self.steps)


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a reader should know: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The answer for one car on one date; no estimates and a reason where it is abstained from."""

    vin: str
    estimates: tuple[Estimate, ...]
    abstain_reason: str
    warnings: tuple[Remark, ...]
    model_version: str
    data_cutoff: date
    index_vintage: str
    index_level: float
    valued_at: datetime
    valuation_date: date
    typical_odometer_km: int
    appraisal_id: str = field(default="")

    @property
    def abstained(self) -> bool:
        """Whether no honest value could be given."""
        return self.abstain_reason != ""


def waterfall(levels: dict[str, float], scale: int) -> tuple[tuple[tuple[str, int], ...], int]:
    """Steps in the order of FACTORS, in minor units, and the value they sum to exactly.

    `levels` maps each factor, in the order the value is built up, to the value once that factor is included; `scale` is minor units
    per unit of currency. Levels are rounded to the minor unit first and steps are their differences, so nothing is lost between them.
    """
    before, last = 0, math.nan
    amounts: dict[str, int] = {}
    for factor, level in levels.items():
        after = before if level == last else units(level, scale)
        amounts[factor] = after - before
        before, last = after, level
    return tuple((factor, amounts[factor]) for factor in FACTORS if factor in amounts), before


def units(amount: float, scale: int) -> int:
    """A model's number in minor units, rounded half up and never below one of them."""
    return max(math.floor(amount * scale + 0.5), 1)


def scale_of(currency: str) -> int:
    """Minor units per unit of a currency: 100 for CNY, 1 for JPY."""
    return int(10 ** MINOR_UNITS[currency])


def of_units(amount: int, currency: str) -> Money:
    """Minor units as money."""
    return Money(Decimal(amount).scaleb(-MINOR_UNITS[currency]), currency)


def in_units(amount: Money) -> int:
    """Money in minor units, rounded half up."""
    return int(amount.quantized().amount.scaleb(MINOR_UNITS[amount.currency]))


def money(amount: float, currency: str) -> Money:
    """A model's number as money, rounded half up to the minor unit and never below one of it."""
    return of_units(units(amount, scale_of(currency)), currency)


def confidence(sample_size: int, relative_width: float, *, unknown: bool) -> Confidence:
    """HIGH with at least 50 comparable cars and an 80 % interval within 40 % of the value; LOW below 10 cars, beyond 70 % or for
    unknown models.
    """
    if unknown or sample_size < 10 or relative_width > 0.7:
        return Confidence.LOW
    return Confidence.HIGH if sample_size >= 50 and relative_width <= 0.4 else Confidence.MEDIUM
