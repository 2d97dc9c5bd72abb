"""What a car's instruments show at a moment: position with noise, speed, odometer, charge."""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass

from carlien_telematics.simulator.lives import DAY_S, Habits, Life, Place, Trip, day

NOISE = {"position_m": 4.0, "speed_kmh": 0.8, "odometer_share": 0.002}
"""The least noise of any simulated instrument: standard deviations, and the spread of the odometer's gear over cars."""
CONSUMPTION_PERCENT_PER_KM = 0.22
CHARGE_PERCENT_PER_S = 0.006


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


class Car:
    """One car through simulated time. Days are planned when they are reached; time must not go back by more than a day."""

    def __init__(self, seed: int, number: int, who: Habits, odometer_km: float) -> None:
        self.number = number
        self.who = who
        self._seed = seed
        self._random = random.Random(f"{seed}/{number}/noise")
        self._gear = 1 + self._random.gauss(0, NOISE["odometer_share"])
        self._trips: list[Trip] = []
        self._starts: list[float] = []
        self._driven_before: list[float] = []
        self._planned_days = 0
        self._odometer = self._first_odometer = odometer_km

    def read(self, at_s: float) -> Reading:
        """The instruments at `at_s` seconds of simulated time."""
        self._plan(at_s)
        index = bisect_right(self._starts, at_s) - 1
        if index < 0:
            return self._standing(at_s, self.who.home, self._first_odometer)
        trip, before = self._trips[index], self._driven_before[index]
        if at_s >= trip.end_s:
            return self._standing(at_s, trip.destination, before + trip.distance_km * self._gear)
        share = _eased((at_s - trip.start_s) / (trip.end_s - trip.start_s))
        speed = self._speed(trip, at_s)
        driven = before + share * trip.distance_km * self._gear
        return self._reading(at_s, trip.place(share), speed, driven, ignition=True)

    def trips(self, until_s: float) -> list[Trip]:
        """The true trips up to a moment."""
        self._plan(until_s)
        return [trip for trip in self._trips if trip.end_s <= until_s]

    def _plan(self, at_s: float) -> None:
        while at_s >= self._planned_days * DAY_S:
            here = self._trips[-1].destination if self._trips else self.who.home
            for trip in day(self._seed, self.number, self.who, self._planned_days, here):
                self._driven_before.append(self._odometer)
                self._starts.append(trip.start_s)
                self._trips.append(trip)
                self._odometer += trip.distance_km * self._gear
            self._planned_days += 1

    def _standing(self, at_s: float, place: Place, odometer: float) -> Reading:
        return self._reading(at_s, place, 0.0, odometer, ignition=False)

    def _reading(self, at_s: float, place: Place, speed: float, odometer: float, *, ignition: bool) -> Reading:
        noise = NOISE["position_m"] / 1000
        noisy = Place(place.east_km + self._random.gauss(0, noise), place.north_km + self._random.gauss(0, noise))
        latitude, longitude = noisy.degrees()
        shown = max(0.0, speed + self._random.gauss(0, NOISE["speed_kmh"])) if speed > 2 else 0.0
        return Reading(at_s, latitude, longitude, round(shown, 1), round(odometer, 1), self._charge(odometer), ignition)

    def _charge(self, odometer: float) -> float:
        """A battery that is charged each time it falls to a quarter; kept simple: charge as a function of distance."""
        return round(95 - (odometer * CONSUMPTION_PERCENT_PER_KM) % 70)

    def _speed(self, trip: Trip, at_s: float) -> float:
        """Stop and go around the trip's mean: junctions every minute or so."""
        phase = (at_s - trip.start_s) / 67 + self.number
        wave = 1 + 0.75 * math.sin(2 * math.pi * phase)
        return max(0.0, min(trip.mean_kmh * wave * 1.05, 80.0))


def _eased(share: float) -> float:
    """Slow at both ends."""
    return share - math.sin(2 * math.pi * share) / (2 * math.pi)


def odometer_at_start(seed: int, number: int, life: Life) -> float:
    """A believable reading for a car of that life."""
    random_ = random.Random(f"{seed}/{number}/odometer")
    mean = {Life.PRIVATE: 45_000, Life.RIDE_HAILING: 160_000, Life.GOODS: 120_000, Life.RENTAL: 80_000}[life]
    return round(random_.uniform(0.4, 1.6) * mean, 1)
