"""ReconciliationService."""

import base64
import datetime as dt
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from carlien.lien.v1 import reconciliation_pb2, reconciliation_service_pb2_grpc
from carlien.lien.v1 import reconciliation_service_pb2 as pb
from carlien_common.domain.errors import DomainError, ErrorKind, collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.idempotency import check_key
from carlien_common.wire import date_from_proto, instant_from_proto, instant_to_proto, money_from_proto
from carlien_lien_registry.domain.reconciliation import SOURCES, ExtractRecord, MismatchKind
from carlien_lien_registry.grpc_api.converting import check_optional_text
from carlien_lien_registry.service.reconciling import Case, CaseList, Reconciliation
from carlien_lien_registry.service.registry import Asked
from carlien_lien_registry.wire import REGISTRY_FROM_PROTO, REGISTRY_TO_PROTO

SERVICE: Final = pb.DESCRIPTOR.services_by_name["ReconciliationService"]

Context = grpc.aio.ServicerContext[Any, Any]

MAX_RECORDS: Final = 200_000
_PAGE: Final = 100
_MAX_PAGE: Final = 1_000
_MAX_RESOLUTION: Final = 500
_KINDS: Final = {reconciliation_pb2.MismatchKind.Value(f"MISMATCH_KIND_{kind.value}"): kind for kind in MismatchKind}
_STATES: Final = {0: "OPEN"} | {
    reconciliation_pb2.MismatchState.Value(f"MISMATCH_STATE_{state}"): state for state in ("OPEN", "RESOLVED", "GONE")
}


class ReconciliationServicer(reconciliation_service_pb2_grpc.ReconciliationServiceServicer):
    """Converts and calls."""

    def __init__(self, reconciliation: Reconciliation) -> None:
        self._reconciliation = reconciliation

    async def ImportRegistryExtract(
        self, request_iterator: AsyncIterator[pb.ImportRegistryExtractRequest], _context: Context
    ) -> pb.ImportRegistryExtractResponse:
        source, key, extracted_at = "", "", dt.datetime.min.replace(tzinfo=dt.UTC)
        payload = hashlib.sha256()
        records: list[ExtractRecord] = []
        rejected: Counter[str] = Counter()
        async for request in request_iterator:
            payload.update(request.SerializeToString(deterministic=True))
            if not source:
                source, extracted_at = _header(request)
                key = request.header.idempotency_key
                continue
            if request.WhichOneof("part") != "record":
                raise invalid("part", "RECORD_EXPECTED", "After the header there are records only.")
            if len(records) >= MAX_RECORDS:
                raise invalid("part", "EXTRACT_TOO_LARGE", f"An extract has at most {MAX_RECORDS:,} records.")
            try:
                records.append(_record(request.record))
            except DomainError as error:
                if error.kind is not ErrorKind.INVALID:
                    raise
                rejected[error.reason] += 1
        if not source:
            raise invalid("header", "HEADER_MISSING", "An extract begins with its header.")
        named = Asked(current_caller().org, "ReconciliationService/ImportRegistryExtract", key, payload.digest())
        result = await self._reconciliation.take_extract(named, source, extracted_at, records)
        return pb.ImportRegistryExtractResponse(
            records=result.records, rejected=rejected, opened=result.opened, gone=result.gone, as_of_block=result.as_of_block
        )

    async def ListMismatches(self, request: pb.ListMismatchesRequest, _context: Context) -> pb.ListMismatchesResponse:
        query = _query(request)
        found = await self._reconciliation.list_cases(query)
        page = found[:-1] if len(found) == query.limit else found
        token = _token(page[-1]) if len(page) < len(found) else ""
        return pb.ListMismatchesResponse(mismatches=map(_to_proto, page), next_page_token=token)

    async def ResolveMismatch(self, request: pb.ResolveMismatchRequest, _context: Context) -> pb.ResolveMismatchResponse:
        fields = collect_violations()
        if not request.mismatch_id:
            fields.add("mismatch_id", "FIELD_MISSING", "mismatch_id is required.")
        check_optional_text(request.mismatch_id, "mismatch_id", fields)
        if not request.resolution.strip() or len(request.resolution) > _MAX_RESOLUTION or not request.resolution.isprintable():
            fields.add("resolution", "RESOLUTION", f"Say how it was settled, in 1 to {_MAX_RESOLUTION} printable characters.")
        with fields:
            check_key(request.idempotency_key)
        fields.check()
        case = await self._reconciliation.resolve(request.mismatch_id, request.resolution)
        return pb.ResolveMismatchResponse(mismatch=_to_proto(case))


def _header(request: pb.ImportRegistryExtractRequest) -> tuple[str, dt.datetime]:
    if request.WhichOneof("part") != "header":
        raise invalid("header", "HEADER_MISSING", "An extract begins with its header.")
    fields = collect_violations()
    source = REGISTRY_FROM_PROTO.get(request.header.source, "")
    if source not in SOURCES:
        fields.add("header.source", "EXTERNAL_REGISTRY", "Extracts are taken of the vehicle office and of the movable-property registry.")
    with fields:
        extracted_at = instant_from_proto(request.header.extracted_at, "header.extracted_at")
    with fields:
        check_key(request.header.idempotency_key)
    fields.check()
    return source, extracted_at


def _record(record: reconciliation_pb2.ExtractRecord) -> ExtractRecord:
    fields = collect_violations()
    check_optional_text(record.external_certificate_number, "external_certificate_number", fields)
    fields.check()
    # A misread VIN is what is looked for: only its form counts, not its check digit.
    vin = "".join(record.vin.split()).upper()
    if len(vin) != 17 or not vin.isascii() or not vin.isalnum():
        raise invalid("vin", "VIN_LENGTH" if len(vin) != 17 else "VIN_CHARACTER", "A VIN has 17 letters and digits.")
    registered_on = date_from_proto(record.registered_on, "registered_on") if record.HasField("registered_on") else None
    amount = money_from_proto(record.secured_amount, "secured_amount").require_positive("secured_amount")
    return ExtractRecord(record.external_certificate_number, vin, record.active, amount, registered_on)


def _query(request: pb.ListMismatchesRequest) -> CaseList:
    fields = collect_violations()
    vin, after = "", None
    if request.state not in _STATES:
        fields.add("state", "MISMATCH_STATE", "There is no such state.")
    if request.kind and request.kind not in _KINDS:
        fields.add("kind", "MISMATCH_KIND", "There is no such kind.")
    if request.vin:
        with fields:
            vin = parse_vin(request.vin).value
    if not 0 <= request.page_size <= _MAX_PAGE:
        fields.add("page_size", "PAGE_SIZE", f"A page has at most {_MAX_PAGE} mismatches.")
    if request.page_token:
        with fields:
            after = _place(request.page_token)
    fields.check()
    # One more than asked for tells whether there is a next page.
    return CaseList(_STATES[request.state], (request.page_size or _PAGE) + 1, _KINDS.get(request.kind), vin, after)


def _token(case: Case) -> str:
    return base64.urlsafe_b64encode(f"{case.due_at.isoformat()}|{case.mismatch_id}".encode()).decode()


def _place(token: str) -> tuple[dt.datetime, str]:
    try:
        due_at, _, mismatch_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        return dt.datetime.fromisoformat(due_at).astimezone(dt.UTC), mismatch_id
    except ValueError:
        raise invalid("page_token", "PAGE_TOKEN", "This isn't a page token of ours.") from None


def _to_proto(case: Case) -> reconciliation_pb2.Mismatch:
    one = case.mismatch
    return reconciliation_pb2.Mismatch(
        mismatch_id=case.mismatch_id,
        kind=reconciliation_pb2.MismatchKind.Value(f"MISMATCH_KIND_{one.kind.value}"),
        state=reconciliation_pb2.MismatchState.Value(f"MISMATCH_STATE_{case.state}"),
        source=REGISTRY_TO_PROTO[one.source],
        vin=one.vin,
        registration_number=one.registration_number,
        external_certificate_number=one.external_certificate_number,
        ledger_says=one.ledger_says,
        registry_says=one.registry_says,
        opened_at=instant_to_proto(case.opened_at),
        due_at=instant_to_proto(case.due_at),
        ended_at=instant_to_proto(case.ended_at) if case.ended_at else None,
        resolution=case.resolution,
    )
