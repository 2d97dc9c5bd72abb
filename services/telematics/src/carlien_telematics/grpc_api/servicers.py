"""The rpcs: convert in, one transaction, convert out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from carlien.telematics.v1 import (
    data_consent_service_pb2,
    data_consent_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
)
from carlien_common.domain.clock import Clock, utc_now
from carlien_common.domain.errors import invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.idempotency import claim, store
from carlien_common.postgres import Connection, Pool
from carlien_common.wire import instant_from_proto
from carlien_telematics.domain.behaviour import profile
from carlien_telematics.domain.trips import trips
from carlien_telematics.grpc_api import converters
from carlien_telematics.grpc_api.alerts import AlertRpcs
from carlien_telematics.grpc_api.ingestion import FrameIngestion
from carlien_telematics.messages import profile_to_proto
from carlien_telematics.metrics import TRACK_READS
from carlien_telematics.service import reading, registry
from carlien_telematics.service.profiling import CircumstanceStore
from carlien_telematics.service.reading import Cursor, Reader, TrackStore
from carlien_telematics.service.registry import RegistryStore

Registry = Callable[[Connection], RegistryStore]
"""Devices and consents within the transaction of a connection; bootstrap picks which."""
Tracks = Callable[[Connection], TrackStore]
Profiles = Callable[[Connection], CircumstanceStore]
Context = grpc.aio.ServicerContext[Message, Message]
Answer = TypeVar("Answer", bound=Message)


async def _once(
    pool: Pool,
    stores: Registry,
    rpc: str,
    request: Message,
    key: str,
    answer_type: type[Answer],
    act: Callable[[RegistryStore], Awaitable[Answer]],
) -> Answer:
    """Runs a change in one transaction; a repeat of the request gets the first answer."""
    caller = current_caller()
    async with pool.acquire() as connection, connection.transaction():
        stored = await claim(connection, caller.org, rpc, key, request)
        if stored is not None:
            return answer_type.FromString(stored)
        answer = await act(stores(connection))
        await store(connection, caller.org, rpc, key, answer)
        return answer


class DeviceServicer(device_service_pb2_grpc.DeviceServiceServicer):
    """`DeviceService`."""

    def __init__(self, pool: Pool, stores: Registry, clock: Clock = utc_now) -> None:
        self._pool = pool
        self._stores = stores
        self._clock = clock

    async def RegisterDevice(
        self, request: device_service_pb2.RegisterDeviceRequest, _context: Context
    ) -> device_service_pb2.RegisterDeviceResponse:
        """Registers a device."""
        new = registry.NewDevice(
            device_id=request.device_id,
            vin=request.vin,
            protocol=converters.protocol_from_proto(request.protocol),
            credential=request.credential,
            signing_key=converters.signing_key_from_proto(request.signing_key),
            replaces=request.replaces_device_id or None,
            declared_usage=converters.usage_from_proto(request.declared_usage),
            battery_capacity_ah=request.battery_capacity_ah if request.HasField("battery_capacity_ah") else None,
        )

        async def act(devices: RegistryStore) -> device_service_pb2.RegisterDeviceResponse:
            device = await registry.register_device(devices, new, self._clock())
            return device_service_pb2.RegisterDeviceResponse(device=converters.device_to_proto(device))

        answer = device_service_pb2.RegisterDeviceResponse
        return await _once(self._pool, self._stores, "DeviceService/RegisterDevice", request, request.idempotency_key, answer, act)

    async def GetDevice(self, request: device_service_pb2.GetDeviceRequest, _context: Context) -> device_service_pb2.GetDeviceResponse:
        """Returns one device."""
        async with self._pool.acquire() as connection:
            device = await registry.get_device(self._stores(connection), request.device_id)
        return device_service_pb2.GetDeviceResponse(device=converters.device_to_proto(device))

    async def ListDevices(
        self, request: device_service_pb2.ListDevicesRequest, _context: Context
    ) -> device_service_pb2.ListDevicesResponse:
        """Lists devices; the page token is the last identifier."""
        size = request.page_size or 100
        if not 1 <= size <= 1000:
            raise invalid("page_size", "PAGE_SIZE", "A page has 1 to 1000 devices.")
        vin = parse_vin(request.vin).value if request.vin else None
        after = registry.check_device_id(request.page_token, "page_token") if request.page_token else ""
        async with self._pool.acquire() as connection:
            devices = await self._stores(connection).devices(after, vin, size + 1)
        token = devices[size - 1].device_id if len(devices) > size else ""
        return device_service_pb2.ListDevicesResponse(devices=map(converters.device_to_proto, devices[:size]), next_page_token=token)

    async def RetireDevice(
        self, request: device_service_pb2.RetireDeviceRequest, _context: Context
    ) -> device_service_pb2.RetireDeviceResponse:
        """Takes a device out of service."""

        async def act(devices: RegistryStore) -> device_service_pb2.RetireDeviceResponse:
            device = await registry.retire_device(devices, request.device_id, request.reason, self._clock())
            return device_service_pb2.RetireDeviceResponse(device=converters.device_to_proto(device))

        answer = device_service_pb2.RetireDeviceResponse
        return await _once(self._pool, self._stores, "DeviceService/RetireDevice", request, request.idempotency_key, answer, act)


class DataConsentServicer(data_consent_service_pb2_grpc.DataConsentServiceServicer):
    """`DataConsentService`."""

    def __init__(self, pool: Pool, stores: Registry, clock: Clock = utc_now) -> None:
        self._pool = pool
        self._stores = stores
        self._clock = clock

    async def GrantConsent(
        self, request: data_consent_service_pb2.GrantConsentRequest, _context: Context
    ) -> data_consent_service_pb2.GrantConsentResponse:
        """Records a consent."""
        purpose = converters.purpose_from_proto(request.purpose)
        expires_at = instant_from_proto(request.expires_at, "expires_at")
        if purpose is None:
            raise invalid("purpose", "PURPOSE", "State what the data may be used for.")

        async def act(consents: RegistryStore) -> data_consent_service_pb2.GrantConsentResponse:
            now = self._clock()
            consent = await registry.grant_consent(consents, request.vin, purpose, expires_at, now)
            return data_consent_service_pb2.GrantConsentResponse(consent=converters.consent_to_proto(consent, now))

        answer = data_consent_service_pb2.GrantConsentResponse
        return await _once(self._pool, self._stores, "DataConsentService/GrantConsent", request, request.idempotency_key, answer, act)

    async def RevokeConsent(
        self, request: data_consent_service_pb2.RevokeConsentRequest, _context: Context
    ) -> data_consent_service_pb2.RevokeConsentResponse:
        """Revokes; the gateway hears of it through the database."""
        purpose = converters.purpose_from_proto(request.purpose, optional=True)

        async def act(consents: RegistryStore) -> data_consent_service_pb2.RevokeConsentResponse:
            now = self._clock()
            revoked = await registry.revoke_consent(consents, request.vin, purpose, now)
            messages = [converters.consent_to_proto(consent, now) for consent in revoked]
            return data_consent_service_pb2.RevokeConsentResponse(consents=messages)

        answer = data_consent_service_pb2.RevokeConsentResponse
        return await _once(self._pool, self._stores, "DataConsentService/RevokeConsent", request, request.idempotency_key, answer, act)

    async def GetConsent(
        self, request: data_consent_service_pb2.GetConsentRequest, _context: Context
    ) -> data_consent_service_pb2.GetConsentResponse:
        """Returns a car's consents; none for a car nobody gave one for."""
        vin = parse_vin(request.vin).value
        now = self._clock()
        async with self._pool.acquire() as connection:
            consents = await self._stores(connection).consents(vin)
        return data_consent_service_pb2.GetConsentResponse(consents=[converters.consent_to_proto(consent, now) for consent in consents])


class TelematicsServicer(telematics_service_pb2_grpc.TelematicsServiceServicer):
    """`TelematicsService`."""

    def __init__(
        self, pool: Pool, stores: Tracks, ingestion: FrameIngestion, alerts: AlertRpcs, profiles: Profiles, clock: Clock = utc_now
    ) -> None:
        self._pool = pool
        self._stores = stores
        self._ingestion = ingestion
        self._alerts = alerts
        self._profiles = profiles
        self._clock = clock

    async def IngestFrames(
        self, requests: AsyncIterator[telematics_service_pb2.IngestFramesRequest], _context: Context
    ) -> telematics_service_pb2.IngestFramesResponse:
        """Takes frames of makers' platforms and OBD uploads."""
        return await self._ingestion.take(requests)

    async def GetVehicleState(
        self, request: telematics_service_pb2.GetVehicleStateRequest, _context: Context
    ) -> telematics_service_pb2.GetVehicleStateResponse:
        """Returns the newest state."""
        async with self._pool.acquire() as connection:
            state = await reading.vehicle_state(self._stores(connection), request.vin, _reader())
        return telematics_service_pb2.GetVehicleStateResponse(state=converters.state_to_proto(state))

    async def ListPositions(
        self, request: telematics_service_pb2.ListPositionsRequest, _context: Context
    ) -> telematics_service_pb2.ListPositionsResponse:
        """Lists positions; the read and its audit are one transaction."""
        size = request.page_size or 1000
        after = converters.cursor_from_token(request.page_token)
        start, end = _optional(request.start_time, "start_time"), _optional(request.end_time, "end_time")
        async with self._pool.acquire() as connection, connection.transaction():
            points = await reading.positions(self._stores(connection), request.vin, start, end, after, size, _reader())
        TRACK_READS.labels("ListPositions").inc()
        token = ""
        if len(points) > size:
            last = points[size - 1]
            token = converters.cursor_to_token(Cursor(last.device_time, last.device_id, last.digest))
        return telematics_service_pb2.ListPositionsResponse(
            positions=map(converters.position_to_proto, points[:size]), next_page_token=token
        )

    async def ListTrips(
        self, request: telematics_service_pb2.ListTripsRequest, _context: Context
    ) -> telematics_service_pb2.ListTripsResponse:
        """Finds the trips of a period in its records."""
        start, end = instant_from_proto(request.start_time, "start_time"), instant_from_proto(request.end_time, "end_time")
        async with self._pool.acquire() as connection, connection.transaction():
            samples = await reading.period(self._stores(connection), request.vin, start, end, "ListTrips", _reader())
        TRACK_READS.labels("ListTrips").inc()
        # seconds of work on a month of records must not stop the loop that devices are answered from
        found = await asyncio.to_thread(trips, samples)
        coarse = _reader().sees_coarse
        return telematics_service_pb2.ListTripsResponse(trips=[converters.trip_to_proto(trip, coarse=coarse) for trip in found])

    async def GetBehaviourProfile(
        self, request: telematics_service_pb2.GetBehaviourProfileRequest, _context: Context
    ) -> telematics_service_pb2.GetBehaviourProfileResponse:
        """Tells how a car is used, from its records."""
        days = request.days or 30
        if not 1 <= days <= reading.MAX_PERIOD.days:
            raise invalid("days", "DAYS", f"A period has 1 to {reading.MAX_PERIOD.days} days.")
        end = _optional(request.end_time, "end_time") or self._clock()
        start = end - timedelta(days=days)
        vin = parse_vin(request.vin).value
        async with self._pool.acquire() as connection, connection.transaction():
            samples = await reading.period(self._stores(connection), vin, start, end, "GetBehaviourProfile", _reader())
            known = await self._profiles(connection).circumstances(vin, start, end)
        TRACK_READS.labels("GetBehaviourProfile").inc()
        seen = await asyncio.to_thread(profile, samples, known)
        return telematics_service_pb2.GetBehaviourProfileResponse(profile=profile_to_proto(vin, start, end, seen))

    async def ListAlerts(
        self, request: telematics_service_pb2.ListAlertsRequest, _context: Context
    ) -> telematics_service_pb2.ListAlertsResponse:
        """Lists alert cases."""
        return await self._alerts.list_alerts(request)

    async def StreamAlerts(
        self, request: telematics_service_pb2.StreamAlertsRequest, _context: Context
    ) -> AsyncIterator[telematics_service_pb2.StreamAlertsResponse]:
        """Streams changes of alert cases."""
        async for change in self._alerts.stream_alerts(request):
            yield change


def _reader() -> Reader:
    caller = current_caller()
    return Reader(caller.org, caller.role)


def _optional(message: Timestamp, field: str) -> datetime | None:
    return instant_from_proto(message, field) if message.ByteSize() else None
