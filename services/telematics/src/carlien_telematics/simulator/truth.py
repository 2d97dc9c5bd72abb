"""The truth file: what really happened to a car, one JSON object a line."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from carlien_telematics.simulator.faults import RULES, CarFault, FaultKind
from carlien_telematics.simulator.motion import Car

SETTLE_S = 3600.0
"""What happens in the last hour of a run can't be expected to be found yet; an untold removal needs three days of silence."""
SILENT_S = 73 * 3600.0
_RUN_LIMIT_KM = 130.0
TOW_KM, TOW_FROM_GARAGE_KM = 0.5, 2.0
TOW_NOISES = 15.0
"""A tow must be so many times as long as a position scatters."""


def truth_of(
    vin: str, number: int, car: Car, faults: Sequence[CarFault], origin: datetime, end_s: float, protocol: str = "jt808"
) -> dict[str, Any]:
    """Truth of one car up to simulated second `end_s`; `origin` is second 0 in UTC. GB/T 32960 can't say all that JT/T 808 can."""

    def at(seconds: float) -> str:
        return (origin + timedelta(seconds=seconds)).isoformat()

    trips = car.trips(end_s)
    return {
        "vin": vin,
        "car": number,
        "life": car.who.life.value,
        "home": car.who.home.degrees(),
        "odometer_km": round(car.read(end_s).odometer_km, 1),
        "faults": [_told_by(protocol, _fault(fault, faults, car, at, end_s)) for fault in faults],
        "trips": [{"start": at(trip.start_s), "end": at(trip.end_s), "distance_km": round(trip.distance_km, 3)} for trip in trips],
    }


def _fault(fault: CarFault, faults: Sequence[CarFault], car: Car, at: Any, end_s: float) -> dict[str, Any]:
    began, until = happened(fault)
    happens = began is not None and began < end_s
    entry: dict[str, Any] = {
        "kind": fault.kind.value,
        "value": fault.rule.value,
        "start": at(began) if happens else None,
        "end": at(until) if happens and until < end_s else None,
        "expected_alert": RULES[fault.kind].expected_alert,
        "observable": happens and observable(fault, faults, car, end_s),
    }
    return entry


def _told_by(protocol: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A terminal of GB/T 32960 knows no antenna and feels no impact."""
    if protocol == "gb32960" and entry["kind"] == FaultKind.ANTENNA_CUT:
        return entry | {"expected_alert": RULES[FaultKind.JAMMING].expected_alert}
    if protocol == "gb32960" and entry["kind"] == FaultKind.CRASH:
        return entry | {"observable": False}
    return entry


def happened(fault: CarFault) -> tuple[float | None, float]:
    """When it really began, None where it did not, and ended."""
    if fault.incident is not None and fault.kind is not FaultKind.STANDSTILL:
        return fault.incident.began_s, fault.incident.until_s
    return fault.from_s, fault.until_s


def observable(fault: CarFault, faults: Sequence[CarFault], car: Car, end_s: float) -> bool:
    """Whether the records of the run show it at all, and an alert is to be expected before its end."""
    began, until = happened(fault)
    if began is None:
        return False
    removals = [other.from_s for other in faults if other.kind is FaultKind.REMOVAL and other is not fault]
    if fault.kind is FaultKind.REMOVAL and any(removal <= began for removal in removals):
        return False
    # a device that was taken out reports nothing more
    end_s = min([end_s, *removals]) if fault.kind is not FaultKind.REMOVAL else end_s
    lasted = min(until, end_s) - began
    match fault.kind:
        case FaultKind.REMOVAL:
            return lasted >= (2 * SETTLE_S if fault.rule.tell else SILENT_S)
        case FaultKind.TOW:
            arrived = fault.incident.arrived_s if fault.incident else None
            return arrived is not None and arrived + SETTLE_S <= end_s and fault.rule.value >= _least_tow_km(faults)
        case FaultKind.ROLLBACK:
            return lasted >= SETTLE_S and fault.rule.value >= 3
        case FaultKind.BLOCKER:
            return car.read(end_s).odometer_km - car.read(began).odometer_km >= _RUN_LIMIT_KM and fault.rule.value <= 0.6
        case FaultKind.JAMMING | FaultKind.ANTENNA_CUT:
            driven = car.read(min(until, end_s)).odometer_km - car.read(began).odometer_km
            return driven >= 8 or lasted >= 24 * SETTLE_S
        case FaultKind.STANDSTILL:
            # a car that stands under ground is not heard
            return lasted >= 8 * 24 * SETTLE_S and not any(other.kind is FaultKind.GARAGE for other in faults)
        case _:
            return lasted >= SETTLE_S / 2


def _least_tow_km(faults: Sequence[CarFault]) -> float:
    """The shortest tow that can be told from the noise of this car's receiver, or from where it was last seen before a garage."""
    noise = max((fault.rule.value for fault in faults if fault.kind is FaultKind.NOISE), default=0.0)
    garage = any(fault.kind is FaultKind.GARAGE for fault in faults)
    return max(TOW_FROM_GARAGE_KM if garage else TOW_KM, TOW_NOISES * noise / 1000)
