"""How a car is used: where it goes, when, by kind of life. Deterministic in (seed, car, day)."""

import random
from dataclasses import dataclass
from enum import StrEnum

CITY_CENTRE = (31.23, 121.47)
CITY_RADIUS_KM = 18.0
DAY_S = 86_400
KM_PER_DEGREE = 111.32


class Life(StrEnum):
    """What a car is for."""

    PRIVATE = "PRIVATE"
    RIDE_HAILING = "RIDE_HAILING"
    GOODS = "GOODS"
    RENTAL = "RENTAL"


@dataclass(frozen=True, slots=True)
class Place:
    """Kilometres east and north of the city's centre."""

    east_km: float
    north_km: float

    def degrees(self) -> tuple[float, float]:
        """Latitude and longitude, on a plane that is true enough for a city."""
        return CITY_CENTRE[0] + self.north_km / KM_PER_DEGREE, CITY_CENTRE[1] + self.east_km / (KM_PER_DEGREE * 0.855)


@dataclass(frozen=True, slots=True)
class Trip:
    """One drive, along two legs of a grid. Times in seconds of simulated time."""

    start_s: float
    origin: Place
    destination: Place
    mean_kmh: float

    @property
    def distance_km(self) -> float:
        """Length along the streets."""
        return abs(self.destination.east_km - self.origin.east_km) + abs(self.destination.north_km - self.origin.north_km)

    @property
    def end_s(self) -> float:
        """When the car stands again."""
        return self.start_s + self.distance_km / self.mean_kmh * 3600

    def place(self, share: float) -> Place:
        """Where the car is after a share of the way: first east or west, then north or south."""
        way = share * self.distance_km
        east = self.destination.east_km - self.origin.east_km
        along = min(way, abs(east))
        across = way - along
        north = self.destination.north_km - self.origin.north_km
        return Place(self.origin.east_km + (along if east > 0 else -along), self.origin.north_km + (across if north > 0 else -across))


def _somewhere(random_: random.Random, radius_km: float = CITY_RADIUS_KM) -> Place:
    return Place(random_.gauss(0, radius_km / 2.2), random_.gauss(0, radius_km / 2.2))


def _near(random_: random.Random, place: Place, spread_km: float) -> Place:
    return Place(random_.gauss(place.east_km, spread_km), random_.gauss(place.north_km, spread_km))


@dataclass(frozen=True, slots=True)
class Habits:
    """Where a car belongs."""

    life: Life
    home: Place
    work: Place
    stops: tuple[Place, ...]
    """Customers of a goods van, shops of a household."""


def habits(seed: int, car: int, life: Life) -> Habits:
    """The habits of one car."""
    random_ = random.Random(f"{seed}/{car}/habits")
    home = _somewhere(random_)
    stops = tuple(_near(random_, home, 5 if life is Life.PRIVATE else 9) for _ in range(6 if life is Life.PRIVATE else 25))
    return Habits(life, home, _near(random_, Place(0, 0), 6), stops)


def day(seed: int, car: int, who: Habits, number: int, here: Place) -> list[Trip]:
    """The trips of day `number` (0 is a Monday) of a car that stands at `here`, in order and without overlap."""
    random_ = random.Random(f"{seed}/{car}/{number}")
    wishes = {
        Life.PRIVATE: _private,
        Life.RIDE_HAILING: _ride_hailing,
        Life.GOODS: _goods,
        Life.RENTAL: _rental,
    }[who.life](random_, who, number)
    trips: list[Trip] = []
    free_from = number * DAY_S + 0.0
    for wish_s, destination in wishes:
        start = max(free_from, number * DAY_S + wish_s)
        trip = Trip(start, here, destination, random_.uniform(19, 34))
        if trip.distance_km < 0.3 or trip.end_s > (number + 1) * DAY_S:
            continue
        trips.append(trip)
        here, free_from = destination, trip.end_s + random_.uniform(90, 420)
    if who.life is not Life.RENTAL and here != who.home and free_from < (number + 1) * DAY_S - 5400:
        trips.append(Trip(free_from, here, who.home, 30.0))
    return [trip for trip in trips if trip.end_s <= (number + 1) * DAY_S]


Wishes = list[tuple[float, Place]]


def _private(random_: random.Random, who: Habits, number: int) -> Wishes:
    hour = 3600.0
    if number % 7 < 5 and random_.random() < 0.92:
        out, back = random_.gauss(7.8, 0.4), random_.gauss(17.9, 0.8)
        wishes = [(out * hour, who.work), (back * hour, who.home)]
        if random_.random() < 0.3:
            wishes += [((back + 1.5) * hour, random_.choice(who.stops)), ((back + 3) * hour, who.home)]
        return wishes
    count = random_.choice((0, 1, 1, 2, 3))
    times = sorted(random_.uniform(9, 20) for _ in range(count))
    wishes = [(at * hour, random_.choice(who.stops)) for at in times]
    return [*wishes, ((times[-1] + 1.5) * hour, who.home)] if wishes else []


def _ride_hailing(random_: random.Random, who: Habits, _number: int) -> Wishes:
    if random_.random() < 0.07:
        return []
    begin, length = random_.uniform(5.5, 8.5), random_.uniform(9, 13)
    wishes, at = [], begin * 3600
    while at < min((begin + length) * 3600, 23.3 * 3600):
        wishes.append((at, _near(random_, Place(0, 0), 7)))
        at += random_.uniform(700, 2100)
    return [*wishes, (at + 300, who.home)]


def _goods(random_: random.Random, who: Habits, number: int) -> Wishes:
    if number % 7 == 6 or random_.random() < 0.05:
        return []
    wishes, at = [(6.5 * 3600 + random_.uniform(-1800, 1800), who.work)], 7.6 * 3600
    for _ in range(random_.randrange(9, 17)):
        wishes.append((at, random_.choice(who.stops)))
        at += random_.uniform(1500, 2700)
    return [*wishes, (at, who.work), (at + 2400, who.home)]


def _rental(random_: random.Random, who: Habits, number: int) -> Wishes:
    """Two to four days with one customer, whose places are his own; between customers it stands at the depot."""
    customer, block = divmod(number, 4)
    renter = random.Random(f"{who.home}/{customer}")
    if block == 3 or renter.random() < 0.15:
        return [(10 * 3600.0, who.home)]
    hotel = _somewhere(renter)
    places = [_somewhere(renter, 26) for _ in range(5)]
    wishes = [(random_.uniform(8.5, 10) * 3600, places[block])]
    wishes += [(random_.uniform(11 + 2 * n, 12 + 2 * n) * 3600, random_.choice(places)) for n in range(random_.randrange(2, 5))]
    return [*wishes, (random_.uniform(20, 22) * 3600, who.home if block == 2 else hotel)]
