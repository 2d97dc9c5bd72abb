"""How well the detectors find what the simulator knows: the same domain code, without sockets and database.

A car's records are made as its device would make them, put in device time as the store does, and given to a `Watch`. While a
device has no network the car is looked at as the service would look at it, so that alarms about a car under ground count,
too; when its records come after all, the watch goes back to where it was, as the service does.
"""

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.power import Presence
from carlien_telematics.domain.alerts.signals import GRAVITY, AlertKind
from carlien_telematics.domain.alerts.watch import Watch
from carlien_telematics.domain.behaviour import behaviour, usage_nature
from carlien_telematics.domain.trips import Sample, trips
from carlien_telematics.simulator.faults import RULES, CarFault, FaultKind, Shown
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.simulator.lives import DAY_S
from carlien_telematics.simulator.motion import Car
from carlien_telematics.simulator.scenario import Scenario
from carlien_telematics.simulator.truth import happened, observable

ORIGIN = datetime(2026, 1, 4, 16, tzinfo=UTC)
"""A Monday, 00:00 in China."""
DEVICE = "device"
MEASURED = (
    AlertKind.TOW,
    AlertKind.DEVICE_REMOVED,
    AlertKind.ODOMETER_ROLLBACK,
    AlertKind.JAMMING,
    AlertKind.POWER_CUT,
    AlertKind.ANTENNA_CUT,
    AlertKind.CRASH,
    AlertKind.LONG_STOP,
)
SLACK = timedelta(hours=1)
LATE = timedelta(days=4)
"""A case may begin so long after what it is about: an untold removal is known by three days of silence."""
NONE = "none"


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds between records of a car that drives and of one that stands."""

    driving_s: float = 30.0
    standing_s: float = 600.0


@dataclass(slots=True)
class Found:
    """A case as far as it is measured."""

    signals: set[AlertKind]
    started_at: datetime
    last_signal_at: datetime

    @property
    def kind(self) -> AlertKind:
        """The gravest."""
        return min(self.signals, key=GRAVITY.index)


@dataclass(slots=True)
class Outcome:
    """What came of some cars. Counters by kind; `confusion` by (what happened, what was found)."""

    car_months: float = 0.0
    expected: Counter[str] = field(default_factory=Counter)
    detected: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    nature: Counter[tuple[str, str]] = field(default_factory=Counter)
    records: int = 0

    def add(self, other: "Outcome") -> None:
        """Takes in another outcome."""
        self.car_months += other.car_months
        self.records += other.records
        for name in ("expected", "detected", "false", "confusion", "nature"):
            getattr(self, name).update(getattr(other, name))

    def recall(self, kind: str) -> float | None:
        """Share of what happened that was found; None where nothing happened."""
        return self.detected[kind] / self.expected[kind] if self.expected[kind] else None

    def false_per_100(self, kind: str) -> float:
        """False cases in 100 car-months."""
        return 100 * self.false[kind] / self.car_months if self.car_months else 0.0

    def balanced_accuracy(self) -> float:
        """Mean recall over the kinds of life."""
        lives = {life for life, _ in self.nature}
        recalls = [self.nature[life, life] / sum(n for (true, _), n in self.nature.items() if true == life) for life in lives]
        return sum(recalls) / len(recalls) if recalls else 0.0


def sample_of(shown: Shown, at: datetime, device: str = DEVICE) -> Sample:
    """The sample that the store would give for a record."""
    reading = shown.reading
    latitude, longitude = (reading.latitude, reading.longitude) if shown.fix else (None, None)
    if not shown.car_data:
        return Sample(at, latitude, longitude, device_id=device, fix=shown.fix, car_data=False, alarms=shown.alarms)
    return Sample(
        at,
        latitude,
        longitude,
        reading.speed_kmh,
        reading.odometer_km,
        reading.ignition,
        device,
        shown.fix,
        alarms=shown.alarms,
        soc_percent=reading.soc_percent,
    )


def moments(car: Car, days: float, cadence: Cadence) -> Iterator[float]:
    """When its device reports: often while the car drives, seldom while it stands (also while it is towed)."""
    at, end = 0.0, days * DAY_S
    drives = iter(car.trips(end + DAY_S))
    drive = next(drives, None)
    while at < end:
        yield at
        while drive is not None and at >= drive.end_s + 2 * cadence.driving_s:
            drive = next(drives, None)
        if drive is None:
            at += cadence.standing_s
        elif at >= drive.start_s:
            at += cadence.driving_s
        else:
            at = min(at + cadence.standing_s, max(drive.start_s, at + cadence.driving_s))


def run_car(scenario: Scenario, seed: int, number: int, days: float, cadence: Cadence | None = None) -> Outcome:
    """One car for some days; the nature of its use is told of its first two weeks, where nothing happened to it."""
    car, faults = scenario.car(seed, number, days * DAY_S)
    watch, snapshot = Watch(vin_of(seed, number)), None
    held: list[Sample] = []
    found: dict[str, Found] = {}
    samples: list[Sample] = []
    last = ORIGIN
    for at_s in moments(car, days, cadence or Cadence()):
        shown = faults.shown(car, at_s)
        now = ORIGIN + timedelta(seconds=at_s)
        if not shown.silent:
            sample = sample_of(shown, now + timedelta(seconds=faults.skew_s))
            samples.append(sample)
            if shown.network:
                if snapshot is not None:
                    watch, snapshot = snapshot, None
                for kept in held:
                    _note(found, watch.observe(kept))
                held.clear()
                _note(found, watch.observe(sample))
                last = now
                continue
            held.append(sample)
            snapshot = snapshot or copy.deepcopy(watch)
        if now - last > SLACK:
            _note(found, watch.silent(now, {DEVICE: Presence.AWAY}))
    outcome = Outcome(car_months=days / 30, records=len(samples))
    _judge(outcome, list(found.values()), faults.faults, car, days * DAY_S)
    period = [sample for sample in samples if sample.at < ORIGIN + timedelta(days=14)]
    if days >= 14 and not any(RULES[fault.kind].expected_alert for fault in faults.faults):
        nature = usage_nature(behaviour(period, trips(period)))
        outcome.nature[car.who.life.value, nature.value] += 1
    return outcome


def _note(found: dict[str, Found], cases: list[Case]) -> None:
    for case in cases:
        known = found.setdefault(case.case_id, Found(set(), case.started_at, case.last_signal_at))
        known.signals.update(case.signals)
        known.last_signal_at = max(known.last_signal_at, case.last_signal_at)


def _judge(outcome: Outcome, cases: Collection[Found], faults: Sequence[CarFault], car: Car, end_s: float) -> None:
    real = [(fault, *happened(fault)) for fault in faults]
    for fault, began, until in real:
        expected = RULES[fault.kind].expected_alert
        if began is None or began >= end_s:
            continue
        hits = [case for case in cases if _about(case, began, min(until, end_s))]
        best = min((case.kind for case in hits), key=GRAVITY.index, default=None)
        if expected is None:
            outcome.confusion[fault.kind.value, best or NONE] += 1
        elif observable(fault, faults, car, end_s):
            hit = any(expected in case.signals for case in hits)
            outcome.expected[expected] += 1
            outcome.detected[expected] += hit
            outcome.confusion[fault.kind.value, expected if hit else (best or NONE)] += 1
    for case in cases:
        for kind in case.signals:
            true = any(
                kind in _signs(fault.kind) and began is not None and _about(case, began, min(until, end_s)) for fault, began, until in real
            )
            outcome.false[kind] += not (true or (kind is AlertKind.LONG_STOP and _stood(case, car)))


def _signs(fault: FaultKind) -> set[str | None]:
    """The alerts that a fault rightly causes: a device that is taken out loses power first, and is silent then."""
    also = {AlertKind.POWER_CUT.value, AlertKind.OFFLINE.value} if fault is FaultKind.REMOVAL else set()
    return {RULES[fault].expected_alert, *also}


def _stood(case: Found, car: Car) -> bool:
    """A car that was towed or crashed and then stood has really stood for long."""
    end_s = (case.last_signal_at - ORIGIN).total_seconds()
    return not any(ORIGIN + timedelta(seconds=trip.start_s) > case.started_at + SLACK for trip in car.trips(end_s))


def _about(case: Found, began_s: float, until_s: float) -> bool:
    begin, until = ORIGIN + timedelta(seconds=began_s), ORIGIN + timedelta(seconds=until_s)
    return case.last_signal_at >= begin - SLACK and case.started_at <= until + LATE
