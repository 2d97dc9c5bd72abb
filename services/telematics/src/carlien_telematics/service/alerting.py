"""Reading alert cases and keeping geofences: only with a live consent, and every read leaves a note."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from carlien_common.domain.errors import exhausted, invalid, not_found, precondition
from carlien_common.domain.vin import parse_vin
from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.domain.geofences import Circle, Geofence, GeofenceKind, Polygon, area_km2
from carlien_telematics.domain.tracks import GENERALISED_DECIMALS
from carlien_telematics.service.reading import Reader

MAX_PAGE = 1000
MAX_NAME = 100
MAX_CORNERS = 2000
RADIUS_M = (50.0, 100_000.0)
MAX_DWELL = timedelta(days=365)
MAX_GENERAL, MAX_OWN = 5000, 50
"""Places of all cars, and of one."""
EVERY_CAR = "*"
"""Stands for the car in the note of a read that is not about one."""
_GEOFENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}").fullmatch
_NEEDS_CAR = frozenset((GeofenceKind.HOME, GeofenceKind.PROVINCE))


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """Which cases; None and empty mean all."""

    vin: str | None = None
    kinds: frozenset[AlertKind] = frozenset()
    open: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A case and how often it changed."""

    vin: str
    case: Case
    revision: int

    @property
    def place(self) -> tuple[datetime, str]:
        """Where it is in a list."""
        return self.case.started_at, self.case.case_id


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a case, as the bytes of the message that was sent of it."""

    number: int
    alert: bytes


class AlertStore(Protocol):
    """Cases and their changes."""

    async def consented(self, vin: str) -> bool:
        """Whether a live consent covers the car now."""

    async def page(self, query: AlertQuery, before: tuple[datetime, str] | None, limit: int) -> Sequence[StoredCase]:
        """Cases of cars with a live consent, newest first, from before a place in that list."""

    async def newest_change(self) -> int:
        """Number of the newest change; 0 where there is none."""

    async def changes(self, query: AlertQuery, after: int, limit: int) -> tuple[Sequence[Change], int]:
        """Changes that fit, in order, and the number up to which was looked."""

    async def note_read(self, reader: Reader, rpc: str, vin: str, start: datetime | None, end: datetime | None, rows: int) -> None:
        """Writes the audit."""


class GeofenceStore(Protocol):
    """Places of interest."""

    async def put(self, fence: Geofence) -> None:
        """Stores it in the stead of what had its identifier."""

    async def delete(self, geofence_id: str) -> bool:
        """False where there is none."""

    async def page(self, after: str, vin: str | None, limit: int) -> Sequence[Geofence]:
        """Places by identifier."""

    async def count(self, vin: str, other_than: str) -> int:
        """Places of a car, or of all cars where empty, without one."""


def query_of(vin: str, kinds: Sequence[AlertKind], *, is_open: bool | None = None) -> AlertQuery:
    """Raises INVALID for a wrong VIN."""
    return AlertQuery(parse_vin(vin).value if vin else None, frozenset(kinds), is_open)


async def alerts(
    store: AlertStore, query: AlertQuery, before: tuple[datetime, str] | None, page_size: int, reader: Reader
) -> Sequence[StoredCase]:
    """One page; one more case than `page_size` says that there is another."""
    if not 1 <= page_size <= MAX_PAGE:
        raise invalid("page_size", "PAGE_SIZE", f"A page has 1 to {MAX_PAGE} cases.")
    if query.vin is not None and not await store.consented(query.vin):
        raise precondition("CONSENT_MISSING", "No consent to the use of this car's data is in force.")
    found = await store.page(query, before, page_size + 1)
    await store.note_read(reader, "ListAlerts", query.vin or EVERY_CAR, None, None, min(len(found), page_size))
    return found


async def stream_from(store: AlertStore, query: AlertQuery, cursor: str, reader: Reader) -> int:
    """Where a stream begins; raises INVALID CURSOR."""
    newest = await store.newest_change()
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise invalid("cursor", "CURSOR", "Not a cursor of this service.")
    if cursor and int(cursor) > newest:
        raise invalid("cursor", "CURSOR", "There is no such change yet.")
    if query.vin is not None and not await store.consented(query.vin):
        raise precondition("CONSENT_MISSING", "No consent to the use of this car's data is in force.")
    await store.note_read(reader, "StreamAlerts", query.vin or EVERY_CAR, None, None, 0)
    return int(cursor) if cursor else newest


def check_geofence_id(geofence_id: str, field: str = "geofence_id") -> str:
    """Raises INVALID GEOFENCE_ID."""
    if not _GEOFENCE_ID(geofence_id):
        raise invalid(field, "GEOFENCE_ID", "A geofence id is 1 to 64 letters, digits, dots, colons, dashes or underscores.")
    return geofence_id


async def put_geofence(store: GeofenceStore, fence: Geofence) -> Geofence:
    """Raises INVALID naming the field, EXHAUSTED TOO_MANY_GEOFENCES."""
    check_geofence_id(fence.geofence_id, "geofence.geofence_id")
    if fence.kind in _NEEDS_CAR and not fence.vin:
        raise invalid("geofence.vin", "VIN_MISSING", f"A place of kind {fence.kind} belongs to a car.")
    if not 1 <= len(fence.name.strip()) <= MAX_NAME:
        raise invalid("geofence.name", "GEOFENCE_NAME", f"A name has 1 to {MAX_NAME} characters.")
    if fence.dwell is not None and not timedelta(0) < fence.dwell <= MAX_DWELL:
        raise invalid("geofence.dwell_minutes", "DWELL_MINUTES", "dwell_minutes must lie between 0 and a year.")
    _check_shape(fence.shape)
    if await store.count(fence.vin, fence.geofence_id) >= (MAX_OWN if fence.vin else MAX_GENERAL):
        raise exhausted("TOO_MANY_GEOFENCES", f"There are at most {MAX_GENERAL} places of all cars and {MAX_OWN} of each.")
    await store.put(fence)
    return fence


def _check_shape(shape: Circle | Polygon) -> None:
    if isinstance(shape, Circle):
        _check_point(shape.latitude, shape.longitude, "geofence.circle.centre")
        if not RADIUS_M[0] <= shape.radius_m <= RADIUS_M[1]:
            raise invalid("geofence.circle.radius_m", "RADIUS", f"A radius has {RADIUS_M[0]:g} to {RADIUS_M[1]:g} metres.")
        return
    if not 3 <= len(shape.corners) <= MAX_CORNERS:
        raise invalid("geofence.polygon.corners", "CORNERS", f"A polygon has 3 to {MAX_CORNERS} corners.")
    for number, (latitude, longitude) in enumerate(shape.corners):
        _check_point(latitude, longitude, f"geofence.polygon.corners[{number}]")
    longitudes = [longitude for _, longitude in shape.corners]
    if max(longitudes) - min(longitudes) > 180:
        raise invalid("geofence.polygon.corners", "CORNERS", "A polygon must not cross the 180th meridian.")
    if area_km2(shape) < 1e-3:
        raise invalid("geofence.polygon.corners", "CORNERS", "The corners enclose less than 1000 square metres.")


def _check_point(latitude: float, longitude: float, field: str) -> None:
    # written so that NaN fails, too
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise invalid(field, "COORDINATES", "Latitude lies in -90..90 and longitude in -180..180 degrees.")


async def delete_geofence(store: GeofenceStore, geofence_id: str) -> None:
    """NOT_FOUND GEOFENCE_UNKNOWN."""
    if not await store.delete(check_geofence_id(geofence_id)):
        raise not_found("GEOFENCE_UNKNOWN", f"There is no geofence {geofence_id}.")


async def geofences(store: GeofenceStore, audit: AlertStore, vin: str, after: str, page_size: int, reader: Reader) -> Sequence[Geofence]:
    """One page; one more than `page_size` says that there is another. Where a car sleeps is a place of a person, so reads are noted."""
    if not 1 <= page_size <= MAX_PAGE:
        raise invalid("page_size", "PAGE_SIZE", f"A page has 1 to {MAX_PAGE} geofences.")
    car = parse_vin(vin).value if vin else None
    if after:
        check_geofence_id(after, "page_token")
    found = await store.page(after, car, page_size + 1)
    await audit.note_read(reader, "ListGeofences", car or EVERY_CAR, None, None, min(len(found), page_size))
    return [_generalised(fence) for fence in found] if reader.sees_coarse else found


def _generalised(fence: Geofence) -> Geofence:
    return Geofence(
        fence.geofence_id, fence.vin, fence.kind, fence.name, fence.shape.coarse(GENERALISED_DECIMALS), fence.dwell, fence.updated_at
    )
