"""ConsentService."""

from collections.abc import Mapping
from typing import Any, Final

import grpc

from carlien.lien.v1 import consent_service_pb2 as pb
from carlien.lien.v1 import consent_service_pb2_grpc
from carlien_common.domain.errors import collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.idempotency import check_key
from carlien_lien_registry.domain.operations import Consent, ConsentOperation
from carlien_lien_registry.domain.registration import check_hash
from carlien_lien_registry.grpc_api.changing import of_kind
from carlien_lien_registry.grpc_api.converting import asked, optional_instant
from carlien_lien_registry.service.operating import Operations
from carlien_lien_registry.wire_records import consent_to_proto

SERVICE: Final = pb.DESCRIPTOR.services_by_name["ConsentService"]

Context = grpc.aio.ServicerContext[Any, Any]


class ConsentServicer(consent_service_pb2_grpc.ConsentServiceServicer):
    """Converts and calls."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def GiveConsent(self, request: pb.GiveConsentRequest, _context: Context) -> pb.GiveConsentResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            operation, arguments = _proposal(request)
        with fields:
            expires_at = optional_instant(request, "expires_at")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("ConsentService/GiveConsent", request.idempotency_key, request)
        record = await self._operations.give_consent(named, vin.value, operation, arguments, expires_at)
        return pb.GiveConsentResponse(consent=consent_to_proto(of_kind(record, Consent)))

    async def WithdrawConsent(self, request: pb.WithdrawConsentRequest, _context: Context) -> pb.WithdrawConsentResponse:
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        check_hash(request.proposal_hash, "proposal_hash", fields)
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        named = asked("ConsentService/WithdrawConsent", request.idempotency_key, request)
        record = await self._operations.record(named, self._operations.contract.withdraw_consent(vin.value, request.proposal_hash))
        return pb.WithdrawConsentResponse(consent=consent_to_proto(of_kind(record, Consent)))

    async def ListConsents(self, request: pb.ListConsentsRequest, _context: Context) -> pb.ListConsentsResponse:
        return pb.ListConsentsResponse(consents=map(consent_to_proto, await self._operations.consents(parse_vin(request.vin).value)))


def _proposal(request: pb.GiveConsentRequest) -> tuple[ConsentOperation, Mapping[str, str]]:
    match request.WhichOneof("proposal"):
        case "assign":
            return ConsentOperation.ASSIGN, _filled(
                registration_number=request.assign.registration_number,
                claim_id=request.assign.claim_id,
                assignee_msp_id=request.assign.assignee_msp_id,
            )
        case "subordinate":
            return ConsentOperation.SUBORDINATE, _filled(
                registration_number=request.subordinate.registration_number,
                senior_registration_number=request.subordinate.senior_registration_number,
            )
        case "transfer_title":
            return ConsentOperation.TRANSFER_TITLE, _filled(
                vin=request.vin,
                holder_hash=request.transfer_title.holder_hash,
                holder_msp_id=request.transfer_title.holder_msp_id,
                registration_certificate_number=request.transfer_title.registration_certificate_number,
            )
        case _:
            raise invalid("proposal", "PROPOSAL_MISSING", "Say what you consent to.")


def _filled(**arguments: str) -> Mapping[str, str]:
    for name, value in arguments.items():
        if not value:
            raise invalid(f"proposal.{name}", "FIELD_MISSING", f"{name} is required.")
    return arguments
