from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.domain.car import ACCIDENT_GRADE, Car, Usage
from carlien_valuation.domain.corrections import corrected
from carlien_valuation.domain.vehicle_file import Accident, Facts, Record, RecordKind, conflicts, facts

START = datetime(2020, 1, 1, tzinfo=UTC)
VIN = "1M8GDM9AXKP042788"
Kind = RecordKind


def record(day: int, kind: Kind = Kind.MAINTENANCE, source: str = "workshop", **stated: Any) -> Record:
    at = START + timedelta(days=day)
    return Record(f"{source}-{day}", VIN, kind, source, f"{source}-{day}", at, at, **stated)


def codes(*records: Record) -> list[str]:
    return [conflict.code for conflict in conflicts(records)]


def test_an_odometer_that_was_turned_back_between_sources_is_shown_with_both_records() -> None:
    history = (
        record(100, odometer_km=30_000),
        record(400, Kind.INSPECTION, "state", odometer_km=62_000),
        record(500, Kind.LISTING, "dealer", odometer_km=38_000),
    )
    (conflict,) = conflicts(history)
    assert (conflict.code, conflict.record_ids) == ("ODOMETER_ROLLBACK", ("state-400", "dealer-500"))
    assert "62000 km" in conflict.message
    assert facts(history, START + timedelta(days=600)).odometer_km == 62_000


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 300)), min_size=2, max_size=12))
def test_readings_that_never_fall_never_conflict(steps: list[tuple[int, int]]) -> None:
    day, km = 0, 1_000
    history: list[Record] = []
    for days, per_day in steps:
        day, km = day + days, km + per_day * days
        history.append(record(day, source=f"s{len(history) % 3}", odometer_km=km))
    assert codes(*history) == []
    assert facts(history, START + timedelta(days=day)).odometer_km == km


@settings(deadline=None)
@given(
    readings=st.lists(st.integers(20_000, 200_000), min_size=3, max_size=10, unique=True).map(sorted),
    place=st.integers(1, 9),
    back=st.integers(1_000, 15_000),
)
def test_a_real_fall_is_always_found_wherever_it_happens(readings: list[int], place: int, back: int) -> None:
    place = 1 + (place - 1) % (len(readings) - 1)
    history = [record(500 * at, odometer_km=km) for at, km in enumerate(readings)]
    history[place] = record(500 * place, source="cheat", odometer_km=readings[place - 1] - back)
    assert "ODOMETER_ROLLBACK" in codes(*history)


def test_rounding_in_an_advertisement_and_a_slip_of_the_pen_are_no_rollback() -> None:
    assert codes(record(1, odometer_km=60_400), record(2, Kind.LISTING, "site", odometer_km=60_000)) == []
    slip = (record(1, odometer_km=60_000), record(3, odometer_km=610_000), record(200, odometer_km=64_000))
    assert codes(*slip) == []
    assert facts(slip, START + timedelta(days=300)).odometer_km == 64_000


def test_an_accident_that_is_kept_silent_is_shown_and_one_that_came_later_is_not() -> None:
    claim = record(100, Kind.INSURANCE_CLAIM, "insurer", accident=Accident.STRUCTURAL)
    before = record(50, Kind.LISTING, "site", accident=Accident.NONE)
    after = record(300, Kind.LISTING, "dealer", accident=Accident.NONE)
    assert codes(before, claim) == []
    assert codes(claim, after) == ["ACCIDENT_UNDECLARED"]
    assert codes(claim, record(300, Kind.INSPECTION, "station", grade=2)) == ["ACCIDENT_UNDECLARED"]
    assert codes(record(100, Kind.INSURANCE_CLAIM, "insurer", accident=Accident.MINOR), after) == []


def test_registration_use_and_disposal_are_checked_across_sources() -> None:
    assert codes(
        record(1, Kind.REGISTRATION, "office", first_registration=date(2019, 3, 1)),
        record(9, Kind.LISTING, "site", first_registration=date(2020, 3, 1)),
    ) == ["REGISTRATION_CONFLICT"]
    private = record(1, Kind.REGISTRATION, "office", usage=Usage.PRIVATE)
    driven = record(90, Kind.TELEMATICS_PROFILE, "telematics", usage=Usage.RIDE_HAILING)
    assert codes(private, driven) == ["USAGE_UNDECLARED"]
    assert facts([private, driven], START + timedelta(days=99)).usage is Usage.RIDE_HAILING
    gone = record(100, Kind.DEREGISTRATION, "office")
    assert codes(gone, record(101, odometer_km=1)) == ["RECORD_AFTER_DISPOSAL"]


@settings(deadline=None)
@given(days=st.lists(st.integers(0, 3000), min_size=1, max_size=8, unique=True).map(sorted), at=st.integers(0, 3000))
def test_what_came_later_was_not_known_then(days: list[int], at: int) -> None:
    history = [record(day, odometer_km=1_000 + day, transfer_count=place) for place, day in enumerate(days)]
    known = [day for day in days if day <= at]
    found = facts(history, START + timedelta(days=at))
    assert found.odometer_km == (1_000 + known[-1] if known else None)
    assert found.transfer_count == (len(known) - 1 if known else None)


def test_an_old_inspection_grades_no_car_and_damage_grades_it_for_ever() -> None:
    inspected = record(0, Kind.INSPECTION, "station", grade=3)
    assert facts([inspected], START + timedelta(days=300)).grade == 3
    assert facts([inspected], START + timedelta(days=400)).grade is None
    damaged = record(0, Kind.INSURANCE_CLAIM, "insurer", accident=Accident.STRUCTURAL)
    assert facts([damaged], START + timedelta(days=4000)).grade == ACCIDENT_GRADE


CAR = Car(VIN, "Make", "Model", odometer_km=50_000, grade=2)


@pytest.mark.parametrize(
    ("known", "changed", "remarks", "doubtful"),
    [
        (Facts(), {}, [], False),
        (Facts(odometer_km=49_000, grade=2), {}, [], False),
        (Facts(odometer_km=80_000), {"odometer_km": 80_000}, ["ODOMETER_BELOW_FILE"], True),
        (Facts(grade=3), {}, ["CONDITION_DISPUTED"], True),
        (Facts(grade=5, accident=True), {"grade": 5}, ["ACCIDENT_UNDECLARED"], True),
        (Facts(usage=Usage.COMMERCIAL_TAXI), {"usage": Usage.COMMERCIAL_TAXI}, ["USAGE_FROM_FILE"], False),
        (Facts(transfer_count=2, soh=Decimal("0.9")), {"transfer_count": 2}, [], False),
        (Facts(disposed_at=START), {}, ["DISPOSED"], True),
    ],
)
def test_the_worse_of_file_and_description_holds_and_is_said(
    known: Facts, changed: dict[str, Any], remarks: list[str], doubtful: bool
) -> None:
    car, said, doubts = corrected(CAR, known)
    assert {name: getattr(car, name) for name in changed} == changed
    assert ([remark.code for remark in said], doubts) == (remarks, doubtful)
    assert car.odometer_km is not None
    assert car.odometer_km >= 50_000


def test_what_is_not_stated_comes_from_the_file() -> None:
    car, said, doubts = corrected(Car(VIN, "Make", "Model"), Facts(odometer_km=7, grade=3, first_registration=date(2020, 1, 1)))
    assert (car.odometer_km, car.grade, car.first_registration, doubts) == (7, 3, date(2020, 1, 1), False)
    assert [remark.code for remark in said] == ["CONDITION_FROM_FILE", "ODOMETER_FROM_FILE"]
    assert all(a.code < b.code for a, b in pairwise(said))
