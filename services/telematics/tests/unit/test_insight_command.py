"""`carlien-insight`, and the detectors on a small fleet of a seed that no threshold was chosen on."""

import json
from pathlib import Path
from typing import Any

import pytest

from carlien_telematics.commands import insight
from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.simulator.scenario import parse_scenario
from carlien_telematics.simulator.validation import Cadence, Outcome, run_car

INCIDENTS = [
    {"kind": "tow", "cars": [0, 1], "km": 6},
    {"kind": "removal", "cars": [2, 3]},
    {"kind": "rollback", "cars": [4, 5], "km": 900},
    {"kind": "power_cut", "cars": [6], "duration": "3h"},
    {"kind": "crash", "cars": [7]},
    {"kind": "antenna_cut", "cars": [8], "duration": "8h"},
]
DECOYS = [
    {"kind": "gap", "duration": "5h"},
    {"kind": "tunnel", "start": 0},
    {"kind": "odometer_glitch", "start": 0},
    {"kind": "noise", "metres": 25, "start": 0},
    {"kind": "garage", "cars": [9, 10, 11], "start": 0},
]


def test_incidents_are_found_among_decoys_and_nothing_else_is() -> None:
    scenario = parse_scenario({"faults": [*INCIDENTS, *DECOYS]})
    outcome = Outcome()
    for car in range(12):
        outcome.add(run_car(scenario, 407, car, 6, Cadence(driving_s=30)))
    assert {kind: outcome.recall(kind) for kind in outcome.expected} == dict.fromkeys(
        ("TOW", "DEVICE_REMOVED", "ODOMETER_ROLLBACK", "POWER_CUT", "CRASH", "ANTENNA_CUT"), 1.0
    )
    assert {kind: count for kind, count in outcome.false.items() if count and kind != AlertKind.OFFLINE} == {}


def test_the_battery_estimate_on_packs_whose_capacity_was_measured(carlien_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert insight.main(["battery", "--data", str(carlien_data / "battery" / "baticm_10ev"), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["packs"] == 10
    assert report["mae_whole_charge"] < 2.5
    assert 0.75 <= report["coverage80_stretches"] <= 0.95


def test_a_run_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    code = insight.main(["detection", "--seeds", "901", "--cars", "2", "--days", "2", "--workers", "1", "--report", str(path)])
    report = json.loads(path.read_text())
    assert code == (0 if report["met"] else 1)
    assert report["car_months"] == pytest.approx(0.1, abs=0.05)
    assert "TOW" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--seeds", "1,500"], ["--seeds", "x"], ["--cars", "0"]])
def test_wrong_usage(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        insight.main(["detection", *wrong])
    assert stopped.value.code == 2


def test_no_data_is_an_error_that_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert insight.main(["battery", "--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
