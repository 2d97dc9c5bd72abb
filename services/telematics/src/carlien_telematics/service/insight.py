"""Cars looked at again when records of them were stored, or when they have been silent: what is found becomes alert cases.

Work is bounded: a round takes each car once however many records it sent, a car's records are read from where its detectors
stand, and a late record makes them start again from the last checkpoint before it, not from the beginning.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.power import Presence
from carlien_telematics.domain.alerts.replay import Advance, advance, reconcile
from carlien_telematics.domain.alerts.signals import Signal
from carlien_telematics.domain.alerts.watch import Watch
from carlien_telematics.domain.geofences import Geofence, GeofenceIndex
from carlien_telematics.domain.trips import Sample

CARS = 200
"""Cars of one transaction."""
MAX_RECORDS = 20_000
"""Records of a car that one round looks at; what is more waits for the next."""
PROFILE_FROM = timedelta(hours=1)
PROFILE_EVERY = timedelta(days=1)
"""Of the car's own time: a profile is made anew once a day of records."""


@dataclass(frozen=True, slots=True)
class Due:
    """A car of which records were stored. `since` is the device time of the oldest of them."""

    vin: str
    since: datetime
    heard_at: datetime
    due_ids: Sequence[int]


@dataclass(slots=True)
class Known:
    """A car's watch as it is stored."""

    watch: Watch
    head_time: datetime
    heard_at: datetime
    watched_from: datetime
    profiled_to: datetime | None = None


@dataclass(slots=True)
class Kept:
    """What is to be stored of a car."""

    known: Known
    profile_due: bool
    silence_due_at: datetime | None = None
    """None leaves it as it is."""
    checkpoints: Sequence[tuple[datetime, Watch]] = ()
    replayed_from: datetime | None = None
    """Checkpoints after it are no longer true; None where nothing was replayed."""


@dataclass(slots=True)
class Round:
    """What a round did."""

    cars: int = 0
    records: int = 0
    replays: int = 0
    too_late: int = 0
    changes: list[Case] = field(default_factory=list)


class InsightStore(Protocol):
    """What is known of cars, within one transaction that holds the insight lock."""

    async def newest_due(self) -> int:
        """Number of the newest note that records were stored; 0 where there is none."""

    async def due(self, limit: int, upto: int) -> Sequence[Due]:
        """Cars of which records were stored, longest waiting first; notes after `upto` wait for the next round."""

    async def settle(self, due: Sequence[Due]) -> None:
        """They were looked at."""

    async def again(self, vin: str, since: datetime, heard_at: datetime) -> None:
        """There is more of a car from a device time on."""

    async def postpone(self, vins: Sequence[str], until: datetime) -> None:
        """Their silence need not be judged before."""

    async def silent(self, now: datetime, limit: int) -> Sequence[str]:
        """Cars whose silence has to be judged."""

    async def consented(self, vins: Collection[str]) -> set[str]:
        """Those with a live consent."""

    async def known(self, vins: Collection[str]) -> Mapping[str, Known]:
        """Their watches; a car never looked at, or with a watch of another version, is missing."""

    async def checkpoint(self, vin: str, before: datetime) -> tuple[datetime, Watch] | None:
        """The newest checkpoint before a device time."""

    async def forgotten(self, vin: str) -> bool:
        """Whether older checkpoints of the car than those that are left were dropped."""

    async def samples(self, starts: Mapping[str, datetime], limit: int) -> Mapping[str, Sequence[Sample]]:
        """At most `limit` records per car after a device time, in device time; none from the future."""

    async def geofences(self, vins: Collection[str]) -> Sequence[Geofence]:
        """Places of all cars, and of these."""

    async def presence(self, vins: Collection[str]) -> Mapping[str, Mapping[str, Presence]]:
        """The devices in service of each car."""

    async def cases(self, vin: str, after: datetime) -> Sequence[Case]:
        """Cases with a signal after a device time."""

    async def keep(self, kept: Sequence[Kept]) -> None:
        """Stores watches and checkpoints."""

    async def change(self, vin: str, cases: Sequence[Case]) -> Sequence[Case]:
        """Stores those cases that differ from what is stored, their change and its event; answers them."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long silence is only silence."""

    grace: timedelta = timedelta(minutes=2)
    """A device that was heard so lately is not silent, whatever its clock says."""
    look_again: timedelta = timedelta(minutes=5)


async def look_at_due(store: InsightStore, now: datetime, patience: Patience, upto: int) -> Round:
    """One transaction's worth of cars of which records were stored; one without a car says that none are left of the round."""
    due = await store.due(CARS, upto)
    result = Round(cars=len(due))
    consented = await store.consented({entry.vin for entry in due})
    cars = {entry.vin: entry for entry in due if entry.vin in consented}
    if cars:
        known = await store.known(cars)
        plans = {vin: await _plan(store, entry, known.get(vin), result) for vin, entry in cars.items()}
        starts = {vin: plan.start for vin, plan in plans.items()}
        samples = await store.samples(starts, MAX_RECORDS)
        fences = _by_car(await store.geofences(cars), cars)
        presence = await store.presence(cars)
        kept: list[Kept] = []
        for vin, plan in plans.items():
            records = samples.get(vin, ())
            result.records += len(records)
            # a replay may be long: the loop that devices and callers are answered from goes on meanwhile
            found = await asyncio.to_thread(advance, plan.watch, plan.head_time, records, fences[vin])
            if plan.replayed:
                reconcile(found, await store.cases(vin, plan.start), now)
            heard_at = max(cars[vin].heard_at, known[vin].heard_at) if vin in known else cars[vin].heard_at
            if len(records) >= MAX_RECORDS and found.head_time is not None:
                await store.again(vin, found.head_time + timedelta(microseconds=1), heard_at)
            changes = await store.change(vin, list(found.cases.values()))
            result.changes += changes
            kept += _kept(known.get(vin), found, plan, heard_at, presence.get(vin, {}), now, patience, news=bool(changes))
        await store.keep(kept)
    await store.settle(due)
    return result


@dataclass(slots=True)
class _Plan:
    watch: Watch
    head_time: datetime | None
    start: datetime
    replayed: bool = False


async def _plan(store: InsightStore, due: Due, known: Known | None, result: Round) -> _Plan:
    """Where to begin: at the head, at a checkpoint before a late record, or at the beginning."""
    beginning = due.since - timedelta(microseconds=1)
    if known is None:
        return _Plan(Watch(due.vin), None, beginning)
    head = _Plan(known.watch, known.head_time, known.head_time)
    if due.since > known.head_time:
        return head
    checkpoint = await store.checkpoint(due.vin, due.since)
    if checkpoint is not None:
        result.replays += 1
        return _Plan(checkpoint[1], checkpoint[0], checkpoint[0], replayed=True)
    if await store.forgotten(due.vin):
        result.too_late += 1
        return head
    result.replays += 1
    return _Plan(Watch(due.vin), None, beginning, replayed=True)


def _by_car(fences: Sequence[Geofence], vins: Collection[str]) -> Mapping[str, GeofenceIndex]:
    """One index for all cars without a place of their own."""
    general = [fence for fence in fences if not fence.vin]
    shared = GeofenceIndex(general)
    own: dict[str, list[Geofence]] = {}
    for fence in fences:
        if fence.vin:
            own.setdefault(fence.vin, []).append(fence)
    return {vin: GeofenceIndex([*general, *own[vin]]) if vin in own else shared for vin in vins}


def _kept(
    known: Known | None,
    found: Advance,
    plan: _Plan,
    heard_at: datetime,
    presence: Mapping[str, Presence],
    now: datetime,
    patience: Patience,
    *,
    news: bool,
) -> list[Kept]:
    if found.head_time is None:
        return []  # all its records are from the future
    first = plan.start if known is None else min(known.watched_from, plan.start)
    profiled_to = known.profiled_to if known else None
    car = Known(found.watch, found.head_time, heard_at, first, profiled_to)
    look = _next_look(car, presence, now, patience)
    return [Kept(car, _profile_due(car, news=news), look, found.checkpoints, plan.start if plan.replayed else None)]


def _profile_due(car: Known, *, news: bool) -> bool:
    """A new alert changes how far a car's telemetry can be trusted: its profile is made anew at once."""
    if car.profiled_to is None:
        return car.head_time - car.watched_from >= PROFILE_FROM
    return news or car.head_time - car.profiled_to >= PROFILE_EVERY


def _next_look(car: Known, presence: Mapping[str, Presence], now: datetime, patience: Patience) -> datetime:
    look = car.watch.devices.next_look(presence)
    return max(look, now + patience.look_again, car.heard_at + patience.grace) if look else now + timedelta(days=1)


async def look_at_silent(store: InsightStore, now: datetime, patience: Patience) -> Round:
    """One transaction's worth of cars that have been silent for long enough to say something."""
    vins = await store.silent(now, CARS)
    result = Round(cars=len(vins))
    known = await store.known(vins)
    consented = await store.consented(known)
    presence = await store.presence(known)
    kept = []
    for vin, car in known.items():
        devices = presence.get(vin, {})
        changes: Sequence[Case] = ()
        if vin in consented and now - car.heard_at >= patience.grace:
            changes = await store.change(vin, car.watch.silent(now, devices))
        result.changes += changes
        kept.append(Kept(car, _profile_due(car, news=bool(changes)), _next_look(car, devices, now, patience)))
    await store.keep(kept)
    await store.postpone([vin for vin in vins if vin not in known], now + timedelta(days=1))
    return result


async def tell(store: InsightStore, vin: str, signals: Sequence[Signal]) -> Sequence[Case]:
    """Adds what was found elsewhere to a car's cases; nothing where the car was never looked at."""
    known = (await store.known([vin])).get(vin)
    if known is None or not signals:
        return []
    changed = await store.change(vin, known.watch.tell(signals))
    await store.keep([Kept(known, _profile_due(known, news=False))])
    return changed
