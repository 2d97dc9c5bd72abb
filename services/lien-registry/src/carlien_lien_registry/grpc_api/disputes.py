"""DisputeService."""

from typing import Any, Final

import grpc

from carlien.lien.v1 import dispute_service_pb2 as pb
from carlien.lien.v1 import dispute_service_pb2_grpc
from carlien_common.domain.errors import collect_violations
from carlien_common.domain.vin import parse_vin
from carlien_common.idempotency import check_key
from carlien_lien_registry.domain.operations import Dispute, DisputeState
from carlien_lien_registry.domain.registration import check_hash
from carlien_lien_registry.grpc_api.changing import of_kind
from carlien_lien_registry.grpc_api.converting import asked, registration_number_of
from carlien_lien_registry.service.operating import Operations
from carlien_lien_registry.wire_records import DISPUTE_STATE_FROM_PROTO, KIND_FROM_PROTO, dispute_to_proto

SERVICE: Final = pb.DESCRIPTOR.services_by_name["DisputeService"]

Context = grpc.aio.ServicerContext[Any, Any]


class DisputeServicer(dispute_service_pb2_grpc.DisputeServiceServicer):
    """Converts and calls."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def OpenDispute(self, request: pb.OpenDisputeRequest, _context: Context) -> pb.OpenDisputeResponse:
        fields = collect_violations()
        kind = KIND_FROM_PROTO.get(request.kind)
        with fields:
            vin = parse_vin(request.vin)
        if request.registration_number:
            with fields:
                registration_number_of(request.registration_number)
        if kind is None:
            fields.add("kind", "DISPUTE_KIND", "Say what kind of dispute it is.")
        check_hash(request.statement_hash, "statement_hash", fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        assert kind is not None  # noqa: S101 - fields.check() has seen to it
        call = self._operations.contract.open_dispute(vin.value, request.registration_number, kind, request.statement_hash)
        record = await self._operations.record(asked("DisputeService/OpenDispute", request.idempotency_key, request), call)
        return pb.OpenDisputeResponse(dispute=dispute_to_proto(of_kind(record, Dispute)))

    async def ResolveDispute(self, request: pb.ResolveDisputeRequest, _context: Context) -> pb.ResolveDisputeResponse:
        fields = collect_violations()
        resolution = DISPUTE_STATE_FROM_PROTO.get(request.resolution)
        with fields:
            registration_number_of(request.dispute_id, "dispute_id")
        if resolution in (None, DisputeState.OPEN):
            fields.add("resolution", "DISPUTE_RESOLUTION", "A dispute ends UPHELD, REJECTED or WITHDRAWN.")
        check_hash(request.resolution_hash, "resolution_hash", fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        assert resolution is not None  # noqa: S101 - fields.check() has seen to it
        call = self._operations.contract.resolve_dispute(request.dispute_id, resolution, request.resolution_hash)
        record = await self._operations.record(asked("DisputeService/ResolveDispute", request.idempotency_key, request), call)
        return pb.ResolveDisputeResponse(dispute=dispute_to_proto(of_kind(record, Dispute)))

    async def ListDisputes(self, request: pb.ListDisputesRequest, _context: Context) -> pb.ListDisputesResponse:
        return pb.ListDisputesResponse(disputes=map(dispute_to_proto, await self._operations.disputes(parse_vin(request.vin).value)))
