"""From what a car reported to its trips, and to how far its odometer can be believed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import asin, cos, radians, sin, sqrt

STOP = timedelta(minutes=3)
"""Standing for so long ends a trip; shorter is a traffic light. Reports come every 10 to 60 seconds."""
GAP = timedelta(minutes=15)
"""Silence for so long ends a trip: what happened meanwhile is not known."""
MOVING_KMH = 3.0
MIN_TRIP_KM = 0.2
ROLLBACK_KM = 1.0
"""An odometer that falls by more has been turned back; less is rounding."""
RATIO = (0.9, 1.1)
"""GPS distance over odometer distance that is still plausible (reference/telematics.md: our own choice)."""
RATIO_FROM_KM = 50.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of a car; None where it was not said."""

    at: datetime
    latitude: float | None = None
    longitude: float | None = None
    speed_kmh: float | None = None
    odometer_km: float | None = None
    ignition: bool | None = None
    device_id: str = ""
    fix: bool | None = None
    """Whether the receiver had a fix; None where the record says nothing about it."""
    car_data: bool = True
    """False where the device has lost the car: the values of the car's bus are all reported as abnormal or invalid."""
    alarms: tuple[str, ...] = ()
    """Names of the alarm flags that the device had set."""
    soc_percent: float | None = None
    current_a: float | None = None
    """Current of the traction battery, negative while it is charged."""
    voltage_v: float | None = None
    charging: bool | None = None
    """Whether the car is charged while it stands."""
    signature: str | None = None
    """VALID, INVALID or NO_KEY for a signed record."""
    source: str = ""
    """Protocol it came by, for example GB32960_2016, JT808_2013, OBD2."""

    @property
    def moving(self) -> bool:
        """Whether the car drives, as far as speed says."""
        return self.speed_kmh is not None and self.speed_kmh > MOVING_KMH


@dataclass(frozen=True, slots=True)
class Trip:
    """One drive. Places are None where no fix was had near its ends."""

    start: datetime
    end: datetime
    distance_km: float
    max_speed_kmh: float
    origin: tuple[float, float] | None
    destination: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class OdometerTruth:
    """What the odometer says against where the car was. `ratio` is GPS over odometer distance, None below 50 km."""

    odometer_km: float
    gps_km: float
    rollbacks: tuple[tuple[datetime, float], ...]
    ratio: float | None

    @property
    def plausible(self) -> bool:
        """No rollback, and the two distances agree."""
        return not self.rollbacks and (self.ratio is None or RATIO[0] <= self.ratio <= RATIO[1])


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two places in degrees."""
    lat_a, lat_b = radians(a[0]), radians(b[0])
    half = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin(radians(b[1] - a[1]) / 2) ** 2
    return 2 * 6371.0 * asin(min(1.0, sqrt(half)))


def place(sample: Sample) -> tuple[float, float] | None:
    """Where it was."""
    return None if sample.latitude is None or sample.longitude is None else (sample.latitude, sample.longitude)


def trips(samples: Iterable[Sample]) -> list[Trip]:
    """Trips in order. `samples` are in device time; a record sent late is in its place already."""
    found: list[Trip] = []
    driving: list[Sample] = []
    last_moving: datetime | None = None
    before: Sample | None = None
    for sample in samples:
        if driving and last_moving is not None and before is not None and (sample.at - before.at > GAP or sample.at - last_moving > STOP):
            _close(found, driving, last_moving)
            driving = []
        if sample.moving:
            if not driving and before is not None and sample.at - before.at <= GAP:
                driving.append(before)
            last_moving = sample.at
        if sample.moving or driving:
            driving.append(sample)
        before = sample
    if driving and last_moving is not None:
        _close(found, driving, last_moving)
    return found


def _close(found: list[Trip], driving: Sequence[Sample], last_moving: datetime) -> None:
    driven = [sample for sample in driving if sample.at <= last_moving]
    way = _way_km(driven)
    if len(driven) < 2 or way < MIN_TRIP_KM:
        return
    places = [spot for sample in driven if (spot := place(sample)) is not None]
    after = [spot for sample in driving if (spot := place(sample)) is not None]
    top = max(sample.speed_kmh or 0.0 for sample in driven)
    found.append(Trip(driven[0].at, last_moving, way, top, places[0] if places else None, after[-1] if after else None))


def _way_km(samples: Sequence[Sample]) -> float:
    """By the odometer where it runs forward over the whole trip, else by GPS."""
    readings = [sample.odometer_km for sample in samples if sample.odometer_km is not None]
    if len(readings) >= 2 and readings[-1] > readings[0]:
        return readings[-1] - readings[0]
    return gps_km(samples)


def gps_km(samples: Iterable[Sample]) -> float:
    """Distance along the fixes of moving samples; a standing car's noise is no distance."""
    total, before = 0.0, None
    for sample in samples:
        here = place(sample)
        if here is None:
            continue
        if before is not None and (sample.moving or before[1]):
            total += distance_km(before[0], here)
        before = (here, sample.moving)
    return total


def odometer_truth(samples: Sequence[Sample]) -> OdometerTruth:
    """Looks for readings that fall, and for a distance the car did not drive."""
    rollbacks: list[tuple[datetime, float]] = []
    driven, highest, before = 0.0, None, None
    for sample in samples:
        reading = sample.odometer_km
        if reading is None:
            continue
        if before is not None:
            if before - reading > ROLLBACK_KM:
                rollbacks.append((sample.at, round(before - reading, 1)))
            elif reading > before:
                driven += reading - before
        highest = reading if highest is None else max(highest, reading)
        before = reading
    way = gps_km(samples)
    ratio = round(way / driven, 3) if driven >= RATIO_FROM_KM else None
    return OdometerTruth(round(driven, 1), round(way, 1), tuple(rollbacks), ratio)
