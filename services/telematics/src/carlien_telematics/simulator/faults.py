"""What can go wrong with a car or its device, and what looks like it but isn't: each as the device would show it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from carlien_telematics.simulator.lives import DAY_S, Place, Trip
from carlien_telematics.simulator.motion import Car, Incident, Reading

FOREVER_S = 1e9
LAST_GASP_S = 600.0
"""A terminal lives ten minutes on its own battery when it loses the car (GB/T 32960.2-2016)."""

IMPACT_S = 120.0
"""A terminal repeats that it felt an impact for so long."""


class FaultKind(StrEnum):
    """Kinds of fault, and the decoys at the end that no lender wants to hear of."""

    GAP = "gap"
    """No network: records are kept and sent again as reissue."""
    CLOCK_SKEW = "clock_skew"
    """The device's clock is off by `value` seconds."""
    NOISE = "noise"
    """Positions scatter by `value` metres."""
    JAMMING = "jamming"
    """No fix wherever the car goes."""
    REMOVAL = "removal"
    """The device is taken out of the standing car, and not where it has no network anyway: it reports without the car for up to
    ten minutes (`tell`, at least one record), then never again."""
    ROLLBACK = "rollback"
    """The odometer shows `value` km less from then on."""
    BLOCKER = "blocker"
    """The odometer counts only a share of `value` of the distance."""
    TOW = "tow"
    """The parked car is taken `value` km away with its ignition off and stands there."""
    POWER_CUT = "power_cut"
    """The device loses the car's power and lives on its own battery."""
    ANTENNA_CUT = "antenna_cut"
    """The antenna is cut: no fix, and JT/T 808 says why."""
    CRASH = "crash"
    """The next drive ends in a crash; the car stands until the end of the duration."""
    STANDSTILL = "standstill"
    """The car is not driven."""
    TUNNEL = "tunnel"
    """Decoy: drives lead through a tunnel of `value` km, without fix and network."""
    GARAGE = "garage"
    """Decoy: the car's home is under ground, without fix and network."""
    ODOMETER_GLITCH = "odometer_glitch"
    """Decoy: now and then a single reading of zero or of all ones."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """What a kind means: its value's name and unit, its default, and the alert that should come of it."""

    value_name: str
    value: float
    low: float
    high: float
    expected_alert: str | None
    duration_s: float = FOREVER_S


RULES: dict[FaultKind, FaultRule] = {
    FaultKind.GAP: FaultRule("", 0, 0, 0, None, 3600),
    FaultKind.CLOCK_SKEW: FaultRule("offset_s", -120, -7 * DAY_S, 7 * DAY_S, None),
    FaultKind.NOISE: FaultRule("metres", 30, 0, 1000, None),
    FaultKind.JAMMING: FaultRule("", 0, 0, 0, "JAMMING", 4 * 3600),
    FaultKind.REMOVAL: FaultRule("", 0, 0, 0, "DEVICE_REMOVED"),
    FaultKind.ROLLBACK: FaultRule("km", 3000, 0, 1_000_000, "ODOMETER_ROLLBACK"),
    FaultKind.BLOCKER: FaultRule("counted_share", 0.4, 0, 1, "ODOMETER_ROLLBACK"),
    FaultKind.TOW: FaultRule("km", 8, 0, 500, "TOW"),
    FaultKind.POWER_CUT: FaultRule("", 0, 0, 0, "POWER_CUT", 7200),
    FaultKind.ANTENNA_CUT: FaultRule("", 0, 0, 0, "ANTENNA_CUT"),
    FaultKind.CRASH: FaultRule("", 0, 0, 0, "CRASH", DAY_S),
    FaultKind.STANDSTILL: FaultRule("", 0, 0, 0, "LONG_STOP"),
    FaultKind.TUNNEL: FaultRule("km", 2, 0.1, 20, None),
    FaultKind.GARAGE: FaultRule("", 0, 0, 0, None),
    FaultKind.ODOMETER_GLITCH: FaultRule("record_share", 0.01, 0, 0.2, None),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of some cars. Times count from the start of the run; `start_s` None draws one for each car."""

    kind: FaultKind
    share: float = 1.0
    start_s: float | None = None
    duration_s: float = FOREVER_S
    value: float = 0.0
    cars: frozenset[int] | None = None
    tell: bool = True

    def hits(self, seed: int, car: int, number: int) -> bool:
        """Whether this car has it; `number` is its place in the scenario."""
        if self.cars is not None:
            return car in self.cars
        return random.Random(f"{seed}/{car}/{self.kind}/{number}").random() < self.share


@dataclass(slots=True)
class CarFault:
    """A fault of one car, in simulated seconds of its life."""

    rule: Fault
    from_s: float
    until_s: float
    incident: Incident | None = None
    odometer_km: float | None = None
    """What an honest odometer showed when it began."""
    shown: int = 0
    """Records that show it so far."""

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return self.rule.kind

    def active(self, at_s: float) -> bool:
        """Whether it is on; what breaks into a car's plans waits for a moment that fits."""
        if self.incident is not None and self.kind is not FaultKind.STANDSTILL:
            return self.incident.began_s is not None and self.incident.began_s <= at_s < self.incident.until_s
        return self.from_s <= at_s < self.until_s


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device has to say at a moment, and whether it can."""

    reading: Reading
    fix: bool = True
    car_data: bool = True
    alarms: tuple[str, ...] = ()
    network: bool = True
    silent: bool = False


@dataclass(slots=True)
class Faults:
    """The faults of one car, applied to what its instruments show."""

    faults: Sequence[CarFault]
    scatter: random.Random
    skew_s: float = field(default=0.0, init=False)

    def shown(self, car: Car, at_s: float) -> Shown:
        """The record that the device would make at `at_s`."""
        shown = Shown(car.read(at_s))
        self.skew_s = 0.0
        for fault in self.faults:
            if fault.active(at_s):
                after = self._apply(fault, car, shown)
                fault.shown += after is not shown
                shown = after
        return shown

    def _apply(self, fault: CarFault, car: Car, shown: Shown) -> Shown:  # noqa: C901 - one line a kind
        reading, value = shown.reading, fault.rule.value
        match fault.kind:
            case FaultKind.GAP:
                return replace(shown, network=False)
            case FaultKind.CLOCK_SKEW:
                self.skew_s += value
                return replace(shown)
            case FaultKind.NOISE:
                degrees = value / 111_320
                north, east = self.scatter.gauss(0, degrees), self.scatter.gauss(0, degrees)
                return replace(shown, reading=replace(reading, latitude=reading.latitude + north, longitude=reading.longitude + east))
            case FaultKind.JAMMING:
                return replace(shown, fix=False)
            case FaultKind.ANTENNA_CUT:
                return replace(shown, fix=False, alarms=(*shown.alarms, "GPS_ANTENNA_CUT"))
            case FaultKind.REMOVAL:
                gasps = fault.rule.tell and (fault.shown == 0 or reading.at_s - fault.from_s < LAST_GASP_S)
                return _without_car(shown) if gasps else replace(shown, silent=True)
            case FaultKind.POWER_CUT:
                return _without_car(shown)
            case FaultKind.ROLLBACK:
                return replace(shown, reading=replace(reading, odometer_km=max(0.0, round(reading.odometer_km - value, 1))))
            case FaultKind.BLOCKER:
                if fault.odometer_km is None:
                    fault.odometer_km = reading.odometer_km
                counted = fault.odometer_km + (reading.odometer_km - fault.odometer_km) * value
                return replace(shown, reading=replace(reading, odometer_km=round(counted, 1)))
            case FaultKind.ODOMETER_GLITCH if self.scatter.random() < value:
                return replace(shown, reading=replace(reading, odometer_km=self.scatter.choice((0.0, 999_999.0))))
            case FaultKind.TUNNEL if (drive := car.drive_at(reading.at_s)) is not None and _in_tunnel(*drive, value):
                # no junctions down there
                return replace(shown, fix=False, network=False, reading=replace(reading, speed_kmh=round(drive[0].mean_kmh, 1)))
            case FaultKind.GARAGE if _at(car, reading.at_s, car.who.home):
                return replace(shown, fix=False, network=False)
            case FaultKind.CRASH if fault.incident is not None and reading.at_s - (fault.incident.began_s or 0.0) < IMPACT_S:
                return replace(shown, alarms=(*shown.alarms, "COLLISION"))
        return shown


def _without_car(shown: Shown) -> Shown:
    return replace(shown, car_data=False, alarms=(*shown.alarms, "POWER_CUT"))


def _in_tunnel(trip: Trip, share: float, km: float) -> bool:
    """Whether the car is in the tunnel, which lies in the middle of the longer of a drive's two legs if that has room for it."""
    first = abs(trip.destination.east_km - trip.origin.east_km)
    longer, before = (first, 0.0) if first >= trip.distance_km / 2 else (trip.distance_km - first, first)
    if longer < km + 1:
        return False
    entrance = before + (longer - km) / 2
    return entrance <= share * trip.distance_km < entrance + km


def _at(car: Car, at_s: float, place: Place) -> bool:
    """Whether the car stands at a place, or is about to or just did."""
    drive = car.drive_at(at_s)
    if drive is None:
        return car.place_at(at_s) == place
    trip, share = drive
    left = trip.distance_km * (1 - share)
    return (trip.destination == place and left < 0.1) or (trip.origin == place and trip.distance_km * share < 0.1)
