"""Frames of VSS signals: round trip, what is refused, and what becomes of them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_telematics.codecs import vss
from carlien_telematics.codecs.errors import FrameError
from carlien_telematics.codecs.vss import VssFrame
from carlien_telematics.service.recording import ReceivedFrame, read_frame

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PATHS = st.from_regex(r"Vehicle(\.[A-Z][a-z]{1,8}){1,3}", fullmatch=True).filter(
    lambda path: path not in vss.RANGES and path != vss.POWER_STATE
)
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=20).filter(str.isprintable),
)


@given(st.dictionaries(PATHS, VALUES, max_size=8), st.datetimes(timezones=st.just(UTC)), st.booleans())
def test_a_frame_survives_the_topic(signals: dict[str, vss.Value], at: datetime, late: bool) -> None:
    frame = VssFrame(at, "6.0", signals, late)
    raw = vss.encode(frame)
    assert vss.decode(raw) == frame
    shuffled = VssFrame(at, "6.0", dict(reversed(signals.items())), not late)
    assert vss.said_bytes(vss.encode(shuffled)) == vss.said_bytes(raw)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("Speed", 1.0, "VSS_PATH"),
        ("Vehicle", 1.0, "VSS_PATH"),
        ("Vehicle.Speed.", 1.0, "VSS_PATH"),
        ("Vehicle." + "a" * 65, 1.0, "VSS_PATH"),
        ("Vehicle.Speed", "50", "VSS_TYPE"),
        ("Vehicle.Speed", True, "VSS_TYPE"),
        ("Vehicle.LowVoltageSystemState", 1.0, "VSS_TYPE"),
        ("Vehicle.Speed", float("nan"), "VSS_RANGE"),
        ("Vehicle.Cabin.Temperature", float("inf"), "VSS_RANGE"),
        ("Vehicle.CurrentLocation.Latitude", 90.1, "VSS_RANGE"),
        ("Vehicle.Cabin.Note", "x" * 257, "VSS_RANGE"),
        ("Vehicle.Cabin.Note", "a\x00b", "VSS_RANGE"),
    ],
)
def test_a_signal_that_can_not_be_one_says_why(path: str, value: vss.Value, reason: str) -> None:
    with pytest.raises(vss.SignalError) as refused:
        vss.check_signal(path, value)
    assert refused.value.reason == reason


@given(st.binary(max_size=100))
def test_other_bytes_are_no_frame(raw: bytes) -> None:
    with pytest.raises(FrameError):
        vss.decode(raw)


def test_signals_become_the_units_every_protocol_has() -> None:
    signals: dict[str, vss.Value] = {
        "Vehicle.Speed": -12.5,
        "Vehicle.TraveledDistance": 41_000.5,
        "Vehicle.LowVoltageSystemState": "ON",
        "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current": 71.0,
        "Vehicle.CurrentLocation.Latitude": 31.2,
        "Vehicle.CurrentLocation.Longitude": 121.5,
        "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure": 250.0,
    }
    (record,) = read_frame(ReceivedFrame("V", "D", "OEM_API", vss.encode(VssFrame(AT, "6.0", signals)), AT))
    assert record.units["vehicle"] == {"vehicle_state": "STARTED", "speed_kmh": 12.5, "odometer_km": 41_000.5, "soc_percent": 71.0}
    assert record.position is not None
    assert (record.position.latitude, record.position.longitude) == (31.2, 121.5)
    assert record.units["vss"] == {"version": "6.0", "signals": signals}
    (late,) = read_frame(ReceivedFrame("V", "D", "OEM_API", vss.encode(VssFrame(AT, "6.0", signals, True)), AT))
    assert (late.digest, late.reissued) == (record.digest, True)
