"""TitleService."""

from typing import Any, Final

import grpc

from carlien.lien.v1 import title_service_pb2 as pb
from carlien.lien.v1 import title_service_pb2_grpc
from carlien_common.domain.errors import collect_violations
from carlien_common.domain.vin import parse_vin
from carlien_common.idempotency import check_key
from carlien_lien_registry.domain.registration import check_certificate_number
from carlien_lien_registry.grpc_api.converting import asked, check_text, debtor_of
from carlien_lien_registry.service.operating import Operations
from carlien_lien_registry.service.registry import Registry
from carlien_lien_registry.wire import title_history_entry, title_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["TitleService"]


class TitleServicer(title_service_pb2_grpc.TitleServiceServicer):
    """Converts and calls."""

    def __init__(self, registry: Registry, operations: Operations) -> None:
        self._registry = registry
        self._operations = operations

    async def IssueTitle(self, request: pb.IssueTitleRequest, _context: Context) -> pb.IssueTitleResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            holder = debtor_of(request.holder, "holder")
        check_certificate_number(request.registration_certificate_number, fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("TitleService/IssueTitle", request.idempotency_key, request)
        title = await self._registry.issue_title(named, vin.value, holder, request.registration_certificate_number)
        return pb.IssueTitleResponse(title=title_to_proto(title))

    async def GetTitle(self, request: pb.GetTitleRequest, _context: Context) -> pb.GetTitleResponse:
        return pb.GetTitleResponse(title=title_to_proto(await self._registry.title(parse_vin(request.vin).value)))

    async def TransferTitle(self, request: pb.TransferTitleRequest, _context: Context) -> pb.TransferTitleResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            holder = debtor_of(request.holder, "holder")
        check_text(request.holder_msp_id, "holder_msp_id", fields)
        check_certificate_number(request.registration_certificate_number, fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        call = self._operations.contract.transfer_title(
            vin.value, self._registry.debtor_hash(holder), request.holder_msp_id, request.registration_certificate_number
        )
        title = await self._operations.transfer_title(asked("TitleService/TransferTitle", request.idempotency_key, request), call)
        return pb.TransferTitleResponse(title=title_to_proto(title))

    async def GetTitleHistory(self, request: pb.GetTitleHistoryRequest, _context: Context) -> pb.GetTitleHistoryResponse:
        history = await self._operations.title_history(parse_vin(request.vin).value)
        return pb.GetTitleHistoryResponse(entries=map(title_history_entry, history))
