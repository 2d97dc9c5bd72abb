"""What telematics says of a car, and whether that makes it worth another appraisal."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.car import Car, Usage

LEAST_TRUST = 0.3
"""Telemetry that is relied on less than this changes no value."""
LEAST_KM = 1_000
LEAST_SHARE = 0.02
"""A distance beyond the valued one that matters: 1,000 km, or 2 % of it where that is more."""
LEAST_SOH = Decimal("0.01")
VALID = timedelta(days=90)
"""How long a profile speaks in a car's file: the consent it was made under may end, and a newer one follows as long as it doesn't."""


@dataclass(frozen=True, slots=True)
class UsageProfile:
    """A car's profile at an instant; None is "can't be told"."""

    vin: str
    computed_at: datetime
    trust: float
    usage: Usage | None = None
    """Only commercial use: telematics can't tell that a car licensed as commercial is a private one."""
    odometer_km: int | None = None
    """Only where all sources agree."""
    soh: Decimal | None = None


def applied(car: Car, pack: Pack | None, profile: UsageProfile) -> tuple[Car, Pack | None] | None:
    """The car as the profile shows it; None where nothing that matters differs. Distance never goes back, use never to a gentler one."""
    if profile.trust < LEAST_TRUST:
        return None
    changed, material = car, False
    if profile.odometer_km is not None:
        known = car.odometer_km or 0
        if profile.odometer_km > known:
            changed = dataclasses.replace(changed, odometer_km=profile.odometer_km)
            material = car.odometer_km is None or profile.odometer_km - known >= max(LEAST_KM, LEAST_SHARE * known)
    if profile.usage is not None and car.usage is Usage.PRIVATE:
        changed, material = dataclasses.replace(changed, usage=profile.usage), True
    if pack is not None and profile.soh is not None and (pack.soh is None or abs(profile.soh - pack.soh) >= LEAST_SOH):
        pack, material = dataclasses.replace(pack, soh=profile.soh), True
    return (changed, pack) if material else None
