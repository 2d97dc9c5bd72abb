"""LienService."""

from dataclasses import replace
from typing import Any, Final

import grpc

from carlien.lien.v1 import lien_service_pb2 as pb
from carlien.lien.v1 import lien_service_pb2_grpc
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import collect_violations
from carlien_common.domain.vin import parse_vin
from carlien_common.idempotency import check_key
from carlien_common.wire import instant_from_proto
from carlien_lien_registry.domain.debtors import DebtorHasher
from carlien_lien_registry.domain.operations import CourtOrder, Reservation
from carlien_lien_registry.domain.registration import check_expiry, check_reason
from carlien_lien_registry.grpc_api.changing import (
    HOLD_SECONDS,
    MAX_BATCH,
    amendment_of,
    batch_item,
    batch_outcome,
    court_order_call,
    lien_list,
    of_kind,
)
from carlien_lien_registry.grpc_api.converting import asked, check_text, new_lien, registration_number_of
from carlien_lien_registry.grpc_api.ranking import rank_priorities
from carlien_lien_registry.service.operating import Operations
from carlien_lien_registry.service.ranking import Rankings
from carlien_lien_registry.service.registry import Registry
from carlien_lien_registry.wire import history_entry, lien_to_proto
from carlien_lien_registry.wire_records import court_order_to_proto, reservation_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["LienService"]


class LienServicer(lien_service_pb2_grpc.LienServiceServicer):
    """Converts and calls."""

    def __init__(
        self, registry: Registry, operations: Operations, rankings: Rankings, hasher: DebtorHasher, msp_id: str, clock: Clock
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._contract = operations.contract
        self._rankings = rankings
        self._hasher = hasher
        self._msp_id = msp_id
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
        with fields:
            check_key(request.idempotency_key)
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

    async def BatchRegisterLiens(self, request: pb.BatchRegisterLiensRequest, _context: Context) -> pb.BatchRegisterLiensResponse:
        fields = collect_violations()
        if not 0 < len(request.registrations) <= MAX_BATCH:
            fields.add("registrations", "BATCH_SIZE", f"A batch has 1 to {MAX_BATCH} registrations.")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        now = self._clock()
        items = [batch_item(one, self._hasher, now) for one in request.registrations]
        named = asked("LienService/BatchRegisterLiens", request.idempotency_key, request)
        results = await self._operations.register_batch(named, items)
        return pb.BatchRegisterLiensResponse(outcomes=[batch_outcome(result, self._clock()) for result in results])

    async def AmendLien(self, request: pb.AmendLienRequest, _context: Context) -> pb.AmendLienResponse:
        number, amendment = amendment_of(request, self._hasher)
        lien = await self._operations.amend(asked("LienService/AmendLien", request.idempotency_key, request), number, amendment)
        return pb.AmendLienResponse(lien=lien_to_proto(lien, self._clock()))

    async def AssignLien(self, request: pb.AssignLienRequest, _context: Context) -> pb.AssignLienResponse:
        fields = collect_violations()
        with fields:
            registration_number_of(request.registration_number)
        check_text(request.claim_id, "claim_id", fields)
        check_text(request.assignee_msp_id, "assignee_msp_id", fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("LienService/AssignLien", request.idempotency_key, request)
        lien = await self._operations.assign(named, request.registration_number, request.claim_id, request.assignee_msp_id)
        return pb.AssignLienResponse(lien=lien_to_proto(lien, self._clock()))

    async def SubordinateLien(self, request: pb.SubordinateLienRequest, _context: Context) -> pb.SubordinateLienResponse:
        fields = collect_violations()
        with fields:
            registration_number_of(request.registration_number)
        with fields:
            registration_number_of(request.senior_registration_number, "senior_registration_number")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("LienService/SubordinateLien", request.idempotency_key, request)
        lien = await self._operations.subordinate(named, request.registration_number, request.senior_registration_number)
        return pb.SubordinateLienResponse(lien=lien_to_proto(lien, self._clock()))

    async def RenewLien(self, request: pb.RenewLienRequest, _context: Context) -> pb.RenewLienResponse:
        fields = collect_violations()
        with fields:
            registration_number_of(request.registration_number)
        with fields:
            expires_at = instant_from_proto(request.expires_at, "expires_at")
            check_expiry(expires_at, self._clock(), fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("LienService/RenewLien", request.idempotency_key, request)
        lien = await self._operations.renew(named, request.registration_number, expires_at)
        return pb.RenewLienResponse(lien=lien_to_proto(lien, self._clock()))

    async def RegisterCourtOrder(self, request: pb.RegisterCourtOrderRequest, _context: Context) -> pb.RegisterCourtOrderResponse:
        call = court_order_call(request, self._contract)
        record = await self._operations.record(asked("LienService/RegisterCourtOrder", request.idempotency_key, request), call)
        return pb.RegisterCourtOrderResponse(court_order=court_order_to_proto(of_kind(record, CourtOrder)))

    async def ReservePriority(self, request: pb.ReservePriorityRequest, _context: Context) -> pb.ReservePriorityResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        if request.hold_seconds not in HOLD_SECONDS:
            fields.add("hold_seconds", "HOLD_SECONDS", "First rank is held for 60 to 3600 seconds.")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("LienService/ReservePriority", request.idempotency_key, request)
        record = await self._operations.record(named, self._contract.reserve_priority(vin.value, request.hold_seconds))
        return pb.ReservePriorityResponse(reservation=reservation_to_proto(of_kind(record, Reservation)))

    async def ReleasePriority(self, request: pb.ReleasePriorityRequest, _context: Context) -> pb.ReleasePriorityResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            registration_number_of(request.reservation_id, "reservation_id")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("LienService/ReleasePriority", request.idempotency_key, request)
        record = await self._operations.record(named, self._contract.release_priority(vin.value, request.reservation_id))
        return pb.ReleasePriorityResponse(reservation=reservation_to_proto(of_kind(record, Reservation)))

    async def RankPriorities(self, request: pb.RankPrioritiesRequest, _context: Context) -> pb.RankPrioritiesResponse:
        return await rank_priorities(request, self._rankings)

    async def ListLiens(self, request: pb.ListLiensRequest, _context: Context) -> pb.ListLiensResponse:
        query = lien_list(request, self._msp_id, self._clock())
        # One more than asked for tells whether there is a next page.
        found = await self._operations.list_liens(replace(query, limit=query.limit + 1))
        page = found[: query.limit]
        token = page[-1].registration_number if len(found) > query.limit else ""
        return pb.ListLiensResponse(liens=[lien_to_proto(lien, query.as_of) for lien in page], next_page_token=token)
