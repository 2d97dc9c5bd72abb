"""An odometer that was turned back, or that doesn't count."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample, distance_km, place

ROLLBACK_KM = 2.0
"""A fall by less is rounding, or a control unit that forgot its last kilometre when it lost power."""
CONFIRMATIONS = 4
"""So many readings in a row must agree: a control unit that wakes up may say zero or all ones once or twice."""
CONFIRMED_AFTER = timedelta(minutes=1)
MAX_KMH = 250.0
BEHIND_FROM_KM = 100.0
BEHIND_SHARE = 0.7
"""An odometer that counts less than this of the distance, by positions and by speed, is held back."""
STEP = timedelta(minutes=2)


@dataclass(slots=True)
class Reading:
    """A reading that may become the accepted one."""

    km: float
    since: datetime
    count: int = 1

    def agrees(self, at: datetime, km: float) -> bool:
        """Whether a later reading can follow it."""
        return self.km - ROLLBACK_KM <= km <= self.km + 5.0 + MAX_KMH * (at - self.since).total_seconds() / 3600


@dataclass(slots=True)
class RollbackDetector:
    """Follows the odometer as one device reports it; a device that counts for itself starts anywhere."""

    accepted_km: float | None = None
    accepted_at: datetime | None = None
    doubt: Reading | None = None
    raised_at_km: float | None = None
    gps_km: float = 0.0
    speed_km: float = 0.0
    counted_km: float = 0.0
    before: tuple[datetime, float, float, float, float] | None = None
    """Time, latitude, longitude, speed and reading of the record before."""
    held_back: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal where the odometer fell for good, or fell behind."""
        km = sample.odometer_km
        if km is None:
            return
        if self.accepted_km is None or self.accepted_at is None:
            self._begin(sample.at, km)
            return
        hours = max(0.0, (sample.at - self.accepted_at).total_seconds() / 3600)
        if self.accepted_km - ROLLBACK_KM <= km <= self.accepted_km + 5.0 + MAX_KMH * hours:
            self.doubt = None
            self._follow(sample, km, out)
            self.accepted_km, self.accepted_at = max(self.accepted_km, km), sample.at
            if self.raised_at_km is not None and km >= self.raised_at_km:
                # it came back to where it had been: the cause was another than a hand on the odometer
                out.append(Signal(AlertKind.ODOMETER_ROLLBACK, sample.at, sample.at, (), ended=True))
                self.raised_at_km = None
            return
        self._doubt(sample.at, km, self.accepted_km, out)

    def _begin(self, at: datetime, km: float) -> None:
        """The first reading counts once the second agrees: it may be the one that is wrong."""
        if self.doubt is not None and self.doubt.agrees(at, km):
            self.accepted_km, self.accepted_at, self.doubt = km, at, None
        else:
            self.doubt = Reading(km, at)

    def _doubt(self, at: datetime, km: float, accepted_km: float, out: list[Signal]) -> None:
        doubt = self.doubt
        if doubt is None or not doubt.agrees(at, km):
            self.doubt = Reading(km, at)
            return
        doubt.count += 1
        if doubt.count < CONFIRMATIONS or at - doubt.since < CONFIRMED_AFTER:
            return
        if doubt.km < accepted_km:
            fell = round(accepted_km - doubt.km, 1)
            evidence = (Evidence("ODOMETER_FELL", fell, "km", doubt.since), Evidence("READINGS_BELOW", float(doubt.count), "count", at))
            out.append(Signal(AlertKind.ODOMETER_ROLLBACK, at, doubt.since, evidence))
            self.raised_at_km = max(accepted_km, self.raised_at_km or 0.0)
        self.accepted_km, self.accepted_at, self.doubt, self.before = km, at, None, None

    def _follow(self, sample: Sample, km: float, out: list[Signal]) -> None:
        here = place(sample)
        if here is None:
            self.before = None
            return
        speed, before = sample.speed_kmh or 0.0, self.before
        self.before = (sample.at, *here, speed, km)
        if before is None or not (sample.moving or before[3] > 0) or sample.at - before[0] > STEP:
            return
        self.gps_km += distance_km(before[1:3], here)
        self.speed_km += (speed + before[3]) / 2 * (sample.at - before[0]).total_seconds() / 3600
        self.counted_km += max(0.0, km - before[4])
        # both must say so: noise makes the way by positions longer, a slipping wheel the one by speed
        driven = min(self.gps_km, self.speed_km)
        if driven < BEHIND_FROM_KM:
            return
        share = self.counted_km / driven
        if share < BEHIND_SHARE and not self.held_back:
            evidence = (
                Evidence("ODOMETER_SHARE_OF_DISTANCE", round(share, 3), "1", sample.at),
                Evidence("DISTANCE_DRIVEN", round(driven, 1), "km", sample.at),
            )
            out.append(Signal(AlertKind.ODOMETER_ROLLBACK, sample.at, sample.at, evidence))
        elif share >= BEHIND_SHARE and self.held_back:
            out.append(Signal(AlertKind.ODOMETER_ROLLBACK, sample.at, sample.at, (), ended=True))
        self.held_back = share < BEHIND_SHARE
        self.gps_km = self.speed_km = self.counted_km = 0.0


@dataclass(slots=True)
class Odometers:
    """The odometer by device; the devices heard least lately are forgotten."""

    by_device: dict[str, RollbackDetector] = field(default_factory=dict)
    limit: int = 6

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """See `RollbackDetector`."""
        detector = self.by_device.get(sample.device_id)
        if detector is None:
            detector = self.by_device[sample.device_id] = RollbackDetector()
            while len(self.by_device) > self.limit:
                self.by_device.pop(next(iter(self.by_device)))
        detector.observe(sample, out)
