"""IngestFrames on a real broker and database: durable before it answers, one bad frame keeps no other out."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import pytest

from carlien.telematics.v1 import (
    data_consent_service_pb2,
    device_pb2,
    device_service_pb2,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
    telemetry_frame_pb2,
)
from carlien_common.testing.pki import Pki
from carlien_common.wire import instant_to_proto
from carlien_telematics.commands import device
from carlien_telematics.testing.service import Service, eventually

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CAR, OTHER, WITHOUT = "LSVNV2181E2100012", "LSVNV2183E2100013", "LSVNV2185E2100014"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def frame(vin: str = CAR, seconds: int = 0, **more: Any) -> telematics_service_pb2.IngestFramesRequest:
    points = [
        telemetry_frame_pb2.Datapoint(path="Vehicle.TraveledDistance", number=1000.0 + seconds),
        telemetry_frame_pb2.Datapoint(path="Vehicle.LowVoltageSystemState", text="ON"),
        telemetry_frame_pb2.Datapoint(path="Vehicle.IsMoving", flag=True),
    ]
    fields = {"device_id": f"OEM-{vin}", "vin": vin, "vss_version": "6.0", "datapoints": points} | more
    at = instant_to_proto(START + timedelta(seconds=seconds))
    return telematics_service_pb2.IngestFramesRequest(frame=telemetry_frame_pb2.TelemetryFrame(device_time=at, **fields))


async def admit(service: Service, vin: str, protocol: device_pb2.DeviceProtocol.ValueType = device_pb2.DEVICE_PROTOCOL_OEM_API) -> None:
    await service.devices.RegisterDevice(
        device_service_pb2.RegisterDeviceRequest(
            device_id=f"OEM-{vin}", vin=vin, protocol=protocol, credential="none-needed", idempotency_key=uuid.uuid4().hex
        )
    )


async def ingest(service: Service, requests: Iterator[Any] | list[Any]) -> telematics_service_pb2.IngestFramesResponse:
    stub = service.stub(telematics_service_pb2_grpc.TelematicsServiceStub, "device-ingest")
    answer: telematics_service_pb2.IngestFramesResponse = await stub.IngestFrames(iter(requests), timeout=60)
    return answer


async def test_uploaded_frames_become_records_and_state_once(service: Service, database: "Connection") -> None:
    await admit(service, CAR)
    await service.consent(CAR)
    wanted = [frame(seconds=n) for n in range(1_200)]
    for late in (False, True):  # a repeat after an outage is the same frames
        for request in wanted:
            request.frame.reissued = late
        answer = await ingest(service, wanted)
        assert (answer.accepted_count, answer.refused_count) == (1_200, 0)

    async def stored() -> int:
        count: int = await database.fetchval("SELECT count(*) FROM frame WHERE vin = $1", CAR)
        return count

    await eventually(stored, lambda count: count == 1_200)
    device = device_service_pb2.GetDeviceRequest(device_id=f"OEM-{CAR}")
    seen = await eventually(lambda: service.devices.GetDevice(device), lambda got: got.device.HasField("last_seen_at"))
    assert (seen.device.online, seen.device.online_reason) == (False, "UPLOADED")
    state = await eventually(
        lambda: service.telematics.GetVehicleState(telematics_service_pb2.GetVehicleStateRequest(vin=CAR)),
        lambda got: got.state.odometer_km == 2_199.0,
    )
    assert state.state.ignition
    assert await stored() == 1_200


async def test_each_frame_is_judged_by_itself(service: Service) -> None:
    await admit(service, OTHER)
    await service.consent(OTHER)
    await admit(service, WITHOUT)
    bad_point = telemetry_frame_pb2.Datapoint(path="Vehicle.Speed", number=900.0)
    answer = await ingest(
        service,
        [
            frame(OTHER),
            frame(WITHOUT),
            frame(OTHER, device_id="NOBODY"),
            frame(OTHER, vss_version="4.0"),
            frame(OTHER, datapoints=[bad_point]),
            frame(OTHER, datapoints=[]),
            frame("LSVNV2188E2100019"),
            frame(OTHER, seconds=1),
        ],
    )
    assert answer.accepted_count == 2
    assert answer.refused_count == 6
    assert [(refused.index, refused.reason) for refused in answer.refused] == [
        (1, "CONSENT_MISSING"),
        (2, "DEVICE_UNKNOWN"),
        (3, "VSS_VERSION"),
        (4, "VSS_RANGE"),
        (5, "VSS_COUNT"),
        (6, "VIN_CHECK_DIGIT"),
    ]
    assert answer.refused[3].field == "frame.datapoints[0]"


async def test_a_revocation_stops_uploads(service: Service, key: str) -> None:
    vin = "LSVNV2187E2100015"
    await admit(service, vin, device_pb2.DEVICE_PROTOCOL_OBD2)
    await service.consent(vin)
    assert (await ingest(service, [frame(vin)])).accepted_count == 1
    await service.consents.RevokeConsent(data_consent_service_pb2.RevokeConsentRequest(vin=vin, idempotency_key=key))
    await eventually(lambda: ingest(service, [frame(vin, seconds=1)]), lambda answer: answer.refused_count == 1)


async def test_a_device_of_the_gateway_may_not_upload(service: Service) -> None:
    vin = "LSVNV2189E2100016"
    await admit(service, vin, device_pb2.DEVICE_PROTOCOL_GB32960)
    await service.consent(vin)
    assert [refused.reason for refused in (await ingest(service, [frame(vin)])).refused] == ["DEVICE_PROTOCOL"]


async def test_a_log_is_uploaded_by_the_command(
    service: Service, database: "Connection", pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vin = "LSVNV2180E2100017"
    await admit(service, vin, device_pb2.DEVICE_PROTOCOL_OBD2)
    await service.consent(vin)
    mine = pki.certificate("org1", "device-ingest")
    mapping, log = tmp_path / "mapping.yaml", tmp_path / "log.csv"
    mapping.write_text(
        "{vss_version: '6.0', time: {column: t, format: seconds, start: '2026-06-01T08:00:00+08:00'}, fields: {Vehicle.Speed: {column: v}}}"
    )
    log.write_text("t,v\n0,10\n1,20\n2,fast\n3,30\n")
    arguments = ["import-obd", "--mapping", str(mapping), "--device", f"OEM-{vin}", "--vin", vin, "--json", str(log)]
    where = ["--address", f"localhost:{service.running.grpc_port}", "--pki", str(mine.authorities.parent), "--org", "org1"]
    assert await device.run([*arguments, *where]) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said == {"rows": 4, "unreadable": {"CELL": 1}, "accepted": 3, "refused": {}}
    query = "SELECT array_agg(units -> 'vehicle' ->> 'speed_kmh' ORDER BY device_time) FROM frame WHERE vin = $1"
    await eventually(lambda: database.fetchval(query, vin), lambda found: found == ["10.0", "20.0", "30.0"])


async def test_only_who_ingests_may(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await service.telematics.IngestFrames(iter([frame()]))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
