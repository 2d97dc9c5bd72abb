"""What a car's odometer would show if nobody had touched it: dash, OBD, positions and energy against each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from carlien_telematics.domain.alerts.odometer import BEHIND_SHARE, RollbackDetector
from carlien_telematics.domain.alerts.signals import Signal
from carlien_telematics.domain.trips import RATIO, RATIO_FROM_KM, Sample, gps_km

SOURCES_DIFFER = 0.05
"""Dash and OBD reading further apart than this contradict each other (reference/telematics.md)."""
KWH_PER_100_KM = (5.0, 160.0)
"""What any electric vehicle from a small car to a laden bus uses; a distance outside of it was not driven on that energy."""
ENERGY_FROM_KM = 50.0
STEP_S = 120.0
READING_KM = 1.0
"""Rounding of a reading, and what was driven since the last one."""
GPS_SHARE = 0.03
"""Positions cut corners and wander: half width of the 80 % interval as a share of the distance."""


class OdometerSource(StrEnum):
    """What an estimate rests on."""

    DASH = "DASH"
    OBD = "OBD"
    GPS = "GPS"
    ENERGY = "ENERGY"


@dataclass(frozen=True, slots=True)
class VerifiedOdometer:
    """`error_km` is the half width of the 80 % interval; `reasons` say what contradicts what."""

    odometer_km: float
    error_km: float
    source: OdometerSource
    consistent: bool
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Counted:
    """What one odometer counted. `fallen_km` is what was taken off it."""

    last_km: float
    counted_km: float
    fallen_km: float
    held_back: bool


def verified_odometer(samples: Sequence[Sample]) -> VerifiedOdometer | None:
    """The estimate at the last of `samples`, which are in device time; None where no odometer was ever read.

    A terminal's own mileage (JT/T 808) starts anywhere and counts as a distance only, like positions.
    """
    dash = _count(sample for sample in samples if not sample.source.startswith(("OBD", "JT808")))
    obd = _count(sample for sample in samples if sample.source.startswith("OBD"))
    read = dash or obd
    if read is None:
        return None
    source = OdometerSource.DASH if dash else OdometerSource.OBD
    reasons = [name for name, odometer in (("DASH", dash), ("OBD", obd)) if odometer and odometer.fallen_km]
    reasons = [f"{name}_ROLLED_BACK" for name in reasons]
    way = gps_km(samples)
    honest = read.last_km + read.fallen_km
    error = READING_KM + GPS_SHARE * read.fallen_km
    if dash and obd and abs(dash.last_km - obd.last_km) > SOURCES_DIFFER * max(dash.last_km, obd.last_km):
        reasons.append("DASH_AGAINST_OBD")
        if obd.last_km > honest:
            # nobody turns an odometer forward: the higher one is nearer to the truth
            honest, source, error = obd.last_km, OdometerSource.OBD, READING_KM + (obd.last_km - dash.last_km) / 2
    ratio = way / read.counted_km if read.counted_km > 0 else None
    if way >= RATIO_FROM_KM and (ratio is None or ratio > 1 / BEHIND_SHARE or read.held_back):
        reasons.append("COUNTS_TOO_LITTLE")
        honest, source = honest - read.counted_km + way, OdometerSource.GPS
        error += GPS_SHARE * way
    elif read.counted_km >= RATIO_FROM_KM and ratio is not None and not RATIO[0] <= ratio <= RATIO[1] and way >= RATIO_FROM_KM:
        reasons.append("DASH_AGAINST_GPS")
        error += abs(way - read.counted_km)
    kwh, driven = energy_used(samples)
    if driven >= ENERGY_FROM_KM and not KWH_PER_100_KM[0] <= 100 * kwh / driven <= KWH_PER_100_KM[1]:
        reasons.append("ENERGY_AGAINST_DISTANCE")
    return VerifiedOdometer(round(honest, 1), round(error, 1), source, not reasons, tuple(reasons))


def energy_used(samples: Iterable[Sample]) -> tuple[float, float]:
    """Energy that left the traction battery while the car drove, in kWh, and the km its odometer counted meanwhile.

    By voltage times current (positive while discharging); (0, 0) where a device doesn't report them.
    """
    kwh, driven, before = 0.0, 0.0, None
    for sample in samples:
        complete = sample.voltage_v is not None and sample.current_a is not None and sample.odometer_km is not None
        if before is not None and complete and sample.moving:
            seconds = (sample.at - before.at).total_seconds()
            step = (sample.odometer_km or 0.0) - (before.odometer_km or 0.0)
            if seconds <= STEP_S and 0 <= step <= 10:
                kwh += (sample.voltage_v or 0.0) * (sample.current_a or 0.0) * seconds / 3_600_000
                driven += step
        before = sample if complete else None
    return kwh, driven


def _count(samples: Iterable[Sample]) -> _Counted | None:
    detector, out = RollbackDetector(), list[Signal]()
    first: float | None = None
    counted, fallen = 0.0, 0.0
    for sample in samples:
        before = detector.accepted_km
        detector.observe(sample, out)
        now = detector.accepted_km
        if now is None:
            continue
        first = now if first is None else first
        if before is not None:
            if now >= before:
                counted += now - before
                # what a fall took off is given back where the reading returns by a leap
                fallen = 0.0 if fallen and now - before > fallen * 0.9 else fallen
            else:
                fallen += before - now
    if detector.accepted_km is None:
        return None
    return _Counted(detector.accepted_km, counted, round(fallen, 1), detector.held_back)
