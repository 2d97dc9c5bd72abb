"""A car that stands: moved with its ignition off (tow), or standing for long."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.trips import Sample, distance_km, place

Spot = tuple[float, float]

TOW_KM = 0.3
"""Moved by less is parking noise."""
SCATTERS = 7.0
"""The shift of the middle fix must be so many times the scatter of the fixes: noise alone doesn't move a median so far."""
ODOMETER_STILL_KM = 0.3
ODOMETER_STEP_KM = 0.1
LAST_FIX_KM = 1.0
"""A car rolls so far without a fix before it stands under a roof; further back the last fix says nothing about where it was left."""
TRUSTED_GAP = timedelta(minutes=30)
"""Without an odometer, a shift over a longer silence may have been an ordinary drive whose records are missing."""
SETTLED = timedelta(minutes=30)
_STILL, _MIDDLE, _FEW, _MANY = 4, 5, 9, 15
LONG_STOP = timedelta(days=7)
MOVED_KM = 0.5


@dataclass(slots=True)
class TowDetector:
    """Compares where a parked car is with where it was parked.

    The scatter is the median second difference of the last fixes: steady movement has none and a single jump two, noise has
    it everywhere, so that a slow tow at short intervals and a jump between two reports an hour apart are both seen and a noisy
    receiver is not. It is taken over few and over many fixes, for noise may have just begun.
    """

    driven_to: Spot | None = None
    """The last fix of the drive."""
    driven_km: float | None = None
    """The odometer there."""
    parked: list[Spot] = field(default_factory=list)
    """The first three fixes of the stop; their median is where the car was left."""
    odometer_km: float | None = None
    recent: list[tuple[datetime, float, float]] = field(default_factory=list)
    seen_at: datetime | None = None
    towed_since: datetime | None = None
    still_since: datetime | None = None

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal where a tow begins or ends."""
        if sample.ignition is None:
            return
        if sample.ignition:
            self._restart(sample, out)
            return
        here = place(sample)
        if here is None:
            return
        if self._drove_unseen(sample, here):
            self._restart(sample, out)
        self.seen_at = sample.at
        if self.odometer_km is None:
            self.odometer_km = sample.odometer_km
        self.recent.append((sample.at, *here))
        del self.recent[:-_MANY]
        if not self.parked and self._left_elsewhere(sample, here):
            # no fix where it was left (under a roof), and now it is somewhere else without having driven
            self.parked = [self.driven_to] * 3 if self.driven_to else []
        if len(self.parked) < 3 and self.towed_since is None:
            self.parked.append(here)
        if len(self.recent) >= _FEW:
            self._judge(sample.at, out)

    def _judge(self, at: datetime, out: list[Signal]) -> None:
        # the quick look first: this runs for every record of a parked car
        anchor = _middle(self.parked)
        now = _middle([(lat, lon) for _, lat, lon in self.recent[-_MIDDLE:]])
        moved = distance_km(anchor, now)
        if self.towed_since is None:
            if moved > TOW_KM and moved > SCATTERS * _scatter_km(self.recent):
                since = next((when for when, lat, lon in self.recent if distance_km(anchor, (lat, lon)) > TOW_KM / 3), at)
                self.towed_since, self.still_since = since, None
                evidence = Evidence("IGNITION_OFF_DISTANCE", round(moved, 2), "km", at)
                out.append(Signal(AlertKind.TOW, at, since, (evidence,)))
            return
        last = self.recent[-_STILL:]
        if max(distance_km(now, (lat, lon)) for _, lat, lon in last) > max(0.1, SCATTERS * _scatter_km(self.recent)):
            self.still_since = None
            return
        self.still_since = self.still_since or last[0][0]
        if at - self.still_since >= SETTLED:
            self._end(at, moved, out)
            self.parked = [(lat, lon) for _, lat, lon in last[-3:]]

    def _drove_unseen(self, sample: Sample, here: Spot) -> bool:
        if not self.parked:
            return False
        if sample.odometer_km is not None and self.odometer_km is not None:
            return abs(sample.odometer_km - self.odometer_km) > ODOMETER_STILL_KM
        gap = self.seen_at is not None and sample.at - self.seen_at > TRUSTED_GAP
        return gap and distance_km(_middle(self.parked), here) > TOW_KM

    def _left_elsewhere(self, sample: Sample, here: Spot) -> bool:
        if self.driven_to is None or self.driven_km is None or sample.odometer_km is None:
            return False
        rolled_km = abs(sample.odometer_km - self.driven_km)
        return rolled_km <= LAST_FIX_KM and distance_km(self.driven_to, here) > TOW_KM + rolled_km + ODOMETER_STEP_KM

    def _restart(self, sample: Sample, out: list[Signal]) -> None:
        if self.towed_since is not None:
            moved = distance_km(_middle(self.parked), self.recent[-1][1:]) if self.parked and self.recent else 0.0
            self._end(sample.at, moved, out)
        self.parked, self.recent, self.odometer_km = [], [], None
        if (here := place(sample)) is not None:
            self.driven_to, self.driven_km = here, sample.odometer_km

    def _end(self, at: datetime, moved: float, out: list[Signal]) -> None:
        since = self.towed_since or at
        evidence = Evidence("IGNITION_OFF_DISTANCE", round(moved, 2), "km", at)
        out.append(Signal(AlertKind.TOW, at, since, (evidence,), ended=True))
        self.towed_since = None


@dataclass(slots=True)
class LongStopDetector:
    """A car that hasn't moved for a week, by places and by its odometer, whatever its ignition says."""

    where: Spot | None = None
    odometer_km: float | None = None
    since: datetime | None = None
    records: int = 0
    away: int = 0
    raised: bool = False

    def observe(self, sample: Sample, out: list[Signal]) -> None:
        """Appends a signal when the stop becomes long and when it ends."""
        here = place(sample)
        if self.since is None or self._moved(sample, here):
            if self.raised and self.since is not None:
                out.append(Signal(AlertKind.LONG_STOP, sample.at, self.since, (_days(self.since, sample.at),), ended=True))
            self.where, self.odometer_km, self.since = here, sample.odometer_km, sample.at
            self.records, self.away, self.raised = 0, 0, False
            return
        self.records += 1
        if self.where is None:
            self.where = here
        if self.odometer_km is None:
            self.odometer_km = sample.odometer_km
        if not self.raised and sample.at - self.since >= LONG_STOP:
            self.raised = True
            evidence = (_days(self.since, sample.at), Evidence("RECORDS_WHILE_STANDING", float(self.records), "count", sample.at))
            out.append(Signal(AlertKind.LONG_STOP, sample.at, self.since, evidence))

    def _moved(self, sample: Sample, here: Spot | None) -> bool:
        odometer = sample.odometer_km
        if odometer is not None and self.odometer_km is not None and odometer - self.odometer_km > MOVED_KM:
            return True
        if here is None or self.where is None:
            return False
        self.away = self.away + 1 if distance_km(self.where, here) > MOVED_KM else 0
        # stray fixes are no movement
        return self.away >= 6


def _days(since: datetime, at: datetime) -> Evidence:
    return Evidence("STANDING_DAYS", round((at - since) / timedelta(days=1), 1), "d", at)


def _middle(spots: list[Spot]) -> Spot:
    return median(spot[0] for spot in spots), median(spot[1] for spot in spots)


def _scatter_km(fixes: list[tuple[datetime, float, float]]) -> float:
    """Size of the receiver's noise, from second differences (white noise of deviation s makes them 2.4 s large)."""
    sizes = [
        distance_km((a[1] + c[1] - b[1], a[2] + c[2] - b[2]), (b[1], b[2])) for a, b, c in zip(fixes, fixes[1:], fixes[2:], strict=False)
    ]
    few = sizes[2 - _FEW :]
    return max(sorted(few)[len(few) // 2], median(sizes)) / 2.4
