"""How far a car's telemetry can be relied on.

The parts and their weights are a judgement of ours: there are no data that say what a forged record costs. What is certain is
the direction: a signature that holds, records that physics allows and hours that are covered speak for it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.domain.trips import Sample, distance_km, place

MAX_KMH = 250.0
MAX_MPS2 = 12.0
"""Brakes and engines do less."""
SAME_PLACE_KM = 0.5
"""A receiver's jump, and what a coarse clock leaves open."""
PAIR = timedelta(minutes=30)
ACCELERATION = timedelta(seconds=10)
UNSIGNED = 0.85
"""Nobody vouches for a record that isn't signed, but few are forged."""
COVERED = 0.6
"""A car whose device sleeps while it stands covers so many hours, and is covered well."""
INCIDENT = 0.5
INCONSISTENT_ODOMETER = 0.5
_INCIDENTS = frozenset((AlertKind.DEVICE_REMOVED, AlertKind.POWER_CUT, AlertKind.ANTENNA_CUT, AlertKind.JAMMING, AlertKind.OFFLINE))


@dataclass(frozen=True, slots=True)
class TelemetryTrust:
    """Shares are 0 to 1; `signed_share` is None where the protocol has no signature."""

    score: float
    signed_share: float | None
    physics_share: float
    coverage: float
    reasons: tuple[str, ...]


def trust(samples: Sequence[Sample], *, odometer_consistent: bool, incidents: Collection[AlertKind]) -> TelemetryTrust:
    """Trust in `samples`, in device time. `incidents` are the kinds of custody cases of the period."""
    signed = [sample.signature for sample in samples if sample.signature is not None]
    signed_share = sum(status == "VALID" for status in signed) / len(samples) if signed else None
    physics, covered = physics_share(samples), coverage(samples)
    factors = [
        (UNSIGNED, "UNSIGNED", signed_share is None),
        (0.5 + 0.5 * (signed_share or 0.0), "SIGNATURE_MISSING_OR_INVALID", signed_share is not None and signed_share < 1),
        (max(0.0, 1 - 10 * (1 - physics)), "PHYSICS_VIOLATED", physics < 0.995),
        (min(1.0, covered / COVERED), "COVERAGE_LOW", covered < COVERED),
        (INCONSISTENT_ODOMETER, "ODOMETER_INCONSISTENT", not odometer_consistent),
        *((INCIDENT, kind.value, True) for kind in sorted(_INCIDENTS.intersection(incidents))),
    ]
    score, reasons = (1.0 if samples else 0.0), []
    for factor, reason, holds in factors:
        if holds:
            score *= factor
            reasons.append(reason)
    return TelemetryTrust(
        round(score, 3), None if signed_share is None else round(signed_share, 4), round(physics, 4), round(covered, 3), tuple(reasons)
    )


def coverage(samples: Sequence[Sample]) -> float:
    """Share of the hours from the first record to the last that have one."""
    if not samples:
        return 0.0
    hours = {sample.at.replace(minute=0, second=0, microsecond=0) for sample in samples}
    return min(1.0, len(hours) / ((max(hours) - min(hours)) / timedelta(hours=1) + 1))


def physics_share(samples: Iterable[Sample]) -> float:
    """Share of records that can follow the one before them of the same device."""
    last: dict[str, Sample] = {}
    judged = possible = 0
    for sample in samples:
        before = last.get(sample.device_id)
        last[sample.device_id] = sample
        if before is None or not before.at < sample.at <= before.at + PAIR:
            continue
        judged += 1
        possible += _follows(before, sample)
    return possible / judged if judged else 1.0


def _follows(before: Sample, sample: Sample) -> bool:
    seconds = (sample.at - before.at).total_seconds()
    reach_km = MAX_KMH * seconds / 3600 + SAME_PLACE_KM
    here, there = place(sample), place(before)
    if here is not None and there is not None and distance_km(there, here) > reach_km:
        return False
    if sample.odometer_km is not None and before.odometer_km is not None:
        step = sample.odometer_km - before.odometer_km
        if not -0.2 <= step <= reach_km:
            return False
    if sample.speed_kmh is not None and before.speed_kmh is not None:
        if sample.speed_kmh > MAX_KMH:
            return False
        change = abs(sample.speed_kmh - before.speed_kmh) / 3.6
        # speeds are rounded and the moments are whole seconds
        if seconds <= ACCELERATION.total_seconds() and change > MAX_MPS2 * (seconds + 1):
            return False
    return True
