"""What a detector says, and how grave it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlertKind(StrEnum):
    """What happened to a car."""

    DEVICE_REMOVED = "DEVICE_REMOVED"
    POWER_CUT = "POWER_CUT"
    ANTENNA_CUT = "ANTENNA_CUT"
    JAMMING = "JAMMING"
    TOW = "TOW"
    WIRED_WIRELESS_SEPARATION = "WIRED_WIRELESS_SEPARATION"
    LONG_STOP = "LONG_STOP"
    GEOFENCE_ENTER = "GEOFENCE_ENTER"
    GEOFENCE_EXIT = "GEOFENCE_EXIT"
    GEOFENCE_DWELL = "GEOFENCE_DWELL"
    SECOND_PAWN = "SECOND_PAWN"
    PROVINCE_LEFT = "PROVINCE_LEFT"
    ODOMETER_ROLLBACK = "ODOMETER_ROLLBACK"
    UNDISCLOSED_COMMERCIAL_USE = "UNDISCLOSED_COMMERCIAL_USE"
    CRASH = "CRASH"
    OFFLINE = "OFFLINE"


class Severity(StrEnum):
    """How soon somebody must act."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


GRAVITY: tuple[AlertKind, ...] = (
    AlertKind.TOW,
    AlertKind.WIRED_WIRELESS_SEPARATION,
    AlertKind.DEVICE_REMOVED,
    AlertKind.JAMMING,
    AlertKind.SECOND_PAWN,
    AlertKind.CRASH,
    AlertKind.ODOMETER_ROLLBACK,
    AlertKind.PROVINCE_LEFT,
    AlertKind.POWER_CUT,
    AlertKind.ANTENNA_CUT,
    AlertKind.UNDISCLOSED_COMMERCIAL_USE,
    AlertKind.OFFLINE,
    AlertKind.GEOFENCE_DWELL,
    AlertKind.LONG_STOP,
    AlertKind.GEOFENCE_EXIT,
    AlertKind.GEOFENCE_ENTER,
)
"""Gravest first: a case carries the gravest kind of its signals."""

_CRITICAL = frozenset(GRAVITY[:7])
_INFO = frozenset((AlertKind.GEOFENCE_ENTER, AlertKind.GEOFENCE_EXIT))

FALSE_ALARM_BUDGET: dict[AlertKind, float] = {
    AlertKind.DEVICE_REMOVED: 1.0,
    AlertKind.POWER_CUT: 1.0,
    AlertKind.ANTENNA_CUT: 1.0,
    AlertKind.JAMMING: 1.0,
    AlertKind.TOW: 1.0,
    AlertKind.WIRED_WIRELESS_SEPARATION: 1.0,
    AlertKind.LONG_STOP: 1.0,
    AlertKind.GEOFENCE_ENTER: 2.0,
    AlertKind.GEOFENCE_EXIT: 2.0,
    AlertKind.GEOFENCE_DWELL: 1.0,
    AlertKind.SECOND_PAWN: 1.0,
    AlertKind.PROVINCE_LEFT: 1.0,
    AlertKind.ODOMETER_ROLLBACK: 1.0,
    AlertKind.UNDISCLOSED_COMMERCIAL_USE: 2.0,
    AlertKind.CRASH: 1.0,
    AlertKind.OFFLINE: 5.0,
}
"""False cases that a kind may cause in 100 car-months; the detection benchmark fails above it."""

_CUSTODY = frozenset(
    (
        AlertKind.DEVICE_REMOVED,
        AlertKind.POWER_CUT,
        AlertKind.ANTENNA_CUT,
        AlertKind.JAMMING,
        AlertKind.TOW,
        AlertKind.WIRED_WIRELESS_SEPARATION,
        AlertKind.OFFLINE,
    )
)


def severity(kind: AlertKind) -> Severity:
    """How soon somebody must act on a case of that kind."""
    return Severity.CRITICAL if kind in _CRITICAL else Severity.INFO if kind in _INFO else Severity.WARNING


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason to believe a signal: a measure with its unit. Never a position."""

    name: str
    value: float
    unit: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Signal:
    """Something began (`ended` False) or ended at `at`; detectors tell edges, not states. `since` is when it really began."""

    kind: AlertKind
    at: datetime
    since: datetime
    evidence: tuple[Evidence, ...] = ()
    ended: bool = False
    geofence_id: str = ""

    @property
    def incident(self) -> str:
        """What it is fused by: signs that the car or its device is being taken away belong together, so do those of a place."""
        if self.geofence_id:
            return f"GEOFENCE/{self.geofence_id}"
        return "CUSTODY" if self.kind in _CUSTODY else self.kind.value
