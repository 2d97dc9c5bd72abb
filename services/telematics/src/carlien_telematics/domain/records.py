"""A record as it is stored, and the newest state of a car that records add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A device whose clock is further ahead than this does not set the state: every later true record would look old."""


@dataclass(frozen=True, slots=True)
class Position:
    """Degrees WGS-84, north and east positive."""

    latitude: float
    longitude: float


class SignatureStatus(StrEnum):
    """What became of a record's signature."""

    VALID = "VALID"
    INVALID = "INVALID"
    NO_KEY = "NO_KEY"


@dataclass(slots=True)
class StoredRecord:
    """One record of a device. `digest` is SHA-256 of its data units; with device and device time it is the record's key."""

    vin: str
    device_id: str
    device_time: datetime
    digest: bytes
    source_protocol: str
    reissued: bool
    received_at: datetime
    units: Mapping[str, Any]
    missing: Mapping[str, str]
    undecoded: bytes
    undecoded_reason: str | None
    position: Position | None
    """Set where the record has a valid fix."""
    signature_status: SignatureStatus | None = None
    """None where the record has no signature."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """What the newest records of one car say. `has_vehicle` and `has_position` tell "said to be unknown" from "not said"."""

    vin: str
    device_id: str
    device_time: datetime
    received_at: datetime
    has_vehicle: bool = False
    speed_kmh: float | None = None
    odometer_km: float | None = None
    soc_percent: float | None = None
    ignition: bool | None = None
    has_position: bool = False
    latitude: float | None = None
    longitude: float | None = None
    last_alarm: str | None = None
    last_alarm_at: datetime | None = None


_IGNITION = {"STARTED": True, "OFF": False}


def is_clock_ahead(record: StoredRecord) -> bool:
    """Whether the device's clock ran ahead by more than is tolerated."""
    return record.device_time > record.received_at + CLOCK_TOLERANCE


def state_changes(records: Iterable[StoredRecord]) -> list[StateChange]:
    """One change per car: its records in device time, later over earlier. A record from the future is left out."""
    changes: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record.device_time):
        if not is_clock_ahead(record):
            _apply(changes.setdefault(record.vin, {"vin": record.vin}), record)
    return [StateChange(**change) for change in changes.values()]


def _apply(change: dict[str, Any], record: StoredRecord) -> None:
    change["device_id"], change["device_time"], change["received_at"] = record.device_id, record.device_time, record.received_at
    vehicle = record.units.get("vehicle")
    if vehicle is not None:
        change["has_vehicle"], change["ignition"] = True, _IGNITION.get(vehicle["vehicle_state"])
        for name in ("speed_kmh", "odometer_km", "soc_percent"):
            change[name] = vehicle[name]
    if "position" in record.units:
        fix = record.position
        change["has_position"] = True
        change["latitude"], change["longitude"] = (fix.latitude, fix.longitude) if fix else (None, None)
    alarm = newest_alarm(record.units)
    if alarm is not None:
        change["last_alarm"], change["last_alarm_at"] = alarm, record.device_time


def newest_alarm(units: Mapping[str, Any]) -> str | None:
    """Name of the first general alarm that is set, or of the level where only that is; None for no alarm."""
    alarms = units.get("alarms")
    if not alarms:
        return None
    if alarms["flags"]:
        return str(alarms["flags"][0])
    return f"LEVEL_{alarms['level']}" if alarms["level"] else None
