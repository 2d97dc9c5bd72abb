"""A running service, driven as its users do: stubs by role, devices, consents. For tests."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from carlien.telematics.v1 import (
    data_consent_service_pb2,
    data_consent_service_pb2_grpc,
    device_pb2,
    device_service_pb2,
    device_service_pb2_grpc,
    telematics_service_pb2_grpc,
)
from carlien_common.testing.pki import Pki
from carlien_common.wire import instant_to_proto
from carlien_telematics.bootstrap import Running
from carlien_telematics.config import TelematicsSettings
from carlien_telematics.testing.gateway import Device, connect

if TYPE_CHECKING:
    Devices = device_service_pb2_grpc.DeviceServiceAsyncStub
    Consents = data_consent_service_pb2_grpc.DataConsentServiceAsyncStub
    Tracks = telematics_service_pb2_grpc.TelematicsServiceAsyncStub

Stub = TypeVar("Stub")
ICCID = "89860000000000000001"


@dataclass
class Service:
    """The running service and stubs of it by role."""

    running: Running
    settings: TelematicsSettings
    dsn: str
    pki: Pki
    channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    terminals: list[Device] = field(default_factory=list)

    def stub(self, stub: Callable[[grpc.aio.Channel], Stub], role: str) -> Stub:
        """A stub that calls as one role."""
        if role not in self.channels:
            mine = self.pki.certificate("org1", role)
            credentials = grpc.ssl_channel_credentials(mine.authorities.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes())
            self.channels[role] = grpc.aio.secure_channel(f"127.0.0.1:{self.running.grpc_port}", credentials)
        return stub(self.channels[role])

    @property
    def devices(self) -> "Devices":
        """As device-ingest."""
        return self.stub(device_service_pb2_grpc.DeviceServiceStub, "device-ingest")

    @property
    def consents(self) -> "Consents":
        """As originator."""
        return self.stub(data_consent_service_pb2_grpc.DataConsentServiceStub, "originator")

    @property
    def telematics(self) -> "Tracks":
        """As collections."""
        return self.stub(telematics_service_pb2_grpc.TelematicsServiceStub, "collections")

    async def register(self, vin: str, device_id: str | None = None, iccid: str = ICCID) -> device_pb2.Device:
        """Binds a device to a car."""
        answer = await self.devices.RegisterDevice(
            device_service_pb2.RegisterDeviceRequest(
                device_id=device_id or f"T-{vin}",
                vin=vin,
                protocol=device_pb2.DEVICE_PROTOCOL_GB32960,
                credential=iccid,
                idempotency_key=uuid.uuid4().hex,
            )
        )
        return answer.device

    async def consent(
        self,
        vin: str,
        purpose: data_consent_service_pb2.DataPurpose.ValueType = data_consent_service_pb2.DATA_PURPOSE_COLLATERAL_MONITORING,
    ) -> None:
        """Gives a consent for 30 days."""
        await self.consents.GrantConsent(
            data_consent_service_pb2.GrantConsentRequest(
                vin=vin,
                purpose=purpose,
                expires_at=instant_to_proto(datetime.now(UTC) + timedelta(days=30)),
                idempotency_key=uuid.uuid4().hex,
            )
        )

    async def admit(self, vin: str) -> None:
        """A device and a consent."""
        await self.register(vin)
        await self.consent(vin)

    async def connect(self) -> Device:
        """A terminal connected to the gateway."""
        device = await connect(self.running.gb32960_port)
        self.terminals.append(device)
        return device

    async def close(self) -> None:
        """Ends every connection made through this object."""
        for terminal in self.terminals:
            await terminal.close()
        for channel in self.channels.values():
            await channel.close()


async def eventually(ask: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """Asks until the answer is as wanted, and returns it."""
    async with asyncio.timeout(30):
        while not wanted(got := await ask()):  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.05)
    return got
