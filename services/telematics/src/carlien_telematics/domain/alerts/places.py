"""Coming to, staying at and leaving places of interest."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.geofences import Geofence, GeofenceIndex, GeofenceKind
from carlien_telematics.domain.trips import Sample, place

CONFIRMATIONS = 2
"""Fixes in a row on the other side of a border: a single one is noise, and at a border noise goes to and fro."""
STAYS = timedelta(minutes=3)
"""Driving past a small place is no visit."""
OUTSIDE = timedelta(minutes=10)
"""Out of the province for less may be a road along its border."""
PAWN_DWELL = timedelta(hours=4)
REPEAT_VISITS = 2
REPEAT_WITHIN = timedelta(days=30)
MAX_VISITS = 20
_VISIT = (AlertKind.GEOFENCE_ENTER, AlertKind.GEOFENCE_DWELL, AlertKind.SECOND_PAWN, AlertKind.GEOFENCE_EXIT)


@dataclass(slots=True)
class Visit:
    """What is remembered of a car and a place."""

    inside: bool | None = None
    since: datetime | None = None
    crossing: int = 0
    crossed_at: datetime | None = None
    entered: bool = False
    """ENTER was told, or for a province that it was left."""
    dwelt: bool = False
    visits: list[datetime] = field(default_factory=list)


@dataclass(slots=True)
class PlaceDetector:
    """The car against every place that concerns it. Only places it was ever near are remembered."""

    known: dict[str, Visit] = field(default_factory=dict)

    def observe(self, sample: Sample, fences: GeofenceIndex, out: list[Signal]) -> None:
        """Appends what happens at places."""
        here = place(sample)
        if here is None:
            return
        for fence in fences.around(*here, self.known):
            visit = self.known.get(fence.geofence_id)
            inside = fence.contains(*here, leaving=visit is not None and visit.inside is True)
            if visit is None:
                if not inside and fence.kind is not GeofenceKind.PROVINCE:
                    continue
                visit = self.known[fence.geofence_id] = Visit()
            self._move(visit, inside, sample.at)
            if fence.kind is GeofenceKind.PROVINCE:
                _province(fence, visit, sample.at, out)
            elif fence.kind is not GeofenceKind.HOME:
                _place(fence, visit, sample.at, out)

    def forget(self, fences: GeofenceIndex) -> list[str]:
        """Drops what concerns places that are no more, and answers which those were."""
        gone = [name for name in self.known if name not in fences.by_id]
        for name in gone:
            del self.known[name]
        return gone

    def _move(self, visit: Visit, inside: bool, at: datetime) -> None:
        if inside == visit.inside:
            visit.crossing, visit.crossed_at = 0, None
            return
        visit.crossing += 1
        visit.crossed_at = visit.crossed_at or at
        if visit.crossing >= CONFIRMATIONS:
            visit.inside, visit.since = inside, visit.crossed_at
            visit.crossing, visit.crossed_at = 0, None


def _place(fence: Geofence, visit: Visit, at: datetime, out: list[Signal]) -> None:
    if visit.since is None:
        return
    stayed = at - visit.since
    if visit.inside and not visit.entered and stayed >= STAYS:
        visit.entered = True
        visit.visits.append(visit.since)
        visit.visits = [when for when in visit.visits if at - when <= REPEAT_WITHIN][-MAX_VISITS:]
        count = Evidence("VISITS_30_DAYS", float(len(visit.visits)), "count", at)
        out.append(Signal(AlertKind.GEOFENCE_ENTER, at, visit.since, (count,), geofence_id=fence.geofence_id))
        if fence.kind is GeofenceKind.SECOND_PAWN and len(visit.visits) >= REPEAT_VISITS:
            out.append(Signal(AlertKind.SECOND_PAWN, at, visit.since, (count,), geofence_id=fence.geofence_id))
    if visit.inside and visit.entered and not visit.dwelt:
        pawn = fence.kind is GeofenceKind.SECOND_PAWN
        limit = fence.dwell or (PAWN_DWELL if pawn else None)
        if limit is not None and stayed >= limit:
            visit.dwelt = True
            kind = AlertKind.SECOND_PAWN if pawn else AlertKind.GEOFENCE_DWELL
            length = Evidence("STAYED", round(stayed.total_seconds() / 60, 1), "min", at)
            out.append(Signal(kind, at, visit.since, (length,), geofence_id=fence.geofence_id))
    if not visit.inside and visit.entered:
        visit.entered = visit.dwelt = False
        _left(fence, at, visit.since, out)


def _left(fence: Geofence, at: datetime, since: datetime, out: list[Signal]) -> None:
    """EXIT is told, and with it the whole visit is over."""
    out.append(Signal(AlertKind.GEOFENCE_EXIT, at, since, geofence_id=fence.geofence_id))
    out += [Signal(kind, at, since, ended=True, geofence_id=fence.geofence_id) for kind in _VISIT]


def _province(fence: Geofence, visit: Visit, at: datetime, out: list[Signal]) -> None:
    if visit.since is None:
        return
    if visit.inside is False and not visit.entered and at - visit.since >= OUTSIDE:
        visit.entered = True
        outside = Evidence("OUTSIDE", round((at - visit.since).total_seconds() / 60, 1), "min", at)
        out.append(Signal(AlertKind.PROVINCE_LEFT, at, visit.since, (outside,), geofence_id=fence.geofence_id))
    elif visit.inside and visit.entered:
        visit.entered = False
        out.append(Signal(AlertKind.PROVINCE_LEFT, at, visit.since, (), ended=True, geofence_id=fence.geofence_id))
