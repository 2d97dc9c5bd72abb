"""Golden vectors and round trips of the GB/T 32960 codec."""

from array import array
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.gb32960 import Command, Frame, Response, Version, tables
from carlien_telematics.codecs.gb32960.layout import Bits, Code, Layout, Number
from carlien_telematics.codecs.gb32960.units import UNITS_2016, UNITS_2025

VIN = b"LSVNV2187E2100001"
TIMES = st.integers(1_000_000_000, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
_TOP = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}


def values_of(layout: Layout) -> st.SearchStrategy[dict[str, Any]]:
    """Every value a layout can hold, missing ones included."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for part in layout.parts:
        if isinstance(part, Bits):
            for name, _shift, _mask, table in part.parts:
                fields[name] = st.sampled_from(table)
        elif isinstance(part, Code):
            fields[part.name] = st.one_of(st.none(), st.sampled_from(sorted(part.names.values())), st.integers(10, 0xFD))
        else:
            fields[part.name] = st.one_of(st.none(), st.integers(0, _TOP[part.code] - 2).map(partial(number, part)))
    return st.fixed_dictionaries(fields)


def number(part: Number, raw: int) -> float:
    return (raw - part.zero) / part.divisor if part.divisor != 1 else raw - part.zero


CELSIUS = st.lists(st.one_of(st.none(), st.integers(-40, 210)), max_size=8).map(tuple)
MILLIVOLTS = st.lists(st.one_of(st.none(), st.integers(0, 0xFFFD)), max_size=8).map(tuple)
POSITION = {
    "fix_valid": st.booleans(),
    "latitude": st.one_of(st.none(), st.integers(-90_000_000, 90_000_000).map(lambda micro: micro / 1e6)),
    "longitude": st.one_of(st.none(), st.integers(-180_000_000, 180_000_000).map(lambda micro: micro / 1e6)),
}
FAULTS = st.lists(st.binary(min_size=4, max_size=4).map(bytes.hex), max_size=3)


def with_list(head: Layout, **lists: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(values_of(head), st.fixed_dictionaries(lists)).map(lambda pair: pair[0] | pair[1])


def alarms(names: tuple[str, ...], levels: bool) -> st.SearchStrategy[dict[str, Any]]:
    bits = st.sets(st.integers(0, 31)).map(lambda bits: [names[b] if b < len(names) else f"BIT_{b}" for b in sorted(bits)])
    fields: dict[str, st.SearchStrategy[Any]] = {"level": st.one_of(st.none(), st.integers(0, 3)), "flags": bits}
    fields |= dict.fromkeys(("battery_faults", "motor_faults", "engine_faults", "other_faults"), FAULTS)
    if levels:
        fields["levels"] = st.lists(st.fixed_dictionaries({"alarm": st.sampled_from(names), "level": st.integers(0, 4)}), max_size=3)
    return st.fixed_dictionaries(fields)


BLOCKS = st.lists(
    st.fixed_dictionaries({"type": st.integers(0x80, 0xFE), "data": st.binary(max_size=20).map(bytes.hex)}), min_size=1, max_size=3
)
UNITS: dict[Version, dict[str, st.SearchStrategy[Any]]] = {
    Version.V2016: {
        "vehicle": values_of(tables.VEHICLE_2016),
        "motors": st.lists(values_of(tables.MOTOR_2016), max_size=3),
        "fuel_cell": st.tuples(with_list(tables.FUEL_CELL_HEAD_2016, probe_celsius=CELSIUS), values_of(tables.FUEL_CELL_TAIL_2016)).map(
            lambda p: p[0] | p[1]
        ),
        "engine": values_of(tables.ENGINE_2016),
        "position": st.fixed_dictionaries(POSITION),
        "extremes": values_of(tables.EXTREMES_2016),
        "alarms": alarms(tables.ALARMS_2016, levels=False),
        "cell_voltages": st.lists(with_list(tables.CELLS_HEAD_2016, cell_millivolts=MILLIVOLTS), max_size=3),
        "probe_temperatures": st.lists(
            st.fixed_dictionaries({"pack": st.one_of(st.none(), st.integers(0, 250)), "probe_celsius": CELSIUS}), max_size=3
        ),
        "user_defined": BLOCKS,
    },
    Version.V2025: {
        "vehicle": values_of(tables.VEHICLE_2025),
        "motors": st.lists(values_of(tables.MOTOR_2025), max_size=3),
        "fuel_cell": values_of(tables.FUEL_CELL_2025),
        "engine": values_of(tables.ENGINE_2025),
        "position": st.fixed_dictionaries(POSITION | {"coordinate_system": st.sampled_from(("WGS84", "GCJ02", "OTHER"))}),
        "alarms": alarms(tables.ALARMS_2025, levels=True),
        "cell_voltages": st.lists(with_list(tables.CELLS_HEAD_2025, cell_millivolts=MILLIVOLTS), max_size=3),
        "probe_temperatures": st.lists(
            st.fixed_dictionaries({"pack": st.one_of(st.none(), st.integers(0, 250)), "probe_celsius": CELSIUS}), max_size=3
        ),
        "fuel_cell_stacks": st.lists(with_list(tables.STACK_HEAD_2025, coolant_celsius=CELSIUS), max_size=3),
        "supercapacitor": with_list(tables.SUPERCAPACITOR_HEAD, cell_millivolts=MILLIVOLTS, probe_celsius=CELSIUS),
        "supercapacitor_extremes": values_of(tables.SUPERCAPACITOR_EXTREMES),
        "user_defined": BLOCKS,
        "signature": st.fixed_dictionaries(
            {
                "algorithm": st.sampled_from(("SM2", "RSA", "ECC")),
                "r": st.binary(max_size=40).map(bytes.hex),
                "s": st.binary(max_size=40).map(bytes.hex),
            }
        ),
    },
}


def plain(value: Any) -> Any:
    """The same with tuples for arrays."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return tuple(value) if isinstance(value, array) else value


@st.composite
def records(draw: st.DrawFn) -> tuple[Version, datetime, dict[str, Any]]:
    version = draw(st.sampled_from(Version))
    return version, draw(TIMES), draw(st.fixed_dictionaries({}, optional=UNITS[version]))


def test_every_unit_of_both_editions_has_a_round_trip() -> None:
    assert {unit.name for unit in UNITS_2016.values()} | {"user_defined"} == set(UNITS[Version.V2016])
    assert {unit.name for unit in UNITS_2025.values()} | {"user_defined"} == set(UNITS[Version.V2025])


@given(records())
def test_a_record_survives_encoding_and_decoding(record: tuple[Version, datetime, dict[str, Any]]) -> None:
    version, at, units = record
    decoded = gb32960.decode_record(version, gb32960.encode_record(version, at, units))
    assert (decoded.device_time, plain(decoded.units), decoded.undecoded) == (at, units, "")


@given(records(), st.data())
def test_a_cut_data_unit_keeps_what_stood_before_the_cut(record: tuple[Version, datetime, dict[str, Any]], data: st.DataObject) -> None:
    version, at, units = record
    whole = gb32960.encode_record(version, at, units)
    cut = data.draw(st.integers(6, len(whole)))
    decoded = gb32960.decode_record(version, whole[:cut])
    rest = bytes.fromhex(decoded.undecoded)
    assert whole[:cut].endswith(rest)
    assert (decoded.undecoded_reason is None) == (not rest)


@given(st.sampled_from(Version), st.binary(max_size=200))
def test_no_bytes_break_the_walk(version: Version, junk: bytes) -> None:
    at = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert gb32960.decode_record(version, gb32960.encode_time(at) + junk).device_time == at


def test_golden_vehicle_motor_position() -> None:
    """By hand from tables 9 to 15 of the 2016 edition; time 2019-01-16 11:23:33 in China."""
    data = bytes.fromhex(
        "130110 0b1721 "
        "01 01 03 01 0123 000011d7 1874 2706 37 01 2e 1ce2 00 1e "
        "02 01 01 02 53 4e20 4cae 7e 156c 2710 "
        "05 00 073d35f5 01dee6ca"
    )
    record = gb32960.decode_record(Version.V2016, data)
    assert record.device_time == datetime(2019, 1, 16, 3, 23, 33, tzinfo=UTC)
    assert record.units["vehicle"] == {
        "vehicle_state": "STARTED",
        "charge_state": "NOT_CHARGING",
        "drive_mode": "ELECTRIC",
        "speed_kmh": 29.1,
        "odometer_km": 456.7,
        "voltage_v": 626.0,
        "current_a": -1.0,
        "soc_percent": 55,
        "dcdc_state": "WORKING",
        "gear": "D",
        "braking_force": False,
        "driving_force": True,
        "insulation_kohm": 7394,
        "accelerator_percent": 0,
        "brake_pedal_percent": 30,
    }
    assert record.units["motors"][0]["torque_nm"] == -37.0
    assert record.units["motors"][0]["temperature_c"] == 86
    assert record.units["position"] == {"fix_valid": True, "longitude": 121.452021, "latitude": 31.38529}


def test_sentinels_are_missing_with_their_reason() -> None:
    data = bytes.fromhex("1301100b1721 01 ff fe ff ffff fffffffe fffe ffff fe ff 00 ffff fe ff")
    record = gb32960.decode_record(Version.V2016, data)
    vehicle = record.units["vehicle"]
    assert [name for name, value in vehicle.items() if value is None] == [name.removeprefix("vehicle.") for name in record.missing]
    assert record.missing["vehicle.speed_kmh"] == "INVALID"
    assert record.missing["vehicle.odometer_km"] == "ABNORMAL"
    assert record.missing["vehicle.charge_state"] == "ABNORMAL"


def test_a_user_defined_block_whose_length_lies_is_kept_as_bytes() -> None:
    record = gb32960.decode_record(Version.V2016, bytes.fromhex("1301100b1721 04 01 0320 ffff 81 0100 0203"))
    assert record.units["engine"]["crankshaft_rpm"] == 800
    assert (record.undecoded, record.undecoded_reason) == ("8101000203", gb32960.Undecoded.USER_DEFINED_LENGTH)


def test_parts_of_a_pack_are_joined() -> None:
    parts = [
        {"pack": 1, "cells_in_pack": 5, "first_cell": 4, "cell_millivolts": (3303, 3304)},
        {"pack": 1, "cells_in_pack": 5, "first_cell": 1, "cell_millivolts": (3300, None)},
    ]
    assert gb32960.join_cell_voltages(parts) == {1: [3300, None, None, 3303, 3304]}


@given(
    st.sampled_from(Version),
    st.builds(gb32960.Login, TIMES, st.integers(0, 0xFFFF), st.text("0123456789", min_size=20, max_size=20), st.just(())),
    st.lists(st.text("ABC123", min_size=24, max_size=24), max_size=3).map(tuple),
)
def test_login_round_trip(version: Version, login: gb32960.Login, packs: tuple[str, ...]) -> None:
    login = gb32960.Login(login.device_time, login.serial, login.iccid, packs)
    assert gb32960.decode_login(version, gb32960.encode_login(version, login)) == login


@given(st.builds(gb32960.Logout, TIMES, st.integers(0, 0xFFFF)))
def test_logout_round_trip(logout: gb32960.Logout) -> None:
    assert gb32960.decode_logout(gb32960.encode_logout(logout)) == logout


@given(
    st.builds(
        gb32960.PlatformLogin, TIMES, st.integers(0, 0xFFFF), st.text("ab1", max_size=12), st.text("ab1", max_size=20), st.integers(1, 5)
    )
)
def test_platform_login_round_trip(login: gb32960.PlatformLogin) -> None:
    assert gb32960.decode_platform_login(gb32960.encode_platform_login(login)) == login


@given(st.builds(gb32960.KeyExchange, st.integers(1, 5), st.binary(max_size=256), TIMES, TIMES))
def test_key_exchange_round_trip(exchange: gb32960.KeyExchange) -> None:
    assert gb32960.decode_key_exchange(gb32960.encode_key_exchange(exchange)) == exchange


@pytest.mark.parametrize("month", [0, 13])
def test_a_time_that_is_none_is_refused(month: int) -> None:
    with pytest.raises(FrameError) as refused:
        gb32960.decode_record(Version.V2016, bytes((19, month, 1, 0, 0, 0)))
    assert refused.value.reason is Reason.DEVICE_TIME


def test_an_acknowledgement_carries_command_vin_and_time_of_what_it_answers() -> None:
    raw = gb32960.build(Frame(Version.V2016, Command.REALTIME, Response.COMMAND, VIN, 1, bytes.fromhex("1301100b1721") + b"\x80\0\1x"))
    answer = gb32960.parse(gb32960.acknowledge(raw, Response.SUCCESS))
    assert answer == Frame(Version.V2016, Command.REALTIME, Response.SUCCESS, VIN, 1, bytes.fromhex("1301100b1721"))


def test_a_heartbeat_is_answered_empty_and_a_time_check_with_the_platforms_time() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    heartbeat = gb32960.build(Frame(Version.V2025, Command.HEARTBEAT, Response.COMMAND, VIN, 1, b""))
    assert gb32960.parse(gb32960.acknowledge(heartbeat, Response.SUCCESS)).data == b""
    check = gb32960.build(Frame(Version.V2016, Command.TIME_CHECK, Response.COMMAND, VIN, 1, b""))
    assert gb32960.decode_time(gb32960.parse(gb32960.acknowledge(check, Response.SUCCESS, at)).data) == at


def test_readdressing_changes_the_vin_and_nothing_else() -> None:
    raw = gb32960.build(Frame(Version.V2016, Command.REALTIME, Response.COMMAND, VIN, 1, bytes.fromhex("1301100b1721")))
    other = gb32960.parse(gb32960.readdress(raw, "LJ12EKR10D4000002"))
    assert other == Frame(Version.V2016, Command.REALTIME, Response.COMMAND, b"LJ12EKR10D4000002", 1, raw[24:-1])


def test_a_signature_covers_what_stands_before_it() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    plain = gb32960.encode_record(Version.V2025, at, {"engine": {"crankshaft_rpm": 900}})
    signed = gb32960.encode_record(
        Version.V2025, at, {"engine": {"crankshaft_rpm": 900}, "signature": {"algorithm": "SM2", "r": "01", "s": "02"}}
    )
    assert gb32960.signed_bytes(signed, Version.V2025) == plain
    assert gb32960.signed_bytes(plain, Version.V2025) is None
