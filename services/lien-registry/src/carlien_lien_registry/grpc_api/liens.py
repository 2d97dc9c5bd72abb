"""LienService."""

from typing import Any, Final

import grpc

from carlien.lien.v1 import lien_service_pb2 as pb
from carlien.lien.v1 import lien_service_pb2_grpc
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import collect_violations
from carlien_lien_registry.domain.debtors import DebtorHasher
from carlien_lien_registry.domain.registration import check_key, check_reason
from carlien_lien_registry.grpc_api.converting import asked, new_lien, registration_number_of
from carlien_lien_registry.service.registry import Registry
from carlien_lien_registry.wire import history_entry, lien_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["LienService"]


class LienServicer(lien_service_pb2_grpc.LienServiceServicer):
    """Converts and calls."""

    def __init__(self, registry: Registry, hasher: DebtorHasher, clock: Clock) -> None:
        self._registry = registry
        self._hasher = hasher
        self._clock = clock

    async def RegisterLien(self, request: pb.RegisterLienRequest, _context: Context) -> pb.RegisterLienResponse:
        lien = new_lien(request, self._hasher, self._clock())
        registered = await self._registry.register_lien(asked("LienService/RegisterLien", request.idempotency_key, request), lien)
        return pb.RegisterLienResponse(lien=lien_to_proto(registered, self._clock()))

    async def DischargeLien(self, request: pb.DischargeLienRequest, _context: Context) -> pb.DischargeLienResponse:
        fields = collect_violations()
        with fields:
            number = registration_number_of(request.registration_number)
        check_reason(request.reason, fields)
        check_key(request.idempotency_key, fields)
        fields.check()
        named = asked("LienService/DischargeLien", request.idempotency_key, request)
        discharged = await self._registry.discharge_lien(named, number, request.reason)
        return pb.DischargeLienResponse(lien=lien_to_proto(discharged, self._clock()))

    async def GetLien(self, request: pb.GetLienRequest, _context: Context) -> pb.GetLienResponse:
        lien = await self._registry.lien(registration_number_of(request.registration_number))
        return pb.GetLienResponse(lien=lien_to_proto(lien, self._clock()))

    async def GetLienHistory(self, request: pb.GetLienHistoryRequest, _context: Context) -> pb.GetLienHistoryResponse:
        history = await self._registry.history(registration_number_of(request.registration_number))
        return pb.GetLienHistoryResponse(entries=map(history_entry, history))
