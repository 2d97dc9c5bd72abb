"""Reading a car's state and track: only with a live consent, and every read of a track leaves a note."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from carlien_common.domain.errors import DomainError, exhausted, invalid, not_found, precondition
from carlien_common.domain.vin import parse_vin
from carlien_telematics.domain.tracks import TrackPoint, VehicleState
from carlien_telematics.domain.trips import Sample

MAX_PAGE = 10_000
MAX_PERIOD = timedelta(days=31)
MAX_SAMPLES = 300_000
"""31 days of one record every ten seconds, and some."""
_COARSE_ROLES = frozenset({"analyst", "model-risk"})


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks."""

    org: str
    role: str

    @property
    def sees_coarse(self) -> bool:
        """Whether places are generalised for it."""
        return self.role in _COARSE_ROLES


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended."""

    device_time: datetime
    device_id: str
    digest: bytes


class TrackStore(Protocol):
    """States and positions, within one transaction."""

    async def state(self, vin: str) -> tuple[VehicleState, bool] | None:
        """The newest state, and whether a live consent covers the car; None for a car without a device. Touches no frame."""

    async def consented(self, vin: str) -> bool:
        """Whether a live consent covers the car now."""

    async def positions(
        self, vin: str, start: datetime | None, end: datetime | None, after: Cursor | None, limit: int
    ) -> Sequence[TrackPoint]:
        """Positions in device time."""

    async def samples(self, vin: str, start: datetime, end: datetime, limit: int) -> Sequence[Sample]:
        """Moments of a car in device time, from every record with a vehicle or position unit."""

    async def note_read(self, reader: Reader, rpc: str, vin: str, start: datetime | None, end: datetime | None, rows: int) -> None:
        """Writes the audit."""


async def vehicle_state(store: TrackStore, vin: str, reader: Reader) -> VehicleState:
    """NOT_FOUND VEHICLE_UNKNOWN for a car without a device, PRECONDITION CONSENT_MISSING without a live consent."""
    car = parse_vin(vin).value
    found = await store.state(car)
    if found is None:
        raise not_found("VEHICLE_UNKNOWN", "No device was ever registered for this car.")
    state, consented = found
    if not consented:
        raise _no_consent()
    return state.generalised() if reader.sees_coarse else state


async def positions(
    store: TrackStore,
    vin: str,
    start: datetime | None,
    end: datetime | None,
    after: Cursor | None,
    page_size: int,
    reader: Reader,
) -> Sequence[TrackPoint]:
    """One page in device time; one more row than `page_size` says that there is another page."""
    car = parse_vin(vin).value
    if start is not None and end is not None and start >= end:
        raise invalid("end_time", "TIME_RANGE", "end_time must lie after start_time.")
    if not 1 <= page_size <= MAX_PAGE:
        raise invalid("page_size", "PAGE_SIZE", f"A page has 1 to {MAX_PAGE} positions.")
    await _need_consent(store, car)
    points = await store.positions(car, start, end, after, page_size + 1)
    await store.note_read(reader, "ListPositions", car, start, end, min(len(points), page_size))
    return [point.generalised() for point in points] if reader.sees_coarse else points


async def period(store: TrackStore, vin: str, start: datetime, end: datetime, rpc: str, reader: Reader) -> Sequence[Sample]:
    """What a car reported in a period of at most 31 days. EXHAUSTED TOO_MANY_RECORDS where that is more than can be looked at."""
    car = parse_vin(vin).value
    if not start < end <= start + MAX_PERIOD:
        raise invalid("end_time", "TIME_RANGE", f"end_time must lie after start_time, at most {MAX_PERIOD.days} days.")
    await _need_consent(store, car)
    found = await store.samples(car, start, end, MAX_SAMPLES + 1)
    if len(found) > MAX_SAMPLES:
        raise exhausted("TOO_MANY_RECORDS", f"The period has more than {MAX_SAMPLES} records; ask for a shorter one.")
    await store.note_read(reader, rpc, car, start, end, len(found))
    return found


async def _need_consent(store: TrackStore, vin: str) -> None:
    if not await store.consented(vin):
        raise _no_consent()


def _no_consent() -> DomainError:
    return precondition("CONSENT_MISSING", "No consent to the use of this car's data is in force.")
