"""How a car is used, from its trips: features with evidence, the nature of its use, and what that means for a lender.

Thresholds were chosen on simulator seeds 1 to 3 and are reported on others. There is no public data that ties driving to
losses, so the score says how a car is used, not what it will cost: that is stated with every profile.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise

from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.domain.battery import BatteryHealth, battery_health, charge_segments
from carlien_telematics.domain.geofences import Geofence
from carlien_telematics.domain.odometer import VerifiedOdometer, verified_odometer
from carlien_telematics.domain.trips import GAP, OdometerTruth, Sample, Trip, distance_km, odometer_truth, trips
from carlien_telematics.domain.trust import TelemetryTrust, coverage, trust

VALIDATION = "features and usage nature: simulator with known truth only; no relation to losses was or can be tested"
MIN_DAYS = 7
"""Fewer days say nothing about the nature of use."""
MIN_NIGHTS = 5
"""Fewer nights say nothing about where a car sleeps."""
_CHINA = timedelta(hours=8)
_NIGHT = frozenset((22, 23, 0, 1, 2, 3, 4))
_CELL_KM = 0.6
"""Two stops nearer than this are the same place."""
_CLOSE = timedelta(seconds=2)
"""Reports further apart don't show a braking."""
_HARSH_KMH_PER_S = 12.6
"""3.5 m/s²: what fleets commonly call harsh, more than an ordinary stop takes. A convention, no standard's figure."""
_SPEED_BANDS = (20.0, 50.0, 80.0, 120.0)


class UsageNature(StrEnum):
    """What a car is used for."""

    UNKNOWN = "UNKNOWN"
    PRIVATE = "PRIVATE"
    RIDE_HAILING = "RIDE_HAILING"
    GOODS = "GOODS"
    RENTAL = "RENTAL"


COMMERCIAL = frozenset((UsageNature.RIDE_HAILING, UsageNature.GOODS, UsageNature.RENTAL))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Features of a period. Shares are 0 to 1; `speed_transitions[i][j]` is the share of samples that go from band i to j."""

    days: int
    active_days: int
    km_per_day: float
    trips_per_active_day: float
    night_share: float
    max_speed_kmh: float
    distinct_destinations_share: float
    nights: int
    overnight_places: int
    main_overnight_share: float
    main_overnight: tuple[float, float] | None
    speed_transitions: tuple[tuple[float, ...], ...]
    coverage: float
    engine_hours: float = 0.0
    """Time with the ignition on, as far as reports at most GAP apart show it."""
    harsh_brakes_per_100_km: float | None = None
    """None where most of the driving was reported too seldom to show one."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a car beside its records."""

    declared_nature: UsageNature | None = None
    home: Geofence | None = None
    battery_capacity_ah: float | None = None
    incidents: frozenset[AlertKind] = frozenset()
    """Kinds of the alert cases of the period."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a lender gets: nature of use, a risk score of 0 (gentle) to 100, and why."""

    behaviour: Behaviour
    odometer: OdometerTruth
    nature: UsageNature
    risk_score: int
    reasons: tuple[str, ...]
    trust: TelemetryTrust
    verified_odometer: VerifiedOdometer | None
    battery: BatteryHealth | None
    validation: str = VALIDATION


def behaviour(samples: Sequence[Sample], drives: Sequence[Trip]) -> Behaviour:
    """Features of samples in device time and the trips found in them."""
    if not samples:
        return Behaviour(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0, None, _transitions(()), 0.0)
    first, last = samples[0].at + _CHINA, samples[-1].at + _CHINA
    days = (last.date() - first.date()).days + 1
    active = {(trip.start + _CHINA).date() for trip in drives}
    way = sum(trip.distance_km for trip in drives)
    night = sum(trip.distance_km for trip in drives if (trip.start + _CHINA).hour in _NIGHT)
    destinations = [trip.destination for trip in drives if trip.destination is not None]
    beds = Counter(_cluster(_overnight(drives)).values())
    main = beds.most_common(1)[0] if beds else None
    return Behaviour(
        days=days,
        active_days=len(active),
        km_per_day=round(way / days, 2),
        trips_per_active_day=round(len(drives) / len(active), 2) if active else 0.0,
        night_share=round(night / way, 3) if way else 0.0,
        max_speed_kmh=max((trip.max_speed_kmh for trip in drives), default=0.0),
        distinct_destinations_share=round(len(set(_cluster(destinations).values())) / len(destinations), 3) if destinations else 0.0,
        nights=beds.total(),
        overnight_places=len(beds),
        main_overnight_share=round(main[1] / beds.total(), 3) if main else 0.0,
        main_overnight=main[0] if main else None,
        speed_transitions=_transitions(samples),
        coverage=round(coverage(samples), 3),
        engine_hours=_engine_hours(samples),
        harsh_brakes_per_100_km=_harsh_brakes(samples, way),
    )


def profile(samples: Sequence[Sample], known: Circumstances = Circumstances()) -> Profile:
    """The whole profile of a period, from its records in device time."""
    found, truth = trips(samples), odometer_truth(samples)
    features = behaviour(samples, found)
    nature = usage_nature(features)
    verified = verified_odometer(samples)
    score, reasons = _risk(features, truth, nature, known)
    reliable = trust(samples, odometer_consistent=verified is None or verified.consistent, incidents=known.incidents)
    capacity = known.battery_capacity_ah
    battery = battery_health(charge_segments(samples), capacity) if capacity else None
    return Profile(features, truth, nature, score, reasons, reliable, verified, battery)


def is_undisclosed(nature: UsageNature, declared: UsageNature | None) -> bool:
    """Whether a car earns money in a way nobody said; one of which nothing was said is taken for private."""
    return nature in COMMERCIAL and nature is not (declared or UsageNature.PRIVATE)


def usage_nature(features: Behaviour) -> UsageNature:
    """By the pattern of days: many trips to ever new places, many to known ones, nights in many beds, or none of these."""
    if features.days < MIN_DAYS or not features.active_days:
        return UsageNature.UNKNOWN
    if features.trips_per_active_day >= 7:
        return UsageNature.RIDE_HAILING if features.distinct_destinations_share >= 0.45 else UsageNature.GOODS
    if features.overnight_places >= 3 and features.main_overnight_share < 0.75:
        return UsageNature.RENTAL
    return UsageNature.PRIVATE


def _risk(features: Behaviour, odometer: OdometerTruth, nature: UsageNature, known: Circumstances) -> tuple[int, tuple[str, ...]]:
    away = (
        known.home is not None
        and features.main_overnight is not None
        and features.nights >= MIN_NIGHTS
        and not known.home.contains(*features.main_overnight, leaving=True)
    )
    parts = [
        (35, nature in COMMERCIAL, f"COMMERCIAL_USE_{nature}"),
        (10, away, "HOME_MISMATCH"),
        (15, features.km_per_day > 120, "HIGH_MILEAGE"),
        (10, features.night_share > 0.2, "NIGHT_DRIVING"),
        (10, features.max_speed_kmh > 140, "SPEEDING"),
        (10, features.overnight_places >= 4, "SLEEPS_IN_MANY_PLACES"),
        (30, not odometer.plausible, "ODOMETER_IMPLAUSIBLE"),
        (10, features.coverage < 0.5, "POOR_COVERAGE"),
    ]
    reasons = tuple(reason for _, holds, reason in parts if holds)
    return min(100, sum(points for points, holds, _ in parts if holds)), reasons


def _overnight(drives: Sequence[Trip]) -> list[tuple[float, float]]:
    """Where the car stood at 03:00 of each night between two trips."""
    beds = []
    for before, after in pairwise(drives):
        night = (before.end + _CHINA - timedelta(hours=3)).date() + timedelta(days=1)
        nights = ((after.start + _CHINA - timedelta(hours=3)).date() - night).days + 1
        if before.destination is not None:
            beds += [before.destination] * max(0, nights)
    return beds


def _cluster(places: Sequence[tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Each place by its index, as the first place within a cell's width of it."""
    centres: list[tuple[float, float]] = []
    found = {}
    for number, spot in enumerate(places):
        centre = next((c for c in centres if distance_km(c, spot) <= _CELL_KM), None)
        if centre is None:
            centre = spot
            centres.append(spot)
        found[number] = centre
    return found


def _engine_hours(samples: Sequence[Sample]) -> float:
    running = sum(
        (after.at - before.at for before, after in pairwise(samples) if before.ignition and after.at - before.at <= GAP), timedelta()
    )
    return round(running / timedelta(hours=1), 2)


def _harsh_brakes(samples: Sequence[Sample], way_km: float) -> float | None:
    """Brakings per 100 km; one that lasts over several reports is one."""
    driven, seen, brakes, braking = timedelta(), timedelta(), 0, False
    for before, after in pairwise(samples):
        gap = after.at - before.at
        if not before.moving or before.speed_kmh is None or after.speed_kmh is None or not timedelta() < gap <= GAP:
            braking = False
            continue
        driven += gap
        if gap > _CLOSE:
            braking = False
            continue
        seen += gap
        harsh = before.speed_kmh - after.speed_kmh >= _HARSH_KMH_PER_S * gap.total_seconds()
        brakes += harsh and not braking
        braking = harsh
    if way_km <= 0 or seen * 2 < driven:
        return None
    return round(brakes / way_km * 100, 2)


def _transitions(samples: Sequence[Sample]) -> tuple[tuple[float, ...], ...]:
    size = len(_SPEED_BANDS) + 1
    counts = [[0] * size for _ in range(size)]
    before: int | None = None
    for sample in samples:
        if sample.speed_kmh is None:
            before = None
            continue
        band = sum(sample.speed_kmh >= edge for edge in _SPEED_BANDS)
        if before is not None and (sample.moving or before):
            counts[before][band] += 1
        before = band
    total = sum(map(sum, counts)) or 1
    return tuple(tuple(round(count / total, 4) for count in row) for row in counts)
