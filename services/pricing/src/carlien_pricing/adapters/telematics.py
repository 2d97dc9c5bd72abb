"""Telematics by gRPC: the device's last report, how far it can be trusted, and how the car is used."""

import time
from datetime import datetime

import grpc

from carlien.telematics.v1 import profile_pb2, telematics_service_pb2, telematics_service_pb2_grpc
from carlien_common.domain.errors import DomainError
from carlien_common.wire import instant_from_proto
from carlien_pricing.adapters.upstream import degraded, time_left
from carlien_pricing.domain.matrix import TelemetryFacts, UsageFacts
from carlien_pricing.service.ports import UsageReport

NAME = "telematics"
# Fewer days say little of how a car is used.
_LEAST_DAYS = 14


class GrpcTelematics:
    """Telematics. Down or slow: the answer is 'not known', and the worst is assumed. Both calls share one deadline."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = telematics_service_pb2_grpc.TelematicsServiceStub(channel)
        self._timeout = timeout_s

    async def state(self, vin: str, now: datetime) -> UsageFacts:
        return await self._state(vin, now, time_left(self._timeout))

    async def usage(self, vin: str, now: datetime) -> UsageReport:
        give_up = time.monotonic() + time_left(self._timeout)
        state = await self._state(vin, now, give_up - time.monotonic())
        if not state.known:
            return UsageReport(state, {})
        if not state.has_device:
            return UsageReport(state, None)
        request = telematics_service_pb2.GetBehaviourProfileRequest(vin=vin)
        try:
            profile = (await self._stub.GetBehaviourProfile(request, timeout=max(give_up - time.monotonic(), 0.0))).profile
        except grpc.aio.AioRpcError as error:
            degraded(error, NAME)
            return UsageReport(_with(state, TelemetryFacts(known=False)), {})
        return UsageReport(_with(state, _telemetry(profile)), _features(profile))

    async def _state(self, vin: str, now: datetime, timeout: float) -> UsageFacts:
        request = telematics_service_pb2.GetVehicleStateRequest(vin=vin)
        try:
            response = await self._stub.GetVehicleState(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return UsageFacts(known=True)
            degraded(error, NAME)
            return UsageFacts(known=False)
        state = response.state
        try:
            device_time = instant_from_proto(state.device_time, "device_time")
        except DomainError:
            # A device that never told its time has never reported.
            return UsageFacts(known=True)
        silent = (now - device_time).total_seconds() / 3600
        # To a tenth of an hour: the grade doesn't need more, and the stored inputs stay readable.
        return UsageFacts(known=True, has_device=True, hours_silent=round(max(silent, 0.0), 1), alarm=bool(state.last_alarm))


def _with(state: UsageFacts, telemetry: TelemetryFacts) -> UsageFacts:
    return UsageFacts(state.known, state.has_device, state.hours_silent, state.alarm, telemetry)


def _telemetry(profile: profile_pb2.BehaviourProfile) -> TelemetryFacts:
    """A profile without a statement on trust, or with one that can't be, is not trusted."""
    trust = profile.trust
    if not profile.HasField("trust") or not 0 <= trust.score <= 1 or not 0 <= profile.risk_score <= 100:
        return TelemetryFacts(known=False)
    return TelemetryFacts(True, round(trust.score, 4), profile.risk_score, tuple(trust.reasons))


def _features(profile: profile_pb2.BehaviourProfile) -> dict[str, float] | None:
    if profile.days < _LEAST_DAYS:
        return None
    return {
        "km_per_day": profile.km_per_day,
        "active_share": profile.active_days / profile.days,
        "night_share": profile.night_share,
        "main_overnight_share": profile.main_overnight_share,
        "max_speed_kmh": profile.max_speed_kmh,
    }
