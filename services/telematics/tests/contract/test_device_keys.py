"""Devices that sign, and devices that replace one another, on a real database and broker."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import pytest

from carlien.telematics.v1 import device_pb2, device_service_pb2
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Response, Version
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.testing.gateway import login, message
from carlien_telematics.testing.service import ICCID, Service, eventually
from carlien_telematics.testing.signing import Sm2Signer

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

SIGNING, SILENT, REPLACED, OTHER, NEW = (vin_of(31, number) for number in range(5))
NOW = datetime.now(UTC).replace(microsecond=0)


def registration(vin: str, device_id: str, **more: Any) -> device_service_pb2.RegisterDeviceRequest:
    return device_service_pb2.RegisterDeviceRequest(
        device_id=device_id,
        vin=vin,
        protocol=device_pb2.DEVICE_PROTOCOL_GB32960,
        credential=ICCID,
        idempotency_key=uuid.uuid4().hex,
        **more,
    )


def key_of(signer: Sm2Signer) -> device_pb2.SigningKey:
    return device_pb2.SigningKey(algorithm=device_pb2.SIGNING_ALGORITHM_SM2, public_key=signer.public)


def signed_record(vin: str, at: datetime, signer: Sm2Signer) -> bytes:
    units: dict[str, Any] = {"engine": {"crankshaft_rpm": 900}}
    data = gb32960.encode_record(Version.V2025, at, units)
    r, s = signer.sign(data)
    units["signature"] = {"algorithm": "SM2", "r": r.hex(), "s": s.hex()}
    return message(Command.REALTIME, gb32960.encode_record(Version.V2025, at, units), vin, Version.V2025)


async def test_a_record_keeps_whether_its_device_signed_it(service: Service, database: "Connection") -> None:
    signer, thief = Sm2Signer(99), Sm2Signer(100)
    await service.devices.RegisterDevice(registration(SIGNING, "SIGNS-1", signing_key=key_of(signer)))
    await service.devices.RegisterDevice(registration(SILENT, "SIGNS-2"))
    for vin in (SIGNING, SILENT):
        await service.consent(vin)
        device = await service.connect()
        assert await device.ask(login(vin, version=Version.V2025)) == Response.SUCCESS
        for seconds, who in enumerate((signer, thief)):
            assert await device.ask(signed_record(vin, NOW + timedelta(seconds=seconds), who)) == Response.SUCCESS
        unsigned = gb32960.encode_record(Version.V2025, NOW + timedelta(seconds=2), {"engine": {"crankshaft_rpm": 900}})
        assert await device.ask(message(Command.REALTIME, unsigned, vin, Version.V2025)) == Response.SUCCESS

    async def found() -> list[tuple[str, str | None]]:
        query = "SELECT vin, signature_status FROM frame WHERE vin = ANY($1) ORDER BY vin, device_time"
        return [(row["vin"], row["signature_status"]) for row in await database.fetch(query, [SIGNING, SILENT])]

    wanted = [(SIGNING, "VALID"), (SIGNING, "INVALID"), (SIGNING, None), (SILENT, "NO_KEY"), (SILENT, "NO_KEY"), (SILENT, None)]
    await eventually(found, lambda got: got == wanted)


async def test_a_replacement_is_written_on_both_devices(service: Service) -> None:
    vin = REPLACED
    await service.devices.RegisterDevice(registration(vin, "FIRST"))
    second = (await service.devices.RegisterDevice(registration(vin, "SECOND", replaces_device_id="FIRST"))).device
    assert (second.replaces_device_id, second.replaced_by_device_id) == ("FIRST", "")
    first = (await service.devices.GetDevice(device_service_pb2.GetDeviceRequest(device_id="FIRST"))).device
    assert (first.status, first.replaced_by_device_id) == (device_pb2.DEVICE_STATUS_RETIRED, "SECOND")
    listed = (await service.devices.ListDevices(device_service_pb2.ListDevicesRequest(vin=vin))).devices
    assert {(d.device_id, d.replaces_device_id, d.replaced_by_device_id) for d in listed} == {
        ("FIRST", "", "SECOND"),
        ("SECOND", "FIRST", ""),
    }


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"replaces_device_id": "NOBODY"}, grpc.StatusCode.NOT_FOUND, "NOBODY"),
        ({"replaces_device_id": "OTHER-CAR"}, grpc.StatusCode.FAILED_PRECONDITION, "another car"),
        ({"signing_key": device_pb2.SigningKey(public_key=b"x")}, grpc.StatusCode.INVALID_ARGUMENT, "signs with"),
        (
            {"signing_key": device_pb2.SigningKey(algorithm=device_pb2.SIGNING_ALGORITHM_SM2, public_key=b"\x01" * 64)},
            grpc.StatusCode.INVALID_ARGUMENT,
            "not a point of the SM2 curve",
        ),
    ],
)
async def test_a_bad_registration_says_why(service: Service, more: dict[str, Any], code: grpc.StatusCode, text: str) -> None:
    if more.get("replaces_device_id") == "OTHER-CAR":
        await service.devices.RegisterDevice(registration(OTHER, "OTHER-CAR"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.devices.RegisterDevice(registration(NEW, "NEW", **more))
    assert caught.value.code() is code
    assert text in str(caught.value.details())
