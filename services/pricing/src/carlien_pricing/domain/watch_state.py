"""What a watch of one loan's collateral knows: the words of the ladder, and the state that events move."""

import bisect
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from carlien_pricing.domain.matrix import MarketFacts


class Stage(StrEnum):
    """How urgent the state of a loan's collateral is, in rising order; CLOSED ends the watch."""

    NORMAL = "NORMAL"
    NOTICE = "NOTICE"
    MARGIN_CALL = "MARGIN_CALL"
    ACCELERATION = "ACCELERATION"
    CLOSED = "CLOSED"


class Change(StrEnum):
    """What a watch event says happened."""

    STARTED = "watch.started"
    MARKED = "watch.marked"
    STAGE_CHANGED = "watch.stage_changed"
    CLOSED = "watch.closed"


class Cause(StrEnum):
    """What made the watch change."""

    REQUEST = "request"
    APPRAISAL = "appraisal"
    INDEX = "index"
    LIEN = "lien"
    ALERT = "alert"
    PROFILE = "profile"
    CURE_PERIOD = "cure_period"
    STOCK_CHECK = "stock_check"


@dataclass(frozen=True, slots=True)
class Mark:
    """The appraisal a watch is marked by. `index_level` 0: not known, the value stands as appraised."""

    appraisal_id: str
    p50: Decimal
    p10: Decimal
    valued_at: datetime
    index_level: float = 0.0
    driver_caused: bool = False
    """Whether valuation recorded it because of usage, mileage or battery."""


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert case of the car that goes on. `kinds`: its own and those of every signal fused into it, in order of the alphabet."""

    alert_id: str
    kinds: tuple[str, ...]
    severity: str


@dataclass(frozen=True, slots=True)
class UsageMark:
    """The car's newest profile as far as a watch needs it: risk 0 (gentle) to 100, trust 0 to 1 (None: not stated)."""

    computed_at: datetime
    risk_score: int
    trust: float | None


@dataclass(frozen=True, slots=True)
class ScheduledBalance:
    """What a stock loan may still owe from a curtailment's due date on."""

    due: date
    remaining: Decimal


@dataclass(frozen=True, slots=True)
class StockAudit:
    """The audit of a dealer's stock by telematics: every so many days the car must be shown to be there."""

    every_days: int
    due_at: datetime
    failure: str = ""
    """Why the last one failed; empty where it was passed."""


@dataclass(frozen=True, slots=True)
class Watch:
    """State of one watched loan; amounts in the loan's currency."""

    loan_id: str
    vin: str
    quote_id: str
    currency: str
    minor_unit: Decimal
    outstanding: Decimal
    mark: Mark
    start_p50: Decimal
    updated_at: datetime
    stage: Stage = Stage.NORMAL
    reasons: tuple[str, ...] = ()
    cure_until: datetime | None = None
    index_at_mark: float = 0.0
    index_now: float = 0.0
    index_vintage: str = ""
    driver_loss: Decimal = Decimal(0)
    market_loss: Decimal = Decimal(0)
    registration_number: str = ""
    liens_ahead: tuple[str, ...] = ()
    monitoring_tier: int = 1
    cell_tier: int = 0
    """Tier of the quote's matrix cell, below which the watch never goes; 0 (states of before): `monitoring_tier`."""
    alerts: tuple[OpenAlert, ...] = ()
    usage: UsageMark | None = None
    usage_tier: int = 1
    """What the profile asks for, hysteresis included."""
    curtailments: tuple[ScheduledBalance, ...] = ()
    audit: StockAudit | None = None

    @property
    def index_ratio(self) -> Decimal:
        if self.index_now <= 0 or self.index_at_mark <= 0:
            return Decimal(1)
        return Decimal(repr(self.index_now)) / Decimal(repr(self.index_at_mark))

    @property
    def value_p50(self) -> Decimal:
        return (self.mark.p50 * self.index_ratio).quantize(self.minor_unit)

    @property
    def value_p10(self) -> Decimal:
        return (self.mark.p10 * self.index_ratio).quantize(self.minor_unit)

    @property
    def ltv_p50(self) -> Decimal:
        return _over(self.outstanding, self.value_p50)

    @property
    def ltv_p10(self) -> Decimal:
        return _over(self.outstanding, self.value_p10)

    @property
    def check_at(self) -> datetime | None:
        """When somebody must look although no event came: the stock audit that is due."""
        return self.audit.due_at if self.audit and self.stage is not Stage.CLOSED else None


def _over(outstanding: Decimal, value: Decimal) -> Decimal:
    # A car without value secures nothing: any debt on it is far beyond every level.
    return outstanding / value if value > 0 else Decimal(0 if outstanding == 0 else 99)


@dataclass(frozen=True, slots=True)
class IndexLevels:
    """One vintage of the market index: (month as YYYY-MM, level) in order. Levels are compared within a vintage only, for every
    vintage is estimated anew.
    """

    vintage: str
    points: tuple[tuple[str, float], ...]

    @property
    def now(self) -> float:
        return self.points[-1][1]

    def at(self, moment: datetime) -> float:
        """Level of the month; the first or last one beyond the ends."""
        month = f"{moment.year:04d}-{moment.month:02d}"
        place = bisect.bisect_right(self.points, (month, float("inf"))) - 1
        return self.points[max(place, 0)][1]

    def market(self, on: date) -> MarketFacts:
        """Change over six months up to the newest level; not known where that is older than four months or there are too few."""
        year, month = (int(part) for part in self.points[-1][0].split("-"))
        age = (on.year - year) * 12 + on.month - month
        place = year * 12 + month - 1 - _MARKET_MONTHS
        before = f"{place // 12:04d}-{place % 12 + 1:02d}"
        levels = dict(self.points)
        if age > _MARKET_AGE_MONTHS or before not in levels:
            return MarketFacts(known=False)
        return MarketFacts(known=True, change=round(self.now / levels[before] - 1, 6), vintage=self.vintage)


_MARKET_MONTHS = 6
_MARKET_AGE_MONTHS = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new state, and the change to publish where there is one."""

    watch: Watch
    change: Change | None = field(default=None)
