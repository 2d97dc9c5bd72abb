"""What a reader of a car's data gets."""

from dataclasses import dataclass, replace
from datetime import datetime

GENERALISED_DECIMALS = 2
"""Decimals of a degree that an analyst sees: about a kilometre, a neighbourhood and not a door."""


@dataclass(frozen=True, slots=True)
class VehicleState:
    """The newest state of a car; None where it was reported as invalid or never reported."""

    vin: str
    online: bool
    device_id: str
    device_time: datetime | None = None
    received_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    speed_kmh: float | None = None
    odometer_km: float | None = None
    soc_percent: float | None = None
    ignition: bool | None = None
    last_alarm: str | None = None

    def generalised(self) -> "VehicleState":
        """The same with a coarse place."""
        return replace(self, latitude=coarse(self.latitude), longitude=coarse(self.longitude))


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """One position of a car. `digest` tells apart two of the same second."""

    device_time: datetime
    device_id: str
    digest: bytes
    latitude: float
    longitude: float
    speed_kmh: float | None
    odometer_km: float | None
    reissued: bool

    def generalised(self) -> "TrackPoint":
        """The same with a coarse place."""
        return replace(self, latitude=round(self.latitude, GENERALISED_DECIMALS), longitude=round(self.longitude, GENERALISED_DECIMALS))


def coarse(degrees: float | None) -> float | None:
    """A coordinate rounded to what an analyst may see."""
    return None if degrees is None else round(degrees, GENERALISED_DECIMALS)
