"""The collateral of a running loan: what it is worth now, and what follows from that.

A watch changes only by the events below. Each returns the new state and what to tell the world: nothing, `watch.marked`, or
`watch.stage_changed`; one event per change.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from carlien_pricing.domain.policy import Rule


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
    PROFILE = "profile"
    CURE_PERIOD = "cure_period"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRules(Rule):
    """Levels and periods of the margin-call ladder."""

    notice_ltv_p50: Decimal
    notice_ltv_p10: Decimal
    call_ltv_p50: Decimal
    release_band: Decimal
    cure_days: int
    accelerate_market_only: bool
    driver_loss_matters_from: Decimal


def check_ladders(rows: Sequence[LadderRules]) -> None:
    """ValueError for levels that make no ladder."""
    for row in rows:
        if not 0 <= row.release_band < row.call_ltv_p50 - row.notice_ltv_p50:
            raise ValueError(f"{row.id}: the release band must be smaller than the distance of the levels")
        if row.cure_days < 1:
            raise ValueError(f"{row.id}: a cure period needs at least a day")


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The new state, and the change to publish where there is one."""

    watch: Watch
    change: Change | None = field(default=None)


def _over(outstanding: Decimal, value: Decimal) -> Decimal:
    # A car without value secures nothing: any debt on it is far beyond every level.
    return outstanding / value if value > 0 else Decimal(0 if outstanding == 0 else 99)


def start(watch: Watch, rules: LadderRules) -> Outcome:
    """A new watch, already judged."""
    return Outcome(_judge(watch, rules, watch.updated_at), Change.STARTED)


def change_outstanding(watch: Watch, outstanding: Decimal, rules: LadderRules, now: datetime) -> Outcome:
    """The lender reports what is owed now. A closed watch stays as it is."""
    if watch.stage is Stage.CLOSED or outstanding == watch.outstanding:
        return Outcome(watch)
    return _outcome(watch, _judge(replace(watch, outstanding=outstanding, updated_at=now), rules, now))


def apply_appraisal(watch: Watch, mark: Mark, rules: LadderRules, now: datetime, levels: IndexLevels | None = None) -> Outcome:
    """A recorded appraisal. One not newer than the held one changes nothing: events come twice and out of order.

    `levels`: the index held, by which the new mark is carried on.
    """
    held = watch.mark
    if watch.stage is Stage.CLOSED or mark.appraisal_id == held.appraisal_id or mark.valued_at <= held.valued_at:
        return Outcome(watch)
    market, driver = split_fall(held, mark)
    marked = replace(
        watch,
        mark=mark,
        driver_loss=(watch.driver_loss + driver).quantize(watch.minor_unit),
        market_loss=(watch.market_loss + market).quantize(watch.minor_unit),
        index_vintage=levels.vintage if levels else "",
        index_at_mark=levels.at(mark.valued_at) if levels else 0.0,
        index_now=levels.now if levels else 0.0,
        updated_at=now,
    )
    return _outcome(watch, _judge(marked, rules, now))


def split_fall(old: Mark, new: Mark) -> tuple[Decimal, Decimal]:
    """(market-caused, driver-caused) fall between two appraisals, from what valuation states about both.

    Market: the old value times the fall of the index the two stand on. Driver: what remains, where valuation recorded the new
    one because of usage, mileage or battery. The rest is age, and nobody's doing.
    """
    market = Decimal(0)
    if old.index_level > 0 and new.index_level > 0:
        market = old.p50 * (1 - Decimal(repr(new.index_level)) / Decimal(repr(old.index_level)))
    driver = max(old.p50 - new.p50 - market, Decimal(0)) if new.driver_caused else Decimal(0)
    return market, driver


def apply_index(watch: Watch, levels: IndexLevels, rules: LadderRules, now: datetime) -> Outcome:
    """The market index: mark = appraisal x index now / index at the appraisal. Told only where the stage changes."""
    at_mark = levels.at(watch.mark.valued_at)
    known = (watch.index_vintage, watch.index_at_mark, watch.index_now)
    if watch.stage is Stage.CLOSED or levels.vintage < watch.index_vintage or known == (levels.vintage, at_mark, levels.now):
        return Outcome(watch)
    indexed = replace(watch, index_vintage=levels.vintage, index_at_mark=at_mark, index_now=levels.now, updated_at=now)
    moved = _judge(indexed, rules, now)
    return Outcome(moved, Change.STAGE_CHANGED if moved.stage is not watch.stage else None)


def apply_registration(watch: Watch, number: str, *, own: bool, ahead: bool, rules: LadderRules, now: datetime) -> Outcome:
    """A lien on the car was registered: ours, or another's that may rank ahead (possessory, purchase money)."""
    if watch.stage is Stage.CLOSED:
        return Outcome(watch)
    if own:
        if watch.registration_number:
            return Outcome(watch)
        return Outcome(replace(watch, registration_number=number, updated_at=now), Change.MARKED)
    if not ahead or number in watch.liens_ahead:
        return Outcome(watch)
    return _outcome(watch, _judge(replace(watch, liens_ahead=(*watch.liens_ahead, number), updated_at=now), rules, now))


def apply_discharge(watch: Watch, number: str, rules: LadderRules, now: datetime) -> Outcome:
    """A registration ended: ours closes the watch; another's lets go of its claim."""
    if watch.stage is Stage.CLOSED:
        return Outcome(watch)
    if number == watch.registration_number:
        closed = replace(watch, stage=Stage.CLOSED, reasons=("LIEN_DISCHARGED",), cure_until=None, updated_at=now)
        return Outcome(closed, Change.CLOSED)
    if number not in watch.liens_ahead:
        return Outcome(watch)
    left = tuple(held for held in watch.liens_ahead if held != number)
    return _outcome(watch, _judge(replace(watch, liens_ahead=left, updated_at=now), rules, now))


def change_tier(watch: Watch, tier: int, now: datetime) -> Outcome:
    """Telematics found the car used differently: another monitoring tier."""
    if watch.stage is Stage.CLOSED or tier == watch.monitoring_tier:
        return Outcome(watch)
    return Outcome(replace(watch, monitoring_tier=tier, updated_at=now), Change.MARKED)


def end_cure_period(watch: Watch, rules: LadderRules, now: datetime) -> Outcome:
    """Called when time has passed: a margin call that wasn't cured is accelerated where the law or the contract allows it."""
    if watch.stage is not Stage.MARGIN_CALL or watch.cure_until is None or now < watch.cure_until:
        return Outcome(watch)
    judged = _judge(replace(watch, updated_at=now), rules, now)
    return Outcome(watch) if judged.reasons == watch.reasons else _outcome(watch, judged)


def _outcome(before: Watch, after: Watch) -> Outcome:
    return Outcome(after, Change.STAGE_CHANGED if after.stage is not before.stage else Change.MARKED)


def _judge(watch: Watch, rules: LadderRules, now: datetime) -> Watch:
    """The stage that follows from the values, with hysteresis against the stage it is in."""
    reasons = []
    called = watch.stage in (Stage.MARGIN_CALL, Stage.ACCELERATION)
    noticed = called or watch.stage is Stage.NOTICE
    band = rules.release_band
    if watch.ltv_p50 >= rules.call_ltv_p50 - (band if called else 0):
        stage = Stage.MARGIN_CALL
        reasons.append("LTV_P50_ABOVE_CALL_LEVEL")
    else:
        stage = Stage.NORMAL
        if watch.ltv_p50 >= rules.notice_ltv_p50 - (band if noticed else 0):
            stage = Stage.NOTICE
            reasons.append("LTV_P50_ABOVE_NOTICE_LEVEL")
        if watch.ltv_p10 >= rules.notice_ltv_p10 - (band if noticed else 0):
            stage = Stage.NOTICE
            reasons.append("LTV_P10_ABOVE_NOTICE_LEVEL")
    if watch.liens_ahead:
        stage = Stage.NOTICE if stage is Stage.NORMAL else stage
        reasons.append("LIEN_AHEAD")

    cure_until = None
    if stage is Stage.MARGIN_CALL:
        by_driver = watch.driver_loss >= rules.driver_loss_matters_from * watch.start_p50 and watch.driver_loss > 0
        reasons.append("CIVIL_CODE_408_DRIVER_CAUSED" if by_driver else "NOT_DRIVER_CAUSED")
        cure_until = watch.cure_until or now + timedelta(days=rules.cure_days)
        expired = now >= cure_until
        if watch.stage is Stage.ACCELERATION or (expired and (by_driver or rules.accelerate_market_only)):
            stage, cure_until = Stage.ACCELERATION, watch.cure_until
            reasons.append("NOT_CURED")
        elif expired:
            reasons.append("NOT_CURED_NO_ACCELERATION")
    return replace(watch, stage=stage, reasons=tuple(reasons), cure_until=cure_until)
