"""Trips, odometer truth and usage nature against the simulator's truth, on seeds no threshold was chosen on."""

import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from carlien_telematics.domain.behaviour import UsageNature, behaviour, profile, usage_nature
from carlien_telematics.domain.trips import STOP, Sample, distance_km, odometer_truth, trips
from carlien_telematics.simulator.lives import DAY_S, Life, habits
from carlien_telematics.simulator.motion import Car, odometer_at_start

MONDAY = datetime(2026, 1, 4, 16, tzinfo=UTC)  # Monday 00:00 in China
DAYS = 14
CHOSEN_ON = (1, 2, 3)
REPORTED_ON = (41, 42)


def reported(car: Car, days: int = DAYS, every_s: float = 30.0) -> Iterator[Sample]:
    """What the car's device sends: often while it drives, every half hour while it stands."""
    at, drives = 0.0, car.trips(days * DAY_S + 1)
    for trip in drives:
        while at < trip.start_s - 60:
            yield sample(car, at)
            at += 1800
        at = trip.start_s - 30
        while at < trip.end_s + 60:
            yield sample(car, at)
            at += every_s
    while at < days * DAY_S:
        yield sample(car, at)
        at += 1800


def sample(car: Car, at: float) -> Sample:
    now = car.read(at)
    return Sample(MONDAY + timedelta(seconds=at), now.latitude, now.longitude, now.speed_kmh, now.odometer_km, now.ignition)


def car_of(seed: int, number: int, life: Life) -> Car:
    return Car(seed, number, habits(seed, number, life), odometer_at_start(seed, number, life))


@pytest.mark.parametrize("life", Life)
def test_trips_are_found_where_they_were(life: Life) -> None:
    car = car_of(41, 5, life)
    found = trips(reported(car, 7))
    true = car.trips(7 * DAY_S)
    # a stop shorter than what ends a trip makes one trip of two
    seen_as_one = sum(after.start_s - before.end_s < STOP.total_seconds() - 30 for before, after in itertools.pairwise(true))
    assert abs(len(found) - (len(true) - seen_as_one)) <= 0.1 * len(true)
    assert sum(trip.distance_km for trip in found) == pytest.approx(sum(trip.distance_km for trip in true), rel=0.03)


def test_an_honest_odometer_is_plausible_and_a_rolled_back_one_is_not() -> None:
    samples = list(reported(car_of(41, 1, Life.PRIVATE)))
    honest = odometer_truth(samples)
    assert honest.plausible
    assert honest.ratio == pytest.approx(1, abs=0.05)
    half = len(samples) // 2
    turned = [
        s if n < half else Sample(s.at, s.latitude, s.longitude, s.speed_kmh, (s.odometer_km or 0) - 3000, s.ignition)
        for n, s in enumerate(samples)
    ]
    truth = odometer_truth(turned)
    assert not truth.plausible
    assert [km for _, km in truth.rollbacks] == [pytest.approx(3000, abs=30)]


def test_the_nature_of_use_is_told_on_two_weeks() -> None:
    confusion: Counter[tuple[str, str]] = Counter()
    for seed in REPORTED_ON:
        for life in Life:
            for number in range(8):
                samples = list(reported(car_of(seed, number, life), every_s=60.0))
                confusion[life.value, usage_nature(behaviour(samples, trips(samples))).value] += 1
    recalls = [confusion[life.value, life.value] / (8 * len(REPORTED_ON)) for life in Life]
    assert sum(recalls) / len(recalls) >= 0.95, dict(confusion)


def test_a_profile_gives_reasons_coverage_and_how_it_was_validated() -> None:
    samples = list(reported(car_of(42, 1, Life.RIDE_HAILING)))
    seen = profile(samples)
    assert seen.nature is UsageNature.RIDE_HAILING
    assert "COMMERCIAL_USE_RIDE_HAILING" in seen.reasons
    assert 35 <= seen.risk_score <= 100
    assert seen.behaviour.coverage > 0.9
    assert sum(map(sum, seen.behaviour.speed_transitions)) == pytest.approx(1, abs=0.01)
    assert "simulator" in seen.validation


def test_where_a_private_car_sleeps_is_home() -> None:
    car = car_of(42, 2, Life.PRIVATE)
    samples = list(reported(car))
    seen = behaviour(samples, trips(samples))
    assert seen.main_overnight is not None
    assert distance_km(seen.main_overnight, car.who.home.degrees()) < 1
    assert seen.main_overnight_share > 0.8


def test_nothing_is_said_on_nothing() -> None:
    empty = behaviour([], [])
    assert (empty.days, empty.coverage) == (0, 0.0)
    assert usage_nature(empty) is UsageNature.UNKNOWN
    assert trips([]) == []
    assert odometer_truth([]).plausible


def test_a_gap_ends_a_trip() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    times = [0, 30, 60, 90, 3600, 3630, 3660, 3690]
    samples = [Sample(start + timedelta(seconds=at), 31 + at / 1e5, 121.0, 40.0, 100 + at / 60, True) for at in times]
    assert [(trip.start - start).total_seconds() for trip in trips(samples)] == [0, 3600]


def test_engine_hours_count_what_reports_show() -> None:
    at = (0, 10, 20, 1200, 1210, 1220)  # a gap of twenty minutes shows nothing
    on = (True, True, True, True, False, False)
    samples = [Sample(MONDAY + timedelta(minutes=minute), ignition=state) for minute, state in zip(at, on, strict=True)]
    assert behaviour(samples, ()).engine_hours == round(30 / 60, 2)


@pytest.mark.parametrize(("every_s", "expected"), [(1, 2), (10, None)])
def test_harsh_brakes_are_told_where_reports_are_close(every_s: int, expected: int | None) -> None:
    """Two stops, one of them over two reports: 60 km/h to 46, to 32, to 20; and an ordinary one."""
    speeds = [*[60.0] * 60, 46.0, 32.0, 20.0, *[60.0] * 60, 40.0, *[60.0] * 60, 52.0, 44.0, 36.0]
    samples = [Sample(MONDAY + timedelta(seconds=n * every_s), 31 + n / 1e4, 121.0, speed, ignition=True) for n, speed in enumerate(speeds)]
    drives = trips(samples)
    found = behaviour(samples, drives).harsh_brakes_per_100_km
    way = sum(trip.distance_km for trip in drives)
    assert found == (None if expected is None else pytest.approx(expected / way * 100, abs=0.01))
