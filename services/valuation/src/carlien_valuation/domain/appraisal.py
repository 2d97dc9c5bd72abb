"""What an appraisal is: estimates per market that add up to the cent, or an honest abstention."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from statistics import NormalDist

from carlien_common.domain.money import Money


class PriceType(StrEnum):
    """In which market a price is meant."""

    TRADE_IN = "TRADE_IN"
    PRIVATE = "PRIVATE"
    DEALER_RETAIL = "DEALER_RETAIL"
    WHOLESALE = "WHOLESALE"
    FORCED_SALE = "FORCED_SALE"


class Confidence(StrEnum):
    """How far an estimate can be relied on."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


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
    """A value in one market; the waterfall's amounts sum to p50 exactly."""

    price_type: PriceType
    p10: Money
    p50: Money
    p90: Money
    waterfall: tuple[Step, ...]
    sample_size: int
    fsd: float
    confidence: Confidence


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


def waterfall(levels: dict[str, float], currency: str) -> tuple[tuple[Step, ...], Money]:
    """Steps in the order of FACTORS, and the value they sum to exactly.

    `levels` maps each factor, in the order the value is built up, to the value once that factor is included. Levels are rounded
    to the minor unit first and steps are their differences, so nothing is lost between them.
    """
    before = Money(Decimal(0), currency)
    amounts: dict[str, Money] = {}
    for factor, level in levels.items():
        after = money(level, currency)
        amounts[factor] = after - before
        before = after
    return tuple(Step(factor, amounts[factor]) for factor in FACTORS if factor in amounts), before


def money(amount: float, currency: str) -> Money:
    """A model's number as money, rounded half up to the minor unit and never below one of it."""
    exact = Money(Decimal(repr(round(amount, 6))), currency).quantized()
    return exact if exact.amount > 0 else Money(exact.minor_unit, currency)


def confidence(sample_size: int, relative_width: float, *, unknown: bool) -> Confidence:
    """HIGH with at least 50 comparable cars and an 80 % interval within 40 % of the value; LOW below 10 cars, beyond 70 % or for
    unknown models.
    """
    if unknown or sample_size < 10 or relative_width > 0.7:
        return Confidence.LOW
    return Confidence.HIGH if sample_size >= 50 and relative_width <= 0.4 else Confidence.MEDIUM
