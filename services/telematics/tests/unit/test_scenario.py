"""The scenario file: forgiving in how things are written, strict in what they mean; and the faults do what they say."""

import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from carlien_common.domain.errors import DomainError
from carlien_telematics.codecs import gb32960, jt808
from carlien_telematics.simulator.faults import FOREVER_S, RULES, FaultKind
from carlien_telematics.simulator.lives import DAY_S, Life
from carlien_telematics.simulator.motion import NOISE
from carlien_telematics.simulator.scenario import ALIASES, parse_scenario, read_scenario, seconds
from carlien_telematics.simulator.speaking import Gb32960Terminal
from carlien_telematics.simulator.terminal_jt808 import Jt808Terminal
from carlien_telematics.simulator.truth import truth_of

SCHEMA = json.loads(files("carlien_telematics").joinpath("schemas/scenario.schema.json").read_text())
EVERYTHING = yaml.safe_load(
    """
    version: 1
    description: all that can be said
    lives: {private: 2, Ride-Hailing: 1, GOODS: 0.5, rent: 0.5}
    faults:
      - {kind: gap, share: 0.1, start_s: 600, duration_s: 300}
      - {kind: Clock-Skew, offset_s: -28800}
      - {kind: noise, metres: 50, start: 2h, end: 1d 6h}
      - {kind: device_removed, cars: [0, 2], tell: false}
      - {kind: TOW, km: 12.5, start: "3 days"}
      - {kind: odometer rollback, value: 3000}
      - {kind: blocker, counted_share: 0.3}
      - {kind: odometer_glitch, record_share: 0.02}
      - {kind: tunnel, km: 4}
      - {kind: garage}
    """
)
AT = datetime(2026, 3, 2, 4, tzinfo=UTC)


def test_everything_that_is_documented_is_understood_and_fits_the_schema() -> None:
    jsonschema.validate(EVERYTHING, SCHEMA)
    scenario = parse_scenario(EVERYTHING)
    assert scenario.lives == {Life.PRIVATE: 2, Life.RIDE_HAILING: 1, Life.GOODS: 0.5, Life.RENTAL: 0.5}
    gap, skew, noise, removal, tow, rollback, *_ = scenario.faults
    assert (gap.kind, gap.share, gap.start_s, gap.duration_s) == (FaultKind.GAP, 0.1, 600, 300)
    assert skew.value == -28800
    assert (noise.start_s, noise.duration_s) == (7200, DAY_S + 6 * 3600 - 7200)
    assert (removal.cars, removal.tell, removal.duration_s) == (frozenset({0, 2}), False, FOREVER_S)
    assert (tow.start_s, tow.value) == (3 * DAY_S, 12.5)
    assert rollback.value == 3000


def test_the_schema_names_every_kind_and_measure() -> None:
    fault = SCHEMA["$defs"]["fault"]["properties"]
    assert all(kind in fault["kind"]["description"] for kind in FaultKind)
    assert {rule.value_name for rule in RULES.values() if rule.value_name} <= set(fault)
    assert set(ALIASES.values()) <= set(FaultKind)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "scenario must be a mapping"),
        ({"fault": []}, "scenario.fault is not known; did you mean faults?"),
        ({"version": 2}, "version must be 1"),
        ({"lives": {"HOLIDAY": 1}}, "lives.HOLIDAY is not known"),
        ({"lives": {"PRIVATE": 0}}, "at least one share"),
        ({"lives": {"PRIVATE": "x"}}, "lives.PRIVATE 'x' must be a number"),
        ({"faults": {}}, "faults must be a list"),
        ({"faults": ["tow"]}, "faults[0] must be a mapping with a kind"),
        ({"faults": [{"kind": "tows"}]}, "faults[0].kind is not known; did you mean tow?"),
        ({"faults": [{"kind": "tow", "metres": 3}]}, "faults[0].metres is not known"),
        ({"faults": [{"kind": "tow", "share": 1.2}]}, "faults[0].share 1.2 must be a number from 0 to 1"),
        ({"faults": [{"kind": "tow", "km": 1, "value": 2}]}, "state km or value, not both"),
        ({"faults": [{"kind": "gap", "value": 2}]}, "faults[0].value gap has no value"),
        ({"faults": [{"kind": "gap", "start": "2 moons"}]}, "'2 moons' is no time"),
        ({"faults": [{"kind": "gap", "start": 3, "start_s": 3}]}, "state start or start_s, not both"),
        ({"faults": [{"kind": "gap", "start": 30, "end": 20}]}, "faults[0].end must lie after"),
        ({"faults": [{"kind": "gap", "duration": 0}]}, "faults[0].duration must be above 0"),
        ({"faults": [{"kind": "gap", "tell": True}]}, "faults[0].tell"),
        ({"faults": [{"kind": "gap", "cars": ["a"]}]}, "faults[0].cars must be a list of car numbers"),
        ({"faults": [{"kind": "noise", "metres": float("nan")}]}, "faults[0].metres nan"),
    ],
)
def test_what_is_not_understood_is_named(document: Any, where: str) -> None:
    with pytest.raises(DomainError) as refused:
        parse_scenario(document)
    assert refused.value.reason == "SCENARIO"
    assert where in refused.value.message


@pytest.mark.parametrize("text", ["faults: [", "\x00", "- 1"])
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    with pytest.raises(DomainError):
        read_scenario(path)
    with pytest.raises(DomainError):
        read_scenario(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "found"), [(90, 90), ("90", 90), ("90s", 90), ("1.5h", 5400), ("1d 6h 5 min", 108_300), ("2 Weeks", 14 * DAY_S)]
)
def test_times(text: Any, found: float) -> None:
    assert seconds(text, "start") == found


def test_a_tow_happens_to_a_parked_car_without_its_odometer_and_it_stays_there() -> None:
    scenario = parse_scenario({"faults": [{"kind": "tow", "km": 9, "start": "2d"}]})
    car, faults = scenario.car(5, 1, 10 * DAY_S)
    car.read(9 * DAY_S)
    (fault,) = faults.faults
    assert fault.incident is not None
    began = fault.incident.began_s
    assert began is not None
    assert began >= 2 * DAY_S
    before, after = car.read(began - 60), car.read(began + 3600)
    assert not before.ignition
    assert not car.read(began + 300).ignition
    assert before.odometer_km == after.odometer_km == car.read(9 * DAY_S).odometer_km
    moved = ((after.latitude - before.latitude) * 111.32) ** 2 + ((after.longitude - before.longitude) * 111.32 * 0.855) ** 2
    assert moved**0.5 == pytest.approx(9, abs=0.1)
    truth = truth_of("V", 1, car, faults.faults, AT, 10 * DAY_S)["faults"][0]
    assert truth["kind"] == "tow"
    assert truth["expected_alert"] == "TOW"
    assert truth["observable"]


def test_a_crash_ends_a_drive_and_a_standstill_has_none() -> None:
    scenario = parse_scenario({"faults": [{"kind": "crash", "start": 0, "duration": "2d"}, {"kind": "standstill", "start": "4d"}]})
    car, faults = scenario.car(5, 2, 10 * DAY_S)
    trips = car.trips(10 * DAY_S)
    crash = faults.faults[0].incident
    assert crash is not None
    assert crash.began_s is not None
    assert any(trip.start_s < crash.began_s <= trip.end_s for trip in trips)
    assert not any(crash.began_s < trip.start_s < crash.until_s for trip in trips)
    assert all(trip.start_s < 4 * DAY_S for trip in trips)
    assert "COLLISION" in faults.shown(car, crash.began_s + 10).alarms


def test_a_removed_device_says_that_it_lost_the_car_and_then_nothing() -> None:
    car, faults = parse_scenario({"faults": [{"kind": "removal", "start": "1h"}]}).car(5, 3, DAY_S)
    assert faults.shown(car, 3599).car_data
    tell = faults.shown(car, 3700)
    assert (tell.car_data, tell.silent) == (False, False)
    assert faults.shown(car, 3601 + 700).silent


def test_a_removed_device_that_reports_seldom_still_tells_once() -> None:
    car, faults = parse_scenario({"faults": [{"kind": "removal", "start": "1h"}]}).car(5, 3, DAY_S)
    assert not faults.shown(car, 3600 * 3).silent
    assert faults.shown(car, 3600 * 4).silent


def test_the_speed_is_the_derivative_of_the_way() -> None:
    car, _ = parse_scenario(None).car(5, 4, DAY_S)
    trip = max(car.trips(DAY_S), key=lambda trip: trip.distance_km)
    at = [trip.start_s + second for second in range(int(trip.end_s - trip.start_s))]
    way = sum(car.read(second).speed_kmh / 3600 for second in at)
    assert way == pytest.approx(trip.distance_km, rel=0.03)
    assert NOISE == {"position_m": 4.0, "speed_kmh": 0.8, "odometer_share": 0.002}


def test_both_terminals_say_the_same() -> None:
    car, faults = parse_scenario({"faults": [{"kind": "antenna_cut", "start": 0}]}).car(5, 4, DAY_S)
    trip = car.trips(DAY_S)[0]
    shown = faults.shown(car, (trip.start_s + trip.end_s) / 2)
    raw = Gb32960Terminal("LSVNV2187E2100001", "8986").record(shown, AT)
    units = gb32960.decode_record(gb32960.Version.V2016, gb32960.trusted(raw).data).units
    said = jt808.decode_position(jt808.parse(Jt808Terminal("013912345678", "CODE").record(shown, AT)).body)
    assert units["vehicle"]["speed_kmh"] == said["speed_kmh"] == shown.reading.speed_kmh
    assert units["vehicle"]["odometer_km"] == said["odometer_km"] == shown.reading.odometer_km
    assert units["position"]["fix_valid"] is said["fix_valid"] is False
    assert said["alarms"] == ("GPS_ANTENNA_CUT",)
