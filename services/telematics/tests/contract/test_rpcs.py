"""Every rpc of the issue's slice, on a real database and broker, with devices over real sockets."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import pytest

from carlien.telematics.v1 import (
    data_consent_service_pb2 as consent_pb2,
)
from carlien.telematics.v1 import (
    device_pb2,
    device_service_pb2,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
)
from carlien_common.wire import instant_to_proto
from carlien_telematics.codecs import gb32960, jt808
from carlien_telematics.codecs.gb32960 import Command, Response
from carlien_telematics.testing.gateway import Device, login, message
from carlien_telematics.testing.service import ICCID, Service, eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CARS = [f"LSVNV218{digit}E21000{number:02d}" for number, digit in ((1, 7), (2, 9), (3, 0), (4, 2), (5, 4), (6, 6), (7, 8), (8, "X"))]
NOW = datetime.now(UTC).replace(microsecond=0)


def drive(vin: str, at: datetime, *, command: Command = Command.REALTIME, fix: bool = True, **vehicle: Any) -> bytes:
    units = {
        "vehicle": {
            "vehicle_state": "STARTED",
            "charge_state": "NOT_CHARGING",
            "drive_mode": "ELECTRIC",
            "speed_kmh": 50.0,
            "odometer_km": 1000.0,
            "voltage_v": 350.0,
            "current_a": 10.0,
            "soc_percent": 80,
            "dcdc_state": "WORKING",
            "gear": "D",
            "braking_force": False,
            "driving_force": True,
            "insulation_kohm": 1000,
            "accelerator_percent": 10,
            "brake_pedal_percent": 0,
            **vehicle,
        },
        "position": {"fix_valid": fix, "latitude": 31.2304, "longitude": 121.4737},
    }
    return message(command, gb32960.encode_record(gb32960.Version.V2016, at, units), vin)


async def connected(service: Service, vin: str) -> Device:
    await service.admit(vin)
    device = await service.connect()
    assert await device.ask(login(vin, ICCID)) == Response.SUCCESS
    return device


async def state(service: Service, vin: str, role: str = "collections") -> telematics_service_pb2.VehicleState:
    stub = service.stub(telematics_service_pb2_grpc.TelematicsServiceStub, role)
    answer: telematics_service_pb2.GetVehicleStateResponse = await stub.GetVehicleState(
        telematics_service_pb2.GetVehicleStateRequest(vin=vin)
    )
    return answer.state


async def test_the_newest_record_is_the_state_and_an_older_one_only_history(service: Service, database: "Connection") -> None:
    vin = CARS[0]
    device = await connected(service, vin)
    assert not (await state(service, vin)).HasField("odometer_km")
    assert await device.ask(drive(vin, NOW, odometer_km=1200.0)) == Response.SUCCESS
    await eventually(lambda: state(service, vin), lambda s: s.odometer_km == 1200.0)
    assert await device.ask(drive(vin, NOW - timedelta(days=900), odometer_km=7.0, command=Command.REISSUE)) == Response.SUCCESS
    assert await device.ask(drive(vin, NOW + timedelta(hours=8), odometer_km=9999.0)) == Response.SUCCESS  # a clock 8 hours off
    assert await device.ask(drive(vin, NOW + timedelta(seconds=10), soc_percent=None, fix=False)) == Response.SUCCESS
    now = await eventually(lambda: state(service, vin), lambda s: s.online and s.odometer_km == 1000.0)
    assert (now.speed_kmh, now.ignition, now.online, now.device_id) == (50.0, True, True, f"T-{vin}")
    assert not now.HasField("soc_percent")
    assert not now.HasField("latitude")
    assert await database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin) == 4
    assert await database.fetchval("SELECT count(*) FROM frame_history WHERE vin = $1", vin) == 1
    await device.close()
    await eventually(lambda: state(service, vin), lambda s: not s.online)


async def test_a_record_sent_again_is_stored_once_and_two_of_one_second_both(service: Service, database: "Connection") -> None:
    vin = CARS[1]
    device = await connected(service, vin)
    first, second = drive(vin, NOW, odometer_km=1.0), drive(vin, NOW, odometer_km=2.0)
    for raw in (first, first, drive(vin, NOW, odometer_km=1.0, command=Command.REISSUE), second):
        assert await device.ask(raw) == Response.SUCCESS
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin), lambda n: n == 2)
    assert await device.ask(drive(vin, NOW + timedelta(seconds=1))) == Response.SUCCESS
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin), lambda n: n == 3)
    await device.close()


async def test_positions_come_in_pages_in_device_time_and_every_read_is_noted(service: Service, database: "Connection") -> None:
    vin = CARS[2]
    device = await connected(service, vin)
    times = [NOW + timedelta(seconds=n) for n in range(25)]
    for at in reversed(times):
        assert await device.ask(drive(vin, at)) == Response.SUCCESS
    await eventually(lambda: database.fetchval("SELECT count(*) FROM position WHERE vin = $1", vin), lambda n: n == 25)
    got, token = [], ""
    while True:
        page = await service.telematics.ListPositions(
            telematics_service_pb2.ListPositionsRequest(
                vin=vin, start_time=instant_to_proto(times[2]), end_time=instant_to_proto(times[20]), page_size=7, page_token=token
            )
        )
        got += [position.device_time.ToDatetime(tzinfo=UTC) for position in page.positions]
        token = page.next_page_token
        if not token:
            break
    assert got == times[2:20]
    rows = await database.fetch("SELECT role, rows_read FROM track_read WHERE vin = $1 ORDER BY read_id", vin)
    assert [(row["role"], row["rows_read"]) for row in rows] == [("collections", 7), ("collections", 7), ("collections", 4)]
    await device.close()


async def test_an_analyst_sees_a_neighbourhood(service: Service) -> None:
    vin = CARS[2]
    exact = await state(service, vin)
    coarse = await state(service, vin, "analyst")
    assert (exact.latitude, exact.longitude) == (31.2304, 121.4737)
    assert (coarse.latitude, coarse.longitude) == (31.23, 121.47)
    stub = service.stub(telematics_service_pb2_grpc.TelematicsServiceStub, "analyst")
    page = await stub.ListPositions(telematics_service_pb2.ListPositionsRequest(vin=vin, page_size=1))
    assert (page.positions[0].latitude, page.positions[0].longitude) == (31.23, 121.47)


async def test_a_revocation_stops_records_and_deletes_what_is_there(service: Service, database: "Connection", key: str) -> None:
    vin = CARS[3]
    device = await connected(service, vin)
    assert await device.ask(drive(vin, NOW)) == Response.SUCCESS
    await eventually(lambda: database.fetchval("SELECT count(*) FROM position WHERE vin = $1", vin), lambda n: n == 1)
    await service.consents.RevokeConsent(consent_pb2.RevokeConsentRequest(vin=vin, idempotency_key=key))
    answers = 0
    while await device.ask(drive(vin, NOW + timedelta(seconds=answers + 1))) == Response.SUCCESS:
        answers += 1
        await asyncio.sleep(0.01)
    assert answers < 100  # a second's worth
    for table in ("frame", "position", "vehicle_state"):
        query = f"SELECT count(*) FROM {table} WHERE vin = $1"
        await eventually(partial(database.fetchval, query, vin), lambda n: n == 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await state(service, vin)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await service.consent(vin)
    await eventually(lambda: device.ask(drive(vin, NOW + timedelta(minutes=5))), lambda answer: answer == Response.SUCCESS)
    await device.close()


async def test_one_of_two_purposes_still_lets_records_in(service: Service, key: str) -> None:
    vin = CARS[4]
    device = await connected(service, vin)
    await service.consent(vin, consent_pb2.DATA_PURPOSE_USAGE_RATING)
    request = consent_pb2.RevokeConsentRequest(vin=vin, purpose=consent_pb2.DATA_PURPOSE_COLLATERAL_MONITORING, idempotency_key=key)
    revoked = await service.consents.RevokeConsent(request)
    assert [consent.live for consent in revoked.consents] == [False]
    assert await service.consents.RevokeConsent(request) == revoked  # the same answer, not CONSENT_MISSING
    consents = (await service.consents.GetConsent(consent_pb2.GetConsentRequest(vin=vin))).consents
    assert [(consent.purpose, consent.live) for consent in consents] == [
        (consent_pb2.DATA_PURPOSE_USAGE_RATING, True),
        (consent_pb2.DATA_PURPOSE_COLLATERAL_MONITORING, False),
    ]
    assert await device.ask(drive(vin, NOW)) == Response.SUCCESS
    await device.close()


async def test_a_device_is_listed_seen_and_retired(service: Service, key: str) -> None:
    vin = CARS[5]
    device = await connected(service, vin)
    second = await service.register(vin, f"U-{vin}", "89860000000000000009")
    page = await service.devices.ListDevices(device_service_pb2.ListDevicesRequest(vin=vin, page_size=1))
    rest = await service.devices.ListDevices(device_service_pb2.ListDevicesRequest(vin=vin, page_token=page.next_page_token))
    assert [d.device_id for d in (*page.devices, *rest.devices)] == [f"T-{vin}", second.device_id]
    get = device_service_pb2.GetDeviceRequest(device_id=f"T-{vin}")

    async def seen() -> device_pb2.Device:
        answer: device_service_pb2.GetDeviceResponse = await service.devices.GetDevice(get)
        return answer.device

    assert (await eventually(seen, lambda d: d.online)).online_reason == "LOGIN"
    request = device_service_pb2.RetireDeviceRequest(device_id=f"T-{vin}", reason="REPLACED", idempotency_key=key)
    retired = (await service.devices.RetireDevice(request)).device
    assert retired.status == device_pb2.DEVICE_STATUS_RETIRED
    await eventually(lambda: device.ask(drive(vin, NOW)), lambda answer: answer == Response.ERROR)
    await device.closed()
    assert (await eventually(seen, lambda d: not d.online)).online_reason == "RETIRED"


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (lambda s, k: s.register(CARS[0], f"T-{CARS[0]}"), grpc.StatusCode.ALREADY_EXISTS, "registered"),
        (lambda s, k: s.register(CARS[0], "no spaces"), grpc.StatusCode.INVALID_ARGUMENT, "device id"),
        (lambda s, k: s.register("LSVNV2182E2100001"), grpc.StatusCode.INVALID_ARGUMENT, "check digit"),
        (lambda s, k: s.register(CARS[7], iccid=""), grpc.StatusCode.INVALID_ARGUMENT, "credential"),
        (
            lambda s, k: s.devices.GetDevice(device_service_pb2.GetDeviceRequest(device_id="nobody")),
            grpc.StatusCode.NOT_FOUND,
            "nobody",
        ),
        (lambda s, k: state(s, "LSVNV218" + "0" + CARS[7][9:]), grpc.StatusCode.INVALID_ARGUMENT, "check digit"),
        (lambda s, k: state(s, CARS[7]), grpc.StatusCode.NOT_FOUND, "No device"),
        (
            lambda s, k: s.consents.RevokeConsent(consent_pb2.RevokeConsentRequest(vin=CARS[7], idempotency_key=k)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "no consent",
        ),
        (
            lambda s, k: s.consents.GrantConsent(
                consent_pb2.GrantConsentRequest(
                    vin=CARS[7],
                    purpose=consent_pb2.DATA_PURPOSE_USAGE_RATING,
                    expires_at=instant_to_proto(NOW - timedelta(days=1)),
                    idempotency_key=k,
                )
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "future",
        ),
        (
            lambda s, k: s.telematics.ListPositions(telematics_service_pb2.ListPositionsRequest(vin=CARS[2], page_token="%%")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "page token",
        ),
    ],
)
async def test_bad_requests_say_what_is_wrong(service: Service, key: str, call: Any, code: grpc.StatusCode, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(service, key)
    assert refused.value.code() is code
    assert text in (refused.value.details() or "")


async def test_reading_a_state_touches_no_partition_of_frames(service: Service, database: "Connection") -> None:
    from carlien_telematics.adapters.postgres_registry import _STATE

    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {_STATE.replace('$1', repr(CARS[0]))}"))
    assert "vehicle_state" in plan
    assert "frame" not in plan
    assert "position" not in plan


async def test_tomorrow_has_its_partition_and_a_day_a_wrong_clock_filled_can_still_get_one(
    service: Service, database: "Connection"
) -> None:
    async with database.transaction():
        tomorrow = (NOW + timedelta(days=1)).date()
        assert await database.fetchval("SELECT to_regclass('frame_' || to_char($1::date, 'YYYYMMDD'))", tomorrow) is not None
    vin = CARS[6]
    device = await connected(service, vin)
    far = NOW + timedelta(days=9)
    assert await device.ask(drive(vin, far)) == Response.SUCCESS
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame_history WHERE vin = $1", vin), lambda n: n == 1)
    await database.execute("SELECT ensure_day('frame', $1), ensure_day('position', $1)", far.date())
    assert await database.fetchval("SELECT count(*) FROM frame_history WHERE vin = $1", vin) == 0
    assert await database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin) == 1
    await device.close()


async def test_nothing_personal_is_logged_or_measured(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    import aiohttp

    vin = CARS[7]
    device = await connected(service, vin)
    assert await device.ask(drive(vin, NOW)) == Response.SUCCESS
    await eventually(lambda: state(service, vin), lambda s: s.HasField("latitude"))
    await device.close()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{service.running.app.metrics_port}/metrics") as answer:
        told = await answer.text()
    told += "".join(capfd.readouterr())
    for secret in (vin, f"T-{vin}", ICCID, "31.2304", "121.4737"):
        assert secret not in told


async def test_a_jt808_terminal_from_registration_to_state(service: Service, database: "Connection", key: str) -> None:
    vin, terminal = "LSVNV2186E2200008", "013912345678"
    await service.devices.RegisterDevice(
        device_service_pb2.RegisterDeviceRequest(
            device_id=terminal, vin=vin, protocol=device_pb2.DEVICE_PROTOCOL_JT808, credential="CODE1234", idempotency_key=key
        )
    )
    await service.consent(vin)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.running.jt808_port)
    position = {
        "device_time": NOW,
        "latitude": 31.2304,
        "longitude": 121.4737,
        "fix_valid": True,
        "ignition": True,
        "altitude_m": 12,
        "speed_kmh": 45.5,
        "heading_deg": 90,
        "alarms": ("POWER_CUT",),
        "status": (),
        "odometer_km": 1234.5,
    }
    body = jt808.encode_position(position)
    batch = jt808.encode_position_batch(
        [body, jt808.encode_position(position | {"device_time": NOW - timedelta(minutes=1)})], reissued=True
    )
    for message_id, sent in ((0x0102, b"CODE1234"), (0x0200, body), (0x0704, batch)):
        writer.write(jt808.build(jt808.Message(message_id, terminal, 1, sent)))
        answer = jt808.parse(b"\x7e" + (await reader.readuntil(b"\x7e") + await reader.readuntil(b"\x7e")).strip(b"\x7e") + b"\x7e")
        assert (answer.message_id, answer.body[4]) == (0x8001, 0)
    await eventually(lambda: database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", vin), lambda n: n == 2)
    now = await eventually(lambda: state(service, vin), lambda s: s.online and s.HasField("speed_kmh"))
    assert (now.speed_kmh, now.odometer_km, now.ignition, now.last_alarm, now.device_id) == (45.5, 1234.5, True, "POWER_CUT", terminal)
    assert now.device_time.ToDatetime(tzinfo=UTC) == NOW
    writer.close()
    await writer.wait_closed()
