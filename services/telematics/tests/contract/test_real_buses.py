"""Every uplink frame of a live bus platform over a real socket, through the broker, into the database."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from carlien.telematics.v1 import telematics_service_pb2
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Response
from carlien_telematics.testing.gateway import Device, login
from carlien_telematics.testing.service import ICCID, Service

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

NO_VIN = "\0" * 17


@pytest.fixture(scope="module")
def lines(carlien_data: Path) -> list[dict[str, Any]]:
    path = carlien_data / "protocols" / "gb32960_36node" / "frames.jsonl"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_whole(line: dict[str, Any]) -> bool:
    return bool(line["len_ok"] and line["bcc_ok"])


def count(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"carlien_telematics_{metric}_total", labels) or 0.0


async def test_every_uplink_frame_with_a_vin_is_accepted_and_stored_once(
    service: Service, database: "Connection", lines: list[dict[str, Any]]
) -> None:
    whole = [(line, bytes.fromhex(line["hex"])) for line in lines if is_whole(line)]
    uplinks = [(line["vin"], raw) for line, raw in whole if line["ack"] == Response.COMMAND and line["vin"] != NO_VIN]
    answers = [raw for line, raw in whole if line["ack"] != Response.COMMAND]
    without_vin = [raw for line, raw in whole if line["ack"] == Response.COMMAND and line["vin"] == NO_VIN]
    broken = [bytes.fromhex(line["hex"]) for line in lines if not is_whole(line)]
    assert (len(uplinks), len(answers), len(without_vin), len(broken)) == (57, 61, 5, 16)

    before = {name: count("gateway_refused", reason=name) for name in ("ACKNOWLEDGEMENT", "NUL_VIN")}
    devices: dict[str, Device] = {}
    for vin in {vin for vin, _ in uplinks}:
        await service.admit(vin)
        devices[vin] = await service.connect()
        assert await devices[vin].ask(login(vin, ICCID)) == Response.SUCCESS
    for vin, raw in uplinks:
        assert await devices[vin].ask(raw) == Response.SUCCESS

    # one connection that is not a good one: other people's answers, no VIN, broken messages, and a good heartbeat behind each
    vin = uplinks[0][0]
    device = devices[vin]
    heartbeat = gb32960.build(gb32960.Frame(gb32960.Version.V2016, Command.HEARTBEAT, Response.COMMAND, vin.encode(), 1, b""))
    await device.send(*answers)
    for raw in without_vin:
        assert await device.ask(raw) != Response.SUCCESS
    assert await device.ask(heartbeat) == Response.SUCCESS
    assert count("gateway_refused", reason="ACKNOWLEDGEMENT") == before["ACKNOWLEDGEMENT"] + len(answers)
    assert count("gateway_refused", reason="NUL_VIN") == before["NUL_VIN"] + len(without_vin)

    records = {(v, raw[24:-1]) for v, raw in uplinks if raw[2] in (Command.REALTIME, Command.REISSUE)}
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame"), len(records))
    rows = await database.fetch("SELECT vin, device_time, units, cell_millivolts, undecoded FROM frame")
    assert Counter(row["vin"] for row in rows) == Counter(v for v, _ in records)
    assert await database.fetchval("SELECT count(*) FROM frame WHERE vin LIKE '%' || chr(1) || '%'") == 0
    assert await database.fetchval("SELECT max(device_time) < '2019-01-17' FROM frame_history") is True

    for vin in devices:
        state = (await service.telematics.GetVehicleState(telematics_service_pb2.GetVehicleStateRequest(vin=vin))).state
        assert state.online
    for device in devices.values():
        await device.close()


async def test_broken_messages_are_counted_without_losing_the_good_ones_beside_them(
    service: Service, database: "Connection", lines: list[dict[str, Any]]
) -> None:
    """The stream of one car as a bad modem sends it: each broken line between two good records of that car."""
    vin = "LSVNV2187E2100001"
    await service.admit(vin)
    broken = [bytes.fromhex(line["hex"]) for line in lines if not is_whole(line)]
    good = [bytes.fromhex(line["hex"]) for line in lines if is_whole(line) and line["cmd"] == Command.REALTIME and line["ack"] == 0xFE]
    mine = [gb32960.readdress(raw, vin) for raw in good]
    device = await service.connect()
    assert await device.ask(login(vin, ICCID)) == Response.SUCCESS
    before = sum(count("gateway_malformed", protocol="gb32960", reason=reason) for reason in ("CHECK_BYTE", "TRUNCATED", "HEADER"))
    stream = b"".join(raw + bad for raw, bad in zip(mine, broken, strict=False)) + b"".join(mine[len(broken) :])
    for at in range(0, len(stream), 1460):
        await device.send(stream[at : at + 1460])
    acknowledged = 0
    while acknowledged < len(mine):
        answer = await device.answer()
        acknowledged += answer.response == Response.SUCCESS and answer.vin == vin.encode()
    after = sum(count("gateway_malformed", protocol="gb32960", reason=reason) for reason in ("CHECK_BYTE", "TRUNCATED", "HEADER"))
    assert after - before >= 10
    distinct = len({raw[24:-1] for raw in mine})
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin), distinct)
    await device.close()


async def test_every_decoded_unit_is_queryable(service: Service, database: "Connection", lines: list[dict[str, Any]]) -> None:
    vin = "LJM6GCDB8GAS01165"
    raw = next(bytes.fromhex(line["hex"]) for line in lines if is_whole(line) and line["vin"] == vin and line["ack"] == 0xFE)
    expected = gb32960.decode_record(gb32960.Version.V2016, raw[24:-1])
    row = await database.fetchrow("SELECT units, cell_millivolts, probe_celsius FROM frame WHERE vin = $1", vin)
    assert row is not None
    units = json.loads(row["units"])
    for name in ("vehicle", "motors", "position", "extremes", "alarms", "user_defined"):
        assert units[name] == expected.units[name], name
    assert row["cell_millivolts"] == list(expected.units["cell_voltages"][0]["cell_millivolts"])
    assert row["probe_celsius"] == list(expected.units["probe_temperatures"][0]["probe_celsius"])
    assert await database.fetchval("SELECT (units -> 'vehicle' ->> 'odometer_km')::numeric FROM frame WHERE vin = $1", vin) == 124185
    cells = await database.fetch("SELECT cell, millivolts FROM cell_voltage WHERE vin = $1 AND pack = 1 ORDER BY cell", vin)
    assert [cell["millivolts"] for cell in cells] == row["cell_millivolts"]
    assert cells[0]["cell"] == 1


async def eventually(ask: Any, expected: Any) -> None:
    async with asyncio.timeout(30):
        while (got := await ask()) != expected:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)
    assert got == expected
