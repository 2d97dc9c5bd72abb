"""OBD logs by mapping: columns, units, times, and rows that can't be read."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carlien_common.domain.errors import DomainError
from carlien_telematics.commands import device, obd_log

MAPPING = """
vss_version: "6.0"
time: {column: at, format: "%d.%m.%Y %H:%M:%S", utc_offset_hours: 8}
missing: ["n/a"]
fields:
  Vehicle.Speed: {column: speed_mph, scale: 1.609344}
  Vehicle.OBD.EngineSpeed: {column: rpm, extract: "([0-9.]+)"}
  Vehicle.OBD.CoolantTemperature: {column: coolant_f, scale: 0.5555555555555556, offset: -17.77777777777778}
  Vehicle.LowVoltageSystemState: {column: key, kind: text, values: {"1": "ON", "0": "OFF"}}
  Vehicle.OBD.IsMILOn: {column: mil, kind: flag}
  Vehicle.OBD.Source: {constant: dongle}
"""
CSV = "at,speed_mph,rpm,coolant_f,key,mil\n02.01.2026 08:00:00,50,1500 rpm,212,1,no\n02.01.2026 08:00:01,n/a,,n/a,0,on\n"


def load(tmp_path: Path, text: str = MAPPING) -> obd_log.LogMapping:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return obd_log.load_mapping(path)


def test_a_csv_log_becomes_frames_in_the_units_of_the_specification(tmp_path: Path) -> None:
    mapping = load(tmp_path)
    first, second = (obd_log.frame(row, n, mapping) for n, row in enumerate(obd_log.rows(CSV, mapping)))
    assert first.device_time == datetime(2026, 1, 2, 0, 0, 0, tzinfo=UTC)
    assert first.signals == {
        "Vehicle.Speed": pytest.approx(80.4672),
        "Vehicle.OBD.EngineSpeed": 1500.0,
        "Vehicle.OBD.CoolantTemperature": pytest.approx(100.0),
        "Vehicle.LowVoltageSystemState": "ON",
        "Vehicle.OBD.IsMILOn": False,
        "Vehicle.OBD.Source": "dongle",
    }
    assert second.signals == {"Vehicle.LowVoltageSystemState": "OFF", "Vehicle.OBD.IsMILOn": True, "Vehicle.OBD.Source": "dongle"}


@pytest.mark.parametrize("as_lines", [False, True])
def test_a_json_log_is_the_same(tmp_path: Path, as_lines: bool) -> None:
    mapping = load(tmp_path)
    objects = [dict(zip(CSV.split("\n")[0].split(","), line.split(","), strict=True)) for line in CSV.split("\n")[1:3]]
    text = "\n".join(map(json.dumps, objects)) if as_lines else json.dumps(objects)
    frames = [obd_log.frame(row, n, mapping) for n, row in enumerate(obd_log.rows(text, mapping))]
    assert frames == [obd_log.frame(row, n, mapping) for n, row in enumerate(obd_log.rows(CSV, mapping))]


@pytest.mark.parametrize(
    ("time", "cell", "wanted"),
    [
        ("{column: at, format: iso}", "2026-01-02T08:00:00+08:00", "2026-01-02T00:00:00+00:00"),
        ("{column: at, format: unix}", "1767312000", "2026-01-02T00:00:00+00:00"),
        ("{column: at, format: unix_ms}", "1767312000500", "2026-01-02T00:00:00.500000+00:00"),
        ("{column: at, format: seconds, start: 2026-01-02T08:00:00+08:00}", "1.5", "2026-01-02T00:00:01.500000+00:00"),
        ("{every_s: 2, start: 2026-01-02T08:00:00+08:00}", "", "2026-01-02T00:00:06+00:00"),
    ],
)
def test_times(tmp_path: Path, time: str, cell: str, wanted: str) -> None:
    mapping = load(tmp_path, f"{{vss_version: '6.0', time: {time}, fields: {{Vehicle.Speed: {{column: v}}}}}}")
    assert obd_log.frame({"at": cell, "v": "1"}, 3, mapping).device_time.isoformat() == wanted


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"at": "yesterday", "v": "1"}, "TIME"),
        ({"at": "2026-01-02", "v": "fast"}, "CELL"),
        ({"at": "2026-01-02", "v": "600"}, "VSS_RANGE"),
        ({"at": "2026-01-02", "v": ""}, "EMPTY"),
        ({"at": "2026-01-02"}, "COLUMN"),
        ({"at": "2026-01-02", "v": "nan"}, "VSS_RANGE"),
    ],
)
def test_a_row_that_gives_no_frame_says_why(tmp_path: Path, row: obd_log.Row, reason: str) -> None:
    mapping = load(tmp_path, "{vss_version: '6.0', time: {column: at, format: iso}, fields: {Vehicle.Speed: {column: v}}}")
    with pytest.raises(obd_log.RowError) as refused:
        obd_log.frame(row, 0, mapping)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [", "not YAML"),
        ("{vss_version: '6.0', time: {column: t, format: iso}, fields: {Speed: {column: v}}}", "Speed"),
        ("{vss_version: '7', time: {column: t, format: iso}, fields: {Vehicle.Speed: {column: v}}}", "vss_version"),
        ("{vss_version: '6.0', time: {column: t, format: seconds}, fields: {Vehicle.Speed: {column: v}}}", "start"),
        ("{vss_version: '6.0', time: {every_s: 1, start: '2026-01-02'}, fields: {Vehicle.Speed: {column: v}}}", "time zone"),
        ("{vss_version: '6.0', time: {column: t, format: iso}, fields: {Vehicle.Speed: {column: v, extract: '('}}}", "regular expression"),
    ],
)
def test_a_mapping_that_can_not_be_used_names_its_faults(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(DomainError, match=fault):
        load(tmp_path, text)


def test_every_trip_of_the_real_log_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(os.environ.get("CARLIEN_DATA") or Path(__file__).parents[5] / "shared" / "data") / "telematics" / "carobd"
    trips = sorted(data.glob("drive*.csv"))
    if not trips:
        pytest.skip(f"no OBD trips in {data}")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "{vss_version: '6.0', time: {every_s: 1, start: 2014-06-01T08:00:00+08:00}, fields: {\n"
        "  Vehicle.Speed: {column: 'VEHICLE_SPEED ()'}, Vehicle.OBD.EngineSpeed: {column: 'ENGINE_RPM ()'},\n"
        "  Vehicle.OBD.ControlModuleVoltage: {column: 'CONTROL_MODULE_VOLTAGE ()'}}}"
    )
    for trip in trips:
        arguments = ["import-obd", "--mapping", str(mapping), "--device", "O", "--vin", "V", "--dry-run", "--json", str(trip)]
        assert device.main(arguments) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["rows"] > 100
        assert said["unreadable"] == {}
