"""Signals of the COVESA Vehicle Signal Specification, 5.1 and 6.0, as a frame of bytes and as our data units.

On the topic a frame is JSON with sorted keys, so that the same signals of the same moment are the same bytes.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from carlien_telematics.codecs.errors import FrameError, Reason

Value = float | bool | str
VERSIONS = ("5.1", "6.0")
MAX_SIGNALS = 500
MAX_TEXT = 256
_PATH = re.compile(r"Vehicle(\.[A-Za-z0-9_]{1,64}){1,12}").fullmatch

# Battery paths are of 6.0; 5.1 has the same.
SPEED, ODOMETER = "Vehicle.Speed", "Vehicle.TraveledDistance"
OBD_SPEED = "Vehicle.OBD.Speed"
SOC = "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current"
POWER_STATE = "Vehicle.LowVoltageSystemState"
LATITUDE, LONGITUDE = "Vehicle.CurrentLocation.Latitude", "Vehicle.CurrentLocation.Longitude"

RANGES: Mapping[str, tuple[float, float]] = {
    SPEED: (-100, 500),
    OBD_SPEED: (0, 255),
    ODOMETER: (0, 5_000_000),
    SOC: (0, 100),
    LATITUDE: (-90, 90),
    LONGITUDE: (-180, 180),
    "Vehicle.CurrentLocation.Altitude": (-1_000, 10_000),
    "Vehicle.CurrentLocation.Heading": (0, 360),
    "Vehicle.Powertrain.TractionBattery.CurrentVoltage": (0, 2_000),
    "Vehicle.Powertrain.TractionBattery.CurrentCurrent": (-5_000, 5_000),
}
"""Numbers this service works with, and what they can be; a sign of the speed is the direction in VSS."""
_POWER_STATES = {"ON": "STARTED", "START": "STARTED", "OFF": "OFF", "LOCK": "OFF", "ACC": "OFF"}
_VEHICLE = {
    ODOMETER: "odometer_km",
    SOC: "soc_percent",
    "Vehicle.Powertrain.TractionBattery.CurrentVoltage": "voltage_v",
    "Vehicle.Powertrain.TractionBattery.CurrentCurrent": "current_a",
}
_POSITION = {
    LATITUDE: "latitude",
    LONGITUDE: "longitude",
    "Vehicle.CurrentLocation.Altitude": "altitude_m",
    "Vehicle.CurrentLocation.Heading": "heading_deg",
}


class SignalError(ValueError):
    """A signal that can't be one: `path` and a stable `reason`."""

    def __init__(self, path: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class VssFrame:
    """What a car said at one moment, each signal in the unit of the specification."""

    device_time: datetime
    version: str
    signals: Mapping[str, Value] = field(default_factory=dict)
    reissued: bool = False


def check_signal(path: str, value: Value) -> None:
    """Raises SignalError VSS_PATH, VSS_TYPE or VSS_RANGE. A path we don't know is kept, if it can be one."""
    if not _PATH(path):
        raise SignalError(path[:100], "VSS_PATH", "not a path of the Vehicle Signal Specification")
    limits = RANGES.get(path)
    if isinstance(value, str):
        if limits is not None:
            raise SignalError(path, "VSS_TYPE", "is a number in the specification")
        if len(value) > MAX_TEXT or not value.isprintable():
            raise SignalError(path, "VSS_RANGE", f"a text has at most {MAX_TEXT} printable characters")
        return
    if isinstance(value, bool):
        if limits is not None or path == POWER_STATE:
            raise SignalError(path, "VSS_TYPE", "is no boolean in the specification")
        return
    if path == POWER_STATE:
        raise SignalError(path, "VSS_TYPE", "is a name in the specification")
    if not math.isfinite(value):
        raise SignalError(path, "VSS_RANGE", "is not a finite number")
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise SignalError(path, "VSS_RANGE", f"must be from {limits[0]:g} to {limits[1]:g}")


def encode(frame: VssFrame) -> bytes:
    """The frame as it stands on the topic."""
    said = {
        "device_time": frame.device_time.astimezone(UTC).isoformat(),
        "reissued": frame.reissued,
        "signals": dict(frame.signals),
        "vss": frame.version,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decode(raw: bytes) -> VssFrame:
    """Inverse of `encode`. Raises FrameError(BODY)."""
    try:
        said = json.loads(raw)
        at = datetime.fromisoformat(said["device_time"])
        frame = VssFrame(at, str(said["vss"]), dict(said["signals"]), bool(said["reissued"]))
        for path, value in frame.signals.items():
            check_signal(path, value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FrameError(Reason.BODY, "not a frame of signals") from None
    if at.tzinfo is None:
        raise FrameError(Reason.DEVICE_TIME, "no time zone")
    return frame


def said_bytes(raw: bytes) -> bytes:
    """What makes two frames the same record: all but whether it was sent late."""
    frame = decode(raw)
    return encode(VssFrame(frame.device_time, frame.version, frame.signals))


def units(frame: VssFrame) -> dict[str, Any]:
    """Data units as every protocol has them, and all signals by path under `vss`."""
    signals = frame.signals
    speed = signals.get(SPEED, signals.get(OBD_SPEED))
    vehicle = {name: signals.get(path) for path, name in _VEHICLE.items() if path in signals}
    if speed is not None:
        vehicle["speed_kmh"] = abs(float(speed))
    if POWER_STATE in signals:
        vehicle["vehicle_state"] = _POWER_STATES.get(str(signals[POWER_STATE]))
    made: dict[str, Any] = {"vss": {"version": frame.version, "signals": dict(signals)}}
    if vehicle:
        made["vehicle"] = {"vehicle_state": None, "speed_kmh": None, "odometer_km": None, "soc_percent": None} | vehicle
    if LATITUDE in signals and LONGITUDE in signals:
        place = {name: signals[path] for path, name in _POSITION.items() if path in signals}
        made["position"] = {"fix_valid": True, **place}
    return made
