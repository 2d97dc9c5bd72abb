"""The collateral of a running loan: what it is worth now, and what follows from that.

A watch changes only by events: those below (values, liens, time), telematics' (`watch_usage`) and the stock's (`stock`). Each returns
the new state and what to tell the world: nothing, `watch.marked`, or `watch.stage_changed`; one event per change.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from carlien_pricing.domain.ladder import LadderRules, judge, outcome
from carlien_pricing.domain.watch_state import Change, IndexLevels, Mark, Outcome, Stage, Watch


def start(watch: Watch, rules: LadderRules) -> Outcome:
    """A new watch, already judged."""
    return Outcome(judge(watch, rules, watch.updated_at), Change.STARTED)


def change_outstanding(watch: Watch, outstanding: Decimal, rules: LadderRules, now: datetime) -> Outcome:
    """The lender reports what is owed now. A closed watch stays as it is."""
    if watch.stage is Stage.CLOSED or outstanding == watch.outstanding:
        return Outcome(watch)
    return outcome(watch, judge(replace(watch, outstanding=outstanding, updated_at=now), rules, now))


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
    return outcome(watch, judge(marked, rules, now))


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
    moved = judge(indexed, rules, now)
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
    return outcome(watch, judge(replace(watch, liens_ahead=(*watch.liens_ahead, number), updated_at=now), rules, now))


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
    return outcome(watch, judge(replace(watch, liens_ahead=left, updated_at=now), rules, now))


def end_cure_period(watch: Watch, rules: LadderRules, now: datetime) -> Outcome:
    """Called when time has passed: a margin call that wasn't cured is accelerated where the law or the contract allows it."""
    if watch.stage is not Stage.MARGIN_CALL or watch.cure_until is None or now < watch.cure_until:
        return Outcome(watch)
    judged = judge(replace(watch, updated_at=now), rules, now)
    return Outcome(watch) if judged.reasons == watch.reasons else outcome(watch, judged)
