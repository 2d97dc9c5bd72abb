"""Profiles of cars: made for who asks, and once a day of a car's own time for who listens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.signals import AlertKind, Evidence, Signal
from carlien_telematics.domain.behaviour import Circumstances, Profile, UsageNature, is_undisclosed
from carlien_telematics.domain.trips import Sample

PERIOD = timedelta(days=30)
NATURE_FROM_DAYS = 14
"""A use that wasn't declared is told after two weeks: that is what telling natures apart was validated on."""
ODOMETER_KM = 500.0
SOH_PERCENT = 2.0
TRUST = 0.1
RISK = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What was last published of a car, as far as it decides whether there is news."""

    nature: UsageNature
    risk_score: int
    trust: float
    odometer_km: float | None
    odometer_consistent: bool | None
    soh_percent: float | None


def told(profile: Profile) -> Told:
    """What publishing a profile would tell."""
    odometer, battery = profile.verified_odometer, profile.battery
    return Told(
        profile.nature,
        profile.risk_score,
        profile.trust.score,
        None if odometer is None else odometer.odometer_km,
        None if odometer is None else odometer.consistent,
        None if battery is None else battery.soh_percent,
    )


def news(before: Told | None, now: Told) -> list[str]:
    """What changed so much that valuation and pricing must know; all there is where nothing was told yet."""
    old = before or Told(UsageNature.UNKNOWN, -RISK, -TRUST, None, None, None)
    odometer = now.odometer_consistent != old.odometer_consistent or _moved(old.odometer_km, now.odometer_km, ODOMETER_KM)
    parts = {
        "usage_nature": now.nature is not old.nature,
        "odometer_km": odometer and now.odometer_km is not None,
        "soh_percent": now.soh_percent is not None and _moved(old.soh_percent, now.soh_percent, SOH_PERCENT),
        "trust": abs(now.trust - old.trust) >= TRUST - 1e-9,
        "risk_score": abs(now.risk_score - old.risk_score) >= RISK,
    }
    return [name for name, changed in parts.items() if changed]


def _moved(old: float | None, now: float | None, by: float) -> bool:
    return old is None or now is None or abs(now - old) >= by


def use_signals(profile: Profile, declared: UsageNature | None, at: datetime, since: datetime) -> list[Signal]:
    """What a profile says about a use that wasn't declared: that it goes on, or that it has ended."""
    kind = AlertKind.UNDISCLOSED_COMMERCIAL_USE
    seen = profile.behaviour
    if seen.days < NATURE_FROM_DAYS:
        return []
    if not is_undisclosed(profile.nature, declared):
        return [Signal(kind, at, at, ended=True)]
    evidence = (
        Evidence("TRIPS_PER_ACTIVE_DAY", seen.trips_per_active_day, "count", at),
        Evidence("DISTINCT_DESTINATIONS_SHARE", seen.distinct_destinations_share, "1", at),
        Evidence("OVERNIGHT_PLACES", float(seen.overnight_places), "count", at),
        Evidence("DISTANCE_PER_DAY", seen.km_per_day, "km", at),
    )
    return [Signal(kind, at, since, evidence)]


@dataclass(frozen=True, slots=True)
class ProfileTask:
    """A car of which a profile is to be made, and what for."""

    vin: str
    end: datetime


class CircumstanceStore(Protocol):
    """What is known of cars beside their records."""

    async def circumstances(self, vin: str, start: datetime, end: datetime) -> Circumstances:
        """Of one car in a period."""


class ProfileStore(CircumstanceStore, Protocol):
    """What a profile is made from and where it goes, within one transaction."""

    async def due(self, limit: int) -> Sequence[ProfileTask]:
        """Cars whose profile is due."""

    async def consented(self, vin: str) -> bool:
        """Whether a live consent covers the car now."""

    async def samples(self, vin: str, start: datetime, end: datetime, limit: int) -> Sequence[Sample]:
        """Records of a period, the newest where there are more than `limit`, in device time."""

    async def published(self, vin: str) -> Told | None:
        """What was last told."""

    async def put(self, vin: str, task: ProfileTask, start: datetime, profile: Profile, changed: Sequence[str], now: datetime) -> None:
        """Notes that the profile was made; where something changed, stores it and its event."""

    async def skip(self, task: ProfileTask) -> None:
        """Notes that nothing is to be made of the car for now."""

    async def cases_of_use(self, vin: str, signals: Sequence[Signal]) -> Sequence[Case]:
        """Adds to the car's alert cases what its use says."""
