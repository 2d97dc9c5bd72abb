"""Places of interest to a lender."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import cos, floor, radians

from carlien_telematics.domain.trips import distance_km

KM_PER_DEGREE = 111.32


class GeofenceKind(StrEnum):
    """What a place is to a lender."""

    WATCHED = "WATCHED"
    SECOND_PAWN = "SECOND_PAWN"
    HOME = "HOME"
    PROVINCE = "PROVINCE"


@dataclass(frozen=True, slots=True)
class Circle:
    """Degrees WGS-84 and metres."""

    latitude: float
    longitude: float
    radius_m: float

    def contains(self, latitude: float, longitude: float, *, leaving: bool = False) -> bool:
        """Whether a point lies in it; for who is leaving it is a little larger, so that noise at its edge is no coming and going."""
        radius_km = (self.radius_m + (max(50.0, self.radius_m / 10) if leaving else 0.0)) / 1000
        # a cheap look first: most places are far away
        if abs(latitude - self.latitude) * KM_PER_DEGREE > radius_km:
            return False
        return distance_km((latitude, longitude), (self.latitude, self.longitude)) <= radius_km

    def coarse(self, decimals: int) -> "Circle":
        """Its centre rounded."""
        return Circle(round(self.latitude, decimals), round(self.longitude, decimals), self.radius_m)


@dataclass(frozen=True, slots=True)
class Polygon:
    """Corners as latitude and longitude in degrees WGS-84, closed by itself."""

    corners: tuple[tuple[float, float], ...]

    def contains(self, latitude: float, longitude: float) -> bool:
        """Whether a point lies in it: how often a ray to the east crosses its sides."""
        inside = False
        lat_a, lon_a = self.corners[-1]
        for lat_b, lon_b in self.corners:
            if (lat_a > latitude) != (lat_b > latitude) and longitude < lon_a + (latitude - lat_a) / (lat_b - lat_a) * (lon_b - lon_a):
                inside = not inside
            lat_a, lon_a = lat_b, lon_b
        return inside

    def coarse(self, decimals: int) -> "Polygon":
        """Its corners rounded."""
        return Polygon(tuple((round(latitude, decimals), round(longitude, decimals)) for latitude, longitude in self.corners))


@dataclass(frozen=True, slots=True)
class Geofence:
    """A place, of one car or of all where `vin` is empty."""

    geofence_id: str
    vin: str
    kind: GeofenceKind
    name: str
    shape: Circle | Polygon
    dwell: timedelta | None
    updated_at: datetime

    def contains(self, latitude: float, longitude: float, *, leaving: bool) -> bool:
        """Whether a point lies in it."""
        if isinstance(self.shape, Circle):
            return self.shape.contains(latitude, longitude, leaving=leaving)
        return self.shape.contains(latitude, longitude)


def area_km2(polygon: Polygon) -> float:
    """Its area on a plane that fits it; 0 for corners on a line."""
    middle = sum(latitude for latitude, _ in polygon.corners) / len(polygon.corners)
    scale = KM_PER_DEGREE**2 * cos(radians(middle))
    double = 0.0
    lat_a, lon_a = polygon.corners[-1]
    for lat_b, lon_b in polygon.corners:
        double += lon_a * lat_b - lon_b * lat_a
        lat_a, lon_a = lat_b, lon_b
    return abs(double) / 2 * scale


_CELL = 0.05
"""Degrees: some five kilometres."""
_MARGIN = 0.002
_MANY_CELLS = 400


class GeofenceIndex:
    """Places by a grid, so that a record costs a look at those nearby and not at a whole library."""

    def __init__(self, fences: Sequence[Geofence] = ()) -> None:
        self.by_id = {fence.geofence_id: fence for fence in fences}
        self._large: list[str] = []
        self._cells: dict[tuple[int, int], list[str]] = defaultdict(list)
        for fence in fences:
            cells = [] if fence.kind is GeofenceKind.PROVINCE else list(_cells(fence.shape))
            if not cells:
                self._large.append(fence.geofence_id)
            for cell in cells:
                self._cells[cell].append(fence.geofence_id)

    def __len__(self) -> int:
        return len(self.by_id)

    def around(self, latitude: float, longitude: float, known: Collection[str]) -> list[Geofence]:
        """Places near a point, those that are always looked at, and those of `known` that still exist."""
        near = self._cells.get((floor(latitude / _CELL), floor(longitude / _CELL)), [])
        if not near and not self._large and not known:
            return []
        return [self.by_id[name] for name in dict.fromkeys((*self._large, *near, *known)) if name in self.by_id]


def _cells(shape: Circle | Polygon) -> Iterator[tuple[int, int]]:
    """Cells that a shape touches; none for one that is too large to be told apart by them."""
    if isinstance(shape, Circle):
        north = shape.radius_m / 1000 / KM_PER_DEGREE
        east = north / max(0.05, cos(radians(shape.latitude)))
        south_west = (shape.latitude - north, shape.longitude - east)
        north_east = (shape.latitude + north, shape.longitude + east)
    else:
        south_west = (min(lat for lat, _ in shape.corners), min(lon for _, lon in shape.corners))
        north_east = (max(lat for lat, _ in shape.corners), max(lon for _, lon in shape.corners))
    low = [floor((degrees - _MARGIN) / _CELL) for degrees in south_west]
    high = [floor((degrees + _MARGIN) / _CELL) for degrees in north_east]
    if (high[0] - low[0] + 1) * (high[1] - low[1] + 1) > _MANY_CELLS:
        return
    for row in range(low[0], high[0] + 1):
        for column in range(low[1], high[1] + 1):
            yield row, column
