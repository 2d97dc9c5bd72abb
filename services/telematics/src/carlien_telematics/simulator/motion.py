"""What a car's instruments show at a moment: position with noise, speed, odometer, charge."""

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from carlien_telematics.simulator.lives import DAY_S, Habits, Life, Place, Trip, day

NOISE = {"position_m": 4.0, "speed_kmh": 0.8, "odometer_share": 0.002}
"""The least noise of any simulated instrument: standard deviations, and the spread of the odometer's gear over cars."""
CONSUMPTION_PERCENT_PER_KM = 0.22
CHARGE_PERCENT_PER_S = 0.006
TOW_KMH = 30.0
JUNCTIONS_S = 67.0
"""A junction comes about that often: the car slows to a quarter and hurries on."""
_WAVE = 0.75


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment as the truth has it; `latitude` and `longitude` already carry the receiver's noise."""

    at_s: float
    latitude: float
    longitude: float
    speed_kmh: float
    odometer_km: float
    soc_percent: float
    ignition: bool


class Break(Enum):
    """What breaks into a car's plans."""

    TOW = auto()
    """The parked car is taken away."""
    CRASH = auto()
    """The drive it falls into ends."""
    STANDSTILL = auto()
    """The car is not driven."""


@dataclass(slots=True)
class Incident:
    """Something that happens at the first moment that fits, from `from_s` on; the car then stands until `until_s`.

    `began_s` is when it really happened, None as long as it has not. `km` is how far a tow goes.
    """

    kind: Break
    from_s: float
    until_s: float
    km: float = 0.0
    began_s: float | None = None
    arrived_s: float | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """A drive as it was driven, or a tow: the way of a trip, perhaps not to its end."""

    trip: Trip
    end_s: float
    share: float = 1.0
    towed: bool = False

    @property
    def start_s(self) -> float:
        """When it begins."""
        return self.trip.start_s

    @property
    def distance_km(self) -> float:
        """Length of the way that was gone."""
        return self.trip.distance_km * self.share

    @property
    def destination(self) -> Place:
        """Where the car stood then."""
        return self.trip.destination if self.share == 1.0 else self.trip.place(self.share)


class Car:
    """One car through simulated time. Days are planned when they are reached; time must not go back by more than a day."""

    def __init__(self, seed: int, number: int, who: Habits, odometer_km: float, incidents: Sequence[Incident] = ()) -> None:
        self.number = number
        self.who = who
        self.incidents = sorted(incidents, key=lambda incident: incident.from_s)
        self._seed = seed
        self._random = random.Random(f"{seed}/{number}/noise")
        self._gear = 1 + self._random.gauss(0, NOISE["odometer_share"])
        self._legs: list[Leg] = []
        self._starts: list[float] = []
        self._driven_before: list[float] = []
        self._planned_days = 0
        self._here = who.home
        self._odometer = self._first_odometer = odometer_km

    def read(self, at_s: float) -> Reading:
        """The instruments at `at_s` seconds of simulated time."""
        leg, before = self._leg(at_s)
        if leg is None:
            return self._reading(at_s, self.who.home, 0.0, self._first_odometer, ignition=False)
        if leg.towed:
            share = min(1.0, (at_s - leg.start_s) / (leg.end_s - leg.start_s))
            return self._reading(at_s, leg.trip.place(share), 0.0, before, ignition=False)
        if at_s >= leg.end_s:
            return self._reading(at_s, leg.destination, 0.0, before + leg.distance_km * self._gear, ignition=False)
        share, speed = _progress(leg.trip, at_s)
        return self._reading(at_s, leg.trip.place(share), speed, before + share * leg.trip.distance_km * self._gear, ignition=True)

    def drive_at(self, at_s: float) -> tuple[Trip, float] | None:
        """The drive the car is on and the share of its way that is done; None where it stands."""
        leg, _ = self._leg(at_s)
        return None if leg is None or leg.towed or at_s >= leg.end_s else (leg.trip, _progress(leg.trip, at_s)[0])

    def place_at(self, at_s: float) -> Place:
        """Where it stands; for a car on its way, where it is going."""
        leg, _ = self._leg(at_s)
        return self.who.home if leg is None else leg.destination

    def standing_from(self, at_s: float, for_s: float) -> float:
        """The first moment from `at_s` on at which the car has stood for `for_s` seconds."""
        while True:
            leg, _ = self._leg(at_s)
            stood_since = 0.0 if leg is None else leg.end_s
            if at_s >= stood_since + for_s:
                return at_s
            at_s = stood_since + for_s

    def trips(self, until_s: float) -> list[Trip]:
        """The true trips up to a moment; one that a crash ended is as long as it was."""
        self._plan(until_s)
        driven = [leg for leg in self._legs if leg.end_s <= until_s and not leg.towed]
        return [leg.trip if leg.share == 1.0 else replace(leg.trip, destination=leg.destination) for leg in driven]

    def _leg(self, at_s: float) -> tuple[Leg | None, float]:
        self._plan(at_s)
        index = bisect_right(self._starts, at_s) - 1
        return (None, 0.0) if index < 0 else (self._legs[index], self._driven_before[index])

    def _plan(self, at_s: float) -> None:
        while at_s >= self._planned_days * DAY_S:
            number = self._planned_days
            self._planned_days += 1
            for trip in day(self._seed, self.number, self.who, number, self._here):
                self._towed(before_s=trip.start_s)
                if trip.start_s < self._free_from() or self._stands(trip.start_s):
                    continue
                # after a tow the plans of the day begin where the car was brought
                fitting = replace(trip, origin=self._here)
                self._go(self._crashed(fitting) or Leg(fitting, fitting.end_s))
            self._towed(before_s=(number + 1) * DAY_S)

    def _free_from(self) -> float:
        """Until when the car is on its way or can't go."""
        stuck = (incident.until_s for incident in self.incidents if incident.began_s is not None)
        return max([self._legs[-1].end_s if self._legs else 0.0, *stuck])

    def _stands(self, at_s: float) -> bool:
        return any(one.kind is Break.STANDSTILL and one.from_s <= at_s < one.until_s for one in self.incidents)

    def _towed(self, before_s: float) -> None:
        """Tows that fall into the standing time before the next drive, ten minutes after the last at the earliest."""
        for incident in self.incidents:
            start = max(incident.from_s, self._free_from() + 600)
            if incident.kind is not Break.TOW or incident.began_s is not None or start >= before_s:
                continue
            turn = random.Random(f"{self._seed}/{self.number}/{incident.from_s}").uniform(0, 2 * math.pi)
            there = Place(self._here.east_km + incident.km * math.cos(turn), self._here.north_km + incident.km * math.sin(turn))
            way = Trip(start, self._here, there, TOW_KMH)
            incident.began_s, incident.arrived_s = start, way.end_s
            incident.until_s = max(incident.until_s, way.end_s + 3600)
            self._go(Leg(way, way.end_s, towed=True))

    def _crashed(self, trip: Trip) -> Leg | None:
        """The drive that ends in a crash: in the middle between two junctions, where the car is fast."""
        for incident in self.incidents:
            fits = incident.from_s <= trip.start_s and trip.distance_km >= 2
            if incident.kind is not Break.CRASH or incident.began_s is not None or not fits:
                continue
            junctions = int((trip.end_s - trip.start_s) * 0.6 / JUNCTIONS_S)
            end = trip.start_s + (junctions + 0.5) * JUNCTIONS_S
            incident.began_s, incident.until_s = end, max(incident.until_s, end + 3600)
            return Leg(trip, end, _progress(trip, end)[0])
        return None

    def _go(self, leg: Leg) -> None:
        self._driven_before.append(self._odometer)
        self._starts.append(leg.start_s)
        self._legs.append(leg)
        self._here = leg.destination
        if not leg.towed:
            self._odometer += leg.distance_km * self._gear

    def _reading(self, at_s: float, place: Place, speed: float, odometer: float, *, ignition: bool) -> Reading:
        noise = NOISE["position_m"] / 1000
        noisy = Place(place.east_km + self._random.gauss(0, noise), place.north_km + self._random.gauss(0, noise))
        latitude, longitude = noisy.degrees()
        shown = max(0.0, speed + self._random.gauss(0, NOISE["speed_kmh"])) if speed > 2 else 0.0
        return Reading(at_s, latitude, longitude, round(shown, 1), round(odometer, 1), self._charge(odometer), ignition)

    def _charge(self, odometer: float) -> float:
        """A battery that is charged each time it falls to a quarter; kept simple: charge as a function of distance."""
        return round(95 - (odometer * CONSUMPTION_PERCENT_PER_KM) % 70)


def _progress(trip: Trip, at_s: float) -> tuple[float, float]:
    """Share of the way and speed: the speed swings about its mean from junction to junction, and the way is its integral."""
    lasts, turn = trip.end_s - trip.start_s, 2 * math.pi / JUNCTIONS_S

    def way(after_s: float) -> float:
        return after_s - _WAVE * math.sin(turn * after_s) / turn

    after = at_s - trip.start_s
    share = min(1.0, way(after) / way(lasts))
    return share, trip.distance_km / way(lasts) * (1 - _WAVE * math.cos(turn * after)) * 3600


def odometer_at_start(seed: int, number: int, life: Life) -> float:
    """A believable reading for a car of that life."""
    random_ = random.Random(f"{seed}/{number}/odometer")
    mean = {Life.PRIVATE: 45_000, Life.RIDE_HAILING: 160_000, Life.GOODS: 120_000, Life.RENTAL: 80_000}[life]
    return round(random_.uniform(0.4, 1.6) * mean, 1)
