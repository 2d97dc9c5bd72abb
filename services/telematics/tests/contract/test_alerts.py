"""Alerts from the device's socket to stream, list and event; geofences; who may see what."""

import asyncio
import uuid
from collections.abc import AsyncIterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import grpc
import pytest

from carlien.telematics.v1 import (
    alert_pb2,
    data_consent_service_pb2,
    device_pb2,
    device_service_pb2,
    events_pb2,
    geofence_pb2,
    geofence_service_pb2,
    geofence_service_pb2_grpc,
    profile_pb2,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
)
from carlien_telematics.codecs.gb32960 import Response
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.simulator.motion import Reading
from carlien_telematics.simulator.terminals import Gb32960Frames, reissue
from carlien_telematics.testing.gateway import Device, login
from carlien_telematics.testing.service import ICCID, Service

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Geofences = geofence_service_pb2_grpc.GeofenceServiceAsyncStub

NOW = datetime.now(UTC).replace(microsecond=0)
HOME = (31.2, 121.4)
KM = 1 / 111.32
TOWED, REMOVED, LATE, PAWNED, GONE, DECLARED = (vin_of(81, number) for number in range(6))


def at(minutes: float) -> datetime:
    return NOW - timedelta(hours=10) + timedelta(minutes=minutes)


def parked(vin: str, minutes: Sequence[float], north_km: float = 0.0, odometer_km: float = 1000.0, **more: Any) -> list[bytes]:
    frames = Gb32960Frames(vin)
    reading = Reading(0.0, HOME[0] + north_km * KM, HOME[1], 0.0, odometer_km, 80, False)
    return [frames.record(reading, at(minute), fix=True, **more) for minute in minutes]


async def connected(service: Service, vin: str) -> Device:
    await service.admit(vin)
    device = await service.connect()
    assert await device.ask(login(vin, ICCID)) == Response.SUCCESS
    return device


async def send(device: Device, frames: Sequence[bytes]) -> None:
    sending = asyncio.create_task(device.send(*frames))
    for _ in frames:
        assert (await device.answer()).response == Response.SUCCESS
    await sending


def tracks(service: Service, role: str = "collections") -> "telematics_service_pb2_grpc.TelematicsServiceAsyncStub":
    return service.stub(telematics_service_pb2_grpc.TelematicsServiceStub, role)


def places(service: Service, role: str = "collections") -> "Geofences":
    return service.stub(geofence_service_pb2_grpc.GeofenceServiceStub, role)


async def alerts(service: Service, vin: str, role: str = "collections", **more: Any) -> list[alert_pb2.Alert]:
    answer = await tracks(service, role).ListAlerts(telematics_service_pb2.ListAlertsRequest(vin=vin, **more))
    return list(answer.alerts)


async def eventually(service: Service, vin: str, wanted: Any) -> list[alert_pb2.Alert]:
    async with asyncio.timeout(30):
        while not wanted(found := await alerts(service, vin)):  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.05)
    return found


async def next_of(stream: AsyncIterable[telematics_service_pb2.StreamAlertsResponse]) -> telematics_service_pb2.StreamAlertsResponse:
    async with asyncio.timeout(30):
        return await anext(aiter(stream))


async def test_a_tow_reaches_stream_list_and_event_once_and_a_stream_resumes(service: Service, database: "Connection") -> None:
    device = await connected(service, TOWED)
    await send(device, parked(TOWED, range(0, 60, 5)))
    stream = tracks(service).StreamAlerts(telematics_service_pb2.StreamAlertsRequest(vin=TOWED, cursor="0"))
    await send(device, parked(TOWED, range(60, 180, 5), north_km=6))
    opened = await next_of(stream)
    assert (opened.alert.kind, opened.alert.severity) == (alert_pb2.ALERT_KIND_TOW, alert_pb2.ALERT_SEVERITY_CRITICAL)
    assert (opened.alert.vin, opened.alert.revision, opened.alert.geofence_id) == (TOWED, 1, "")
    assert [item.name for item in opened.alert.evidence] == ["IGNITION_OFF_DISTANCE"]
    assert opened.alert.evidence[0].value == pytest.approx(6, abs=0.1)
    (listed,) = await eventually(service, TOWED, lambda found: found and found[0].state == alert_pb2.ALERT_STATE_CLOSED)
    stream.cancel()

    again = tracks(service).StreamAlerts(telematics_service_pb2.StreamAlertsRequest(vin=TOWED, cursor="0"))
    changes = [await next_of(again)]
    while changes[-1].alert.revision < listed.revision:
        changes.append(await next_of(again))
    again.cancel()
    assert [change.alert.revision for change in changes] == list(range(1, listed.revision + 1))
    assert changes[-1].alert == listed
    resumed = tracks(service).StreamAlerts(
        telematics_service_pb2.StreamAlertsRequest(vin=TOWED, cursor=changes[0].cursor, kinds=[alert_pb2.ALERT_KIND_TOW])
    )
    if len(changes) > 1:
        assert (await next_of(resumed)) == changes[1]
    resumed.cancel()

    rows = await database.fetch(
        "SELECT ce_id, value FROM outbox WHERE key = $1 AND topic = 'carlien.telematics.alert.v1' ORDER BY id", TOWED
    )
    assert [row["ce_id"] for row in rows] == [f"{listed.alert_id}/{change.alert.revision}" for change in changes]
    assert events_pb2.AlertChanged.FromString(rows[-1]["value"]).alert == listed
    await device.close()


async def test_a_device_that_loses_the_car_and_falls_silent_was_removed(service: Service) -> None:
    device = await connected(service, REMOVED)
    await send(device, parked(REMOVED, range(0, 30, 5)) + parked(REMOVED, [30, 35], car_data=False))
    (cut,) = await eventually(service, REMOVED, bool)
    assert cut.kind == alert_pb2.ALERT_KIND_POWER_CUT
    await device.close()
    (removed,) = await eventually(service, REMOVED, lambda found: found[0].kind == alert_pb2.ALERT_KIND_DEVICE_REMOVED)
    assert removed.alert_id == cut.alert_id
    assert list(removed.signals)[:2] == [alert_pb2.ALERT_KIND_POWER_CUT, alert_pb2.ALERT_KIND_DEVICE_REMOVED]


async def test_records_that_come_late_are_judged_in_their_place(service: Service, database: "Connection") -> None:
    device = await connected(service, LATE)
    await send(device, parked(LATE, range(0, 60, 5)) + parked(LATE, range(200, 300, 5), north_km=6))
    await eventually(service, LATE, bool)
    frames = Gb32960Frames(LATE)
    drive = [Reading(0.0, HOME[0] + n * 0.6 * KM, HOME[1], 36.0, 1000 + n * 0.6, 80, True) for n in range(11)]
    late = [frames.record(reading, at(70 + n), fix=True) for n, reading in enumerate(drive)] + parked(
        LATE, range(85, 200, 5), north_km=6, odometer_km=1006.0
    )
    await send(device, [reissue(raw) for raw in late])
    # the odometer then falls back to what the later records say, which is another case
    found = await eventually(
        service, LATE, lambda found: any(item.name == "WITHDRAWN_BY_LATE_RECORDS" for case in found for item in case.evidence)
    )
    assert {case.kind: case.state for case in found} == {
        alert_pb2.ALERT_KIND_TOW: alert_pb2.ALERT_STATE_CLOSED,
        alert_pb2.ALERT_KIND_ODOMETER_ROLLBACK: alert_pb2.ALERT_STATE_OPEN,
    }
    async with asyncio.timeout(30):
        while await database.fetchval("SELECT count(*) FROM insight_due WHERE vin = $1", LATE):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await database.fetchval("SELECT head_time FROM car_watch WHERE vin = $1", LATE) == at(295)
    await device.close()


def circle(name: str, kind: geofence_pb2.GeofenceKind.ValueType, vin: str = "", **more: Any) -> geofence_service_pb2.PutGeofenceRequest:
    centre = geofence_pb2.GeofencePoint(latitude=HOME[0] + 6.00123 * KM, longitude=HOME[1] + 0.00123)
    fence = geofence_pb2.Geofence(
        geofence_id=name, vin=vin, kind=kind, name=name, circle=geofence_pb2.GeofenceCircle(centre=centre, radius_m=500), **more
    )
    return geofence_service_pb2.PutGeofenceRequest(geofence=fence, idempotency_key=uuid.uuid4().hex)


async def test_a_car_at_a_second_pawn_place_is_an_alert(service: Service) -> None:
    put = circle("pawn-1", geofence_pb2.GEOFENCE_KIND_SECOND_PAWN, dwell_minutes=60)
    first = await places(service).PutGeofence(put)
    assert await places(service).PutGeofence(put) == first
    device = await connected(service, PAWNED)
    await send(device, parked(PAWNED, range(0, 100, 5), north_km=6, odometer_km=50.0))
    (case,) = await eventually(service, PAWNED, lambda found: found and found[0].kind == alert_pb2.ALERT_KIND_SECOND_PAWN)
    assert (case.geofence_id, case.state) == ("pawn-1", alert_pb2.ALERT_STATE_OPEN)
    assert await alerts(service, PAWNED, kinds=[alert_pb2.ALERT_KIND_TOW]) == []
    assert await alerts(service, PAWNED, state=alert_pb2.ALERT_STATE_CLOSED) == []

    await places(service).DeleteGeofence(geofence_service_pb2.DeleteGeofenceRequest(geofence_id="pawn-1", idempotency_key=uuid.uuid4().hex))
    await send(device, parked(PAWNED, [105], north_km=6, odometer_km=50.0))
    await eventually(service, PAWNED, lambda found: found[0].state == alert_pb2.ALERT_STATE_CLOSED)
    await device.close()


async def test_an_analyst_sees_neither_a_place_nor_a_minute_and_every_read_is_noted(service: Service, database: "Connection") -> None:
    await places(service).PutGeofence(circle("home-1", geofence_pb2.GEOFENCE_KIND_HOME, TOWED))
    request = geofence_service_pb2.ListGeofencesRequest(vin=TOWED)
    (exact,) = (await places(service).ListGeofences(request)).geofences
    (coarse,) = (await places(service, "analyst").ListGeofences(request)).geofences
    assert exact.circle.centre.latitude == pytest.approx(HOME[0] + 6.00123 * KM)
    assert (coarse.circle.centre.latitude, coarse.circle.centre.longitude) == (31.25, 121.4)
    (seen,) = await alerts(service, TOWED, "analyst")
    (known,) = await alerts(service, TOWED)
    assert seen.alert_id == known.alert_id
    assert seen.started_at.seconds % 3600 == seen.last_signal_at.seconds % 3600 == seen.evidence[0].observed_at.seconds % 3600 == 0
    rows = await database.fetch("SELECT rpc, role FROM track_read WHERE vin = $1", TOWED)
    notes = {(row["rpc"], row["role"]) for row in rows}
    assert notes >= {
        ("ListAlerts", "analyst"),
        ("ListAlerts", "collections"),
        ("StreamAlerts", "collections"),
        ("ListGeofences", "analyst"),
        ("ListGeofences", "collections"),
    }


async def test_neither_event_nor_metric_nor_log_tells_a_place_or_a_car(
    service: Service, database: "Connection", capfd: pytest.CaptureFixture[str]
) -> None:
    device = await service.connect()
    assert await device.ask(login(TOWED, ICCID)) == Response.SUCCESS
    await send(device, parked(TOWED, range(560, 580, 5), north_km=6))
    await eventually(service, TOWED, bool)
    await device.close()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{service.running.app.metrics_port}/metrics") as answer:
        told = await answer.text()
    assert 'carlien_telematics_alert_changes_total{kind="TOW"' in told
    told += "".join(capfd.readouterr())
    for secret in (TOWED, REMOVED, "pawn-1", "home-1", f"{HOME[0]:.1f}", f"{HOME[1]:.1f}"):
        assert secret not in told
    for message in (events_pb2.AlertChanged, events_pb2.ProfileChanged):
        assert not fields(message.DESCRIPTOR) & {"latitude", "longitude", "position", "heading_deg", "altitude_m"}
    # a coordinate would be there as a double: none of the values is near one
    for row in await database.fetch("SELECT value FROM outbox WHERE topic = 'carlien.telematics.alert.v1'"):
        alert = events_pb2.AlertChanged.FromString(row["value"]).alert
        assert not any(abs(item.value - degrees) < 0.2 for item in alert.evidence for degrees in HOME)


def fields(descriptor: Any) -> set[str]:
    found = {field.name for field in descriptor.fields}
    return found.union(*(fields(field.message_type) for field in descriptor.fields if field.message_type is not None))


async def test_a_list_has_pages_and_only_cars_with_a_consent(service: Service, database: "Connection") -> None:
    got, token = [], ""
    while True:
        page = await tracks(service).ListAlerts(telematics_service_pb2.ListAlertsRequest(page_size=1, page_token=token))
        got += [alert.alert_id for alert in page.alerts]
        token = page.next_page_token
        if not token:
            break
    assert len(got) == len(set(got)) == await database.fetchval("SELECT count(*) FROM alert") >= 4
    fences = await places(service).ListGeofences(geofence_service_pb2.ListGeofencesRequest(page_size=1))
    assert len(fences.geofences) == 1


async def test_after_a_revocation_nothing_of_a_car_is_left(service: Service, database: "Connection") -> None:
    device = await connected(service, GONE)
    await places(service).PutGeofence(circle("home-2", geofence_pb2.GEOFENCE_KIND_HOME, GONE))
    await send(device, parked(GONE, range(0, 60, 5)) + parked(GONE, range(60, 180, 5), north_km=9))
    await eventually(service, GONE, bool)
    await service.consents.RevokeConsent(data_consent_service_pb2.RevokeConsentRequest(vin=GONE, idempotency_key=uuid.uuid4().hex))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await alerts(service, GONE)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    tables = ("frame", "car_watch", "car_checkpoint", "alert", "alert_change", "geofence", "insight_due")
    async with asyncio.timeout(30):
        while any([await database.fetchval(f"SELECT count(*) FROM {table} WHERE vin = $1", GONE) for table in tables]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await device.close()


async def test_what_a_holder_declares_is_kept_and_checked(service: Service, database: "Connection") -> None:
    def request(name: str, **more: Any) -> device_service_pb2.RegisterDeviceRequest:
        return device_service_pb2.RegisterDeviceRequest(
            device_id=name, vin=DECLARED, protocol=device_pb2.DEVICE_PROTOCOL_GB32960, credential=ICCID, idempotency_key=name, **more
        )

    await service.devices.RegisterDevice(request("D-1", declared_usage=profile_pb2.USAGE_NATURE_GOODS, battery_capacity_ah=150.0))
    await service.devices.RegisterDevice(request("D-2"))
    rows = await database.fetch("SELECT usage_nature, battery_capacity_ah FROM car_declaration WHERE vin = $1", DECLARED)
    assert [tuple(row) for row in rows] == [("GOODS", 150.0)]
    for wrong in (
        {"declared_usage": profile_pb2.USAGE_NATURE_UNKNOWN},
        {"battery_capacity_ah": float("nan")},
        {"battery_capacity_ah": 0.0},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.devices.RegisterDevice(request("D-3", **wrong))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"geofence_id": "a b"}, "geofence.geofence_id"),
        ({"vin": "X"}, "geofence.vin"),
        ({"kind": geofence_pb2.GEOFENCE_KIND_UNSPECIFIED}, "geofence.kind"),
        ({"kind": geofence_pb2.GEOFENCE_KIND_PROVINCE}, "geofence.vin"),
        ({"name": " "}, "geofence.name"),
        ({"dwell_minutes": -1}, "geofence.dwell_minutes"),
        ({"circle": geofence_pb2.GeofenceCircle(radius_m=10)}, "geofence.circle.radius_m"),
        ({"circle": geofence_pb2.GeofenceCircle(radius_m=float("nan"))}, "geofence.circle.radius_m"),
        ({"circle": geofence_pb2.GeofenceCircle(centre=geofence_pb2.GeofencePoint(latitude=91), radius_m=100)}, "geofence.circle.centre"),
        ({"polygon": geofence_pb2.GeofencePolygon(corners=[geofence_pb2.GeofencePoint()] * 2)}, "geofence.polygon.corners"),
        ({"polygon": geofence_pb2.GeofencePolygon(corners=[geofence_pb2.GeofencePoint()] * 4)}, "geofence.polygon.corners"),
    ],
)
async def test_a_wrong_geofence_is_refused_by_field(service: Service, change: dict[str, Any], field: str) -> None:
    request = circle("wrong-1", geofence_pb2.GEOFENCE_KIND_WATCHED)
    for name, value in change.items():
        if hasattr(value, "CopyFrom"):
            getattr(request.geofence, name).CopyFrom(value)
        else:
            setattr(request.geofence, name, value)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await places(service).PutGeofence(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field.encode() in dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]


@pytest.mark.parametrize(
    "request_",
    [
        telematics_service_pb2.ListAlertsRequest(page_token="x"),
        telematics_service_pb2.ListAlertsRequest(page_size=1001),
        telematics_service_pb2.ListAlertsRequest(kinds=[99]),  # type: ignore[list-item]
        telematics_service_pb2.ListAlertsRequest(state=9),  # type: ignore[arg-type]
        telematics_service_pb2.ListAlertsRequest(vin="X"),
        telematics_service_pb2.StreamAlertsRequest(cursor="x"),
        telematics_service_pb2.StreamAlertsRequest(cursor="99999999"),
    ],
)
async def test_a_wrong_question_is_refused(service: Service, request_: Any) -> None:
    stub = tracks(service)
    lists = isinstance(request_, telematics_service_pb2.ListAlertsRequest)
    call: Any = stub.ListAlerts(request_) if lists else next_of(stub.StreamAlerts(request_))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
