"""Use cases of the collateral watch. Events come at least once and in any order; the state doesn't depend on either."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import invalid, not_found, precondition
from carlien_pricing.domain import stock, watch_usage
from carlien_pricing.domain import watch as rules
from carlien_pricing.domain.ladder import LadderRules
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import ValueFacts
from carlien_pricing.domain.watch_state import Cause, Change, IndexLevels, Mark, Outcome, Stage, Watch
from carlien_pricing.service.ports import (
    HeldAlert,
    HeldAppraisal,
    HeldLien,
    HeldUsage,
    Place,
    QuoteRecord,
    QuoteStatus,
    Store,
    Told,
    Transaction,
)

EncodeWatch = Callable[[Watch], bytes]

# Margin calls whose cure period ended, per pass of the clock: bounds one transaction.
_OVERDUE_BATCH = 200
_CHANGES_BLOCK = 500
_CHANGES_POLL_SECONDS = 0.5
_CHANGES_KEPT = timedelta(days=7)
# Watches carried on by an index in one transaction: bounds its locks and its memory.
_INDEX_BLOCK = 500
# Cases that ended so long ago can't be told of again: topics keep a week.
_CLOSED_ALERTS_KEPT = timedelta(days=90)
MAX_PAGE = 1000
DEFAULT_PAGE = 100


@dataclass(frozen=True, slots=True)
class WatchCommand:
    """A validated request to watch a loan."""

    loan_id: str
    vin: str
    quote_id: str
    outstanding: Decimal
    currency: str
    key: str
    payload: bytes


class Watching:
    """Watches the collateral of running loans."""

    def __init__(self, store: Store, policies: PolicyBundle, clock: Clock, encode: EncodeWatch) -> None:
        self._store, self._policies, self._clock, self._encode = store, policies, clock, encode

    async def watch(self, command: WatchCommand, org: str) -> bytes:
        """Begins a watch, or changes what is outstanding; the answer as encoded, the first one for a repeated key.

        PRECONDITION QUOTE_NOT_ACCEPTED, LOAN_ID_TAKEN; INVALID where car or currency are not the quote's.
        """
        async with self._store.transaction() as tx:
            answered = await tx.first_answer(org, "WatchLoan", command.key, command.payload)
            if answered is not None:
                return answered
            outcome, cause = await self._begin_or_change(tx, command, org)
            await tx.put_watch(outcome.watch, outcome.change, cause)
            answer = self._encode(outcome.watch)
            await tx.remember(org, "WatchLoan", command.key, answer)
            return answer

    async def _begin_or_change(self, tx: Transaction, command: WatchCommand, org: str) -> tuple[Outcome, Cause]:
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        await tx.lock_cars([command.vin])
        held = await tx.watch_for_update(command.loan_id)
        if held is not None:
            if (held.vin, held.quote_id) != (command.vin, command.quote_id):
                raise precondition("LOAN_ID_TAKEN", "this loan is watched with another car or quote")
            _same_currency(command.currency, held.currency)
            return rules.change_outstanding(held, command.outstanding, ladder, now), Cause.REQUEST
        record = await tx.quote_for_update(command.quote_id, org)
        if record is None:
            raise not_found("QUOTE_NOT_FOUND", "there is no such quote")
        if record.status is not QuoteStatus.ACCEPTED:
            raise precondition("QUOTE_NOT_ACCEPTED", "only a loan from an accepted quote is watched")
        if record.inputs.car.vin != command.vin:
            raise invalid("vin", "VIN_MISMATCH", "the quote is for another car")
        _same_currency(command.currency, record.currency)
        appraisal = await tx.appraisal(record.inputs.value.appraisal_id)
        newest = await tx.newest_appraisal(command.vin)
        mark = newest.mark if newest else appraisal.mark if appraisal else _mark_of_quote(record.inputs.value)
        watch = Watch(
            loan_id=command.loan_id,
            vin=command.vin,
            quote_id=command.quote_id,
            currency=record.currency,
            minor_unit=record.inputs.request.minor_unit,
            outstanding=command.outstanding,
            mark=mark,
            start_p50=mark.p50,
            updated_at=now,
            monitoring_tier=record.priced.cell.monitoring_tier,
            cell_tier=record.priced.cell.monitoring_tier,
        )
        watch = self._as_stock(watch, record)
        levels = await tx.index()
        if levels is not None:
            watch = rules.apply_index(watch, levels, ladder, now).watch
        watch = await _told_before(tx, watch, ladder)
        return rules.start(watch, ladder), Cause.REQUEST

    def _as_stock(self, watch: Watch, record: QuoteRecord) -> Watch:
        """A dealer's stock is audited, and its curtailments are watched."""
        every = self._policies.packs[record.inputs.request.product].stock_audit_days
        if every is None:
            return watch
        return replace(
            watch, curtailments=stock.scheduled_balances(record.priced.schedule), audit=stock.first_audit(every, watch.updated_at)
        )

    async def get(self, loan_id: str) -> Watch:
        """NOT_FOUND WATCH_NOT_FOUND."""
        held = await self._store.watch(loan_id)
        if held is None:
            raise not_found("WATCH_NOT_FOUND", "this loan is not watched")
        return held

    async def list(self, stage: Stage | None, page_size: int, after: str) -> tuple[Sequence[Watch], str]:
        """One page in order of loan identifier, and the token of the next (empty on the last)."""
        if page_size < 0 or page_size > MAX_PAGE:
            raise invalid("page_size", "PAGE_SIZE_OUT_OF_RANGE", f"the page size must be 0 to {MAX_PAGE}")
        limit = page_size or DEFAULT_PAGE
        found = await self._store.list_watches(stage, after, limit + 1)
        return found[:limit], found[limit - 1].loan_id if len(found) > limit else ""

    async def changes(self, loan_id: str, resume: str) -> AsyncIterator[Told]:
        """Every change behind the place `resume` names (empty: from now on), as it happens, until the caller stops listening.

        INVALID RESUME_TOKEN_INVALID.
        """
        place = _place(resume) if resume else await self._store.now_place()
        while True:
            found = await self._store.told_after(place, loan_id, _CHANGES_BLOCK)
            for told in found:
                yield told
                place = told.place
            if len(found) < _CHANGES_BLOCK:
                await asyncio.sleep(_CHANGES_POLL_SECONDS)

    async def forget_changes(self) -> None:
        """Ends the keeping of changes for streams, and of alert cases that ended long ago."""
        await self._store.forget_told(self._clock() - _CHANGES_KEPT)
        await self._store.forget_alerts(self._clock() - _CLOSED_ALERTS_KEPT)

    async def appraised(self, tx: Transaction, appraisals: Sequence[HeldAppraisal]) -> None:
        """Appraisal events: held for quotes by id, and open watches of the cars re-marked."""
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        await tx.lock_cars([held.vin for held in appraisals])
        await tx.add_appraisals(appraisals)
        marks: dict[str, list[HeldAppraisal]] = {}
        for held in appraisals:
            if not held.facts.abstained:
                marks.setdefault(held.vin, []).append(held)
        watches = await tx.watches_of(sorted(marks))
        levels = await tx.index() if watches else None
        changed: list[Watch] = []
        told: list[tuple[Change, Watch]] = []
        for before in watches:
            watch = before
            for held in sorted(marks[watch.vin], key=lambda appraisal: appraisal.mark.valued_at):
                if held.facts.currency != watch.currency:
                    continue
                outcome = rules.apply_appraisal(watch, held.mark, ladder, now, levels)
                watch = outcome.watch
                if outcome.change is not None:
                    told.append((outcome.change, watch))
            if watch is not before:
                changed.append(watch)
        await tx.put_watches(changed, told, Cause.APPRAISAL)

    async def index_published(self, tx: Transaction, published: Sequence[IndexLevels]) -> None:
        """Index events: the newest vintage is held; `carry_on` takes the watches to it."""
        await tx.put_index(max(published, key=lambda levels: levels.vintage))

    async def carry_on(self) -> int:
        """Carries open watches on by the newest index held, a block at a time; how many there were.

        It looks for watches of an older vintage, so it finds those too that began or were marked while the index was published,
        and goes on where it was interrupted.
        """
        levels = await self._store.index()
        carried = 0
        while levels is not None:
            now = self._clock()
            ladder = self._policies.ladder_on(now.date())
            async with self._store.transaction() as tx:
                block = await tx.behind_vintage(levels.vintage, _INDEX_BLOCK)
                outcomes = [rules.apply_index(watch, levels, ladder, now) for watch in block]
                told = [(outcome.change, outcome.watch) for outcome in outcomes if outcome.change is not None]
                await tx.put_watches([outcome.watch for outcome in outcomes], told, Cause.INDEX)
            carried += len(block)
            if len(block) < _INDEX_BLOCK:
                break
        return carried

    async def lien_changed(self, tx: Transaction, liens: Sequence[HeldLien]) -> None:
        """Lien events in ledger order."""
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        await tx.lock_cars([lien.vin for lien in liens])
        for lien in sorted(liens, key=lambda held: (held.block_number, held.tx_index)):
            if not await tx.put_lien(lien):
                continue
            for watch in await tx.watches_of([lien.vin]):
                number = lien.registration_number
                if lien.active:
                    outcome = rules.apply_registration(watch, number, own=lien.own, ahead=lien.ahead, rules=ladder, now=now)
                else:
                    outcome = rules.apply_discharge(watch, number, ladder, now)
                if outcome.change is not None:
                    await tx.put_watch(outcome.watch, outcome.change, Cause.LIEN)

    async def alerts_changed(self, tx: Transaction, alerts: Sequence[HeldAlert]) -> None:
        """Alert events: of a case only what is newer than what is held counts."""
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        await tx.lock_cars([held.vin for held in alerts])
        for held in alerts:
            if await tx.put_alert(held):
                for watch in await tx.watches_of([held.vin]):
                    outcome = watch_usage.apply_alert(watch, held.alert, is_open=held.is_open, rules=ladder, now=now)
                    await _keep(tx, watch, outcome, Cause.ALERT)

    async def usage_changed(self, tx: Transaction, profiles: Sequence[HeldUsage]) -> None:
        """Profile events: of one car the one computed last counts."""
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        await tx.lock_cars([held.vin for held in profiles])
        for held in profiles:
            if await tx.put_usage(held):
                for watch in await tx.watches_of([held.vin]):
                    await _keep(tx, watch, watch_usage.apply_usage(watch, held.mark, ladder, now), Cause.PROFILE)

    async def end_cure_periods(self) -> int:
        """Judges margin calls whose time to cure has passed; how many moved."""
        now = self._clock()
        ladder = self._policies.ladder_on(now.date())
        moved = 0
        async with self._store.transaction() as tx:
            for watch in await tx.overdue_margin_calls(now, _OVERDUE_BATCH):
                outcome = rules.end_cure_period(watch, ladder, now)
                if outcome.change is not None:
                    await tx.put_watch(outcome.watch, outcome.change, Cause.CURE_PERIOD)
                    moved += 1
        return moved


async def _told_before(tx: Transaction, watch: Watch, ladder: LadderRules) -> Watch:
    """What the ledger and telematics told of the car before its watch began."""
    now = watch.updated_at
    for lien in await tx.liens(watch.vin):
        if lien.active:
            watch = rules.apply_registration(watch, lien.registration_number, own=lien.own, ahead=lien.ahead, rules=ladder, now=now).watch
    for alert in await tx.open_alerts(watch.vin):
        watch = watch_usage.apply_alert(watch, alert, is_open=True, rules=ladder, now=now).watch
    usage = await tx.usage_mark(watch.vin)
    return watch if usage is None else watch_usage.apply_usage(watch, usage, ladder, now).watch


async def _keep(tx: Transaction, before: Watch, outcome: Outcome, cause: Cause) -> None:
    if outcome.watch is not before:
        await tx.put_watch(outcome.watch, outcome.change, cause)


def _place(token: str) -> Place:
    tx, dot, sequence = token.partition(".")
    digits = tx.isascii() and tx.isdigit() and sequence.isascii() and sequence.isdigit()
    if not dot or not digits or int(tx) >= 2**64 or int(sequence) >= 2**63:
        raise invalid("resume_token", "RESUME_TOKEN_INVALID", "the resume token must come from an earlier answer")
    return Place(int(tx), int(sequence))


def _same_currency(given: str, expected: str) -> None:
    if given != expected:
        raise invalid("outstanding", "CURRENCY_MISMATCH", f"the loan is in {expected}")


def _mark_of_quote(value: ValueFacts) -> Mark:
    """For the case that the appraisal's own event is still on its way."""
    return Mark(value.appraisal_id, value.p50, value.p10, value.valued_at, value.index_level)
