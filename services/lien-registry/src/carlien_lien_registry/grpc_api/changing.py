"""Requests of the further changes to domain values, and their answers back."""

import datetime as dt
from typing import Final, TypeVar

from carlien.lien.v1 import lien_service_pb2 as pb
from carlien_common.domain.errors import DomainError, ErrorKind, collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.idempotency import check_key
from carlien_common.wire import date_from_proto, money_from_proto
from carlien_lien_registry.domain.amendments import (
    AddCollateral,
    Amendment,
    DebtorChange,
    PartialDischarge,
    PossessionEnded,
    SubstituteCollateral,
    TransferRestriction,
)
from carlien_lien_registry.domain.debtors import DebtorHasher
from carlien_lien_registry.domain.operations import Record
from carlien_lien_registry.domain.registration import PrivateDetails, check_amount, check_hash, new_salt
from carlien_lien_registry.grpc_api.converting import (
    check_optional_text,
    check_text,
    debtor_of,
    external_of,
    new_lien,
    optional_instant,
    registration_number_of,
)
from carlien_lien_registry.service.operating import BatchItem, BatchResult, OperationsContract
from carlien_lien_registry.service.ports import LedgerCall, LienList
from carlien_lien_registry.wire import STATUS_FROM_PROTO, lien_to_proto
from carlien_lien_registry.wire_records import EFFECT_FROM_PROTO

MAX_BATCH: Final = 100
HOLD_SECONDS: Final = range(60, 3601)
_PAGE: Final = 100
_MAX_PAGE: Final = 1_000

RecordT = TypeVar("RecordT", bound=Record)


def of_kind(record: Record, kind: type[RecordT]) -> RecordT:
    """The record as the kind that the call makes; TypeError where the ledger answered another change."""
    if not isinstance(record, kind):
        raise TypeError("the ledger answered another change")
    return record


def batch_item(request: pb.RegisterLienRequest, hasher: DebtorHasher, now: dt.datetime) -> BatchItem:
    """One registration of a batch: valid, or why not."""
    try:
        return BatchItem(lien=new_lien(request, hasher, now, in_batch=True))
    except DomainError as error:
        if error.kind is not ErrorKind.INVALID:
            raise
        return BatchItem(refusal=error)


def batch_outcome(result: BatchResult, now: dt.datetime) -> pb.BatchOutcome:
    """What became of one registration of a batch."""
    if result.lien is not None:
        return pb.BatchOutcome(lien=lien_to_proto(result.lien, now))
    error = result.refusal
    if error is None:
        raise TypeError("an item of a batch has no outcome")
    field = error.violations[0].field if error.violations else ""
    return pb.BatchOutcome(refusal=pb.BatchRefusal(reason=error.reason, message=error.message, field=field, metadata=error.metadata))


def amendment_of(request: pb.AmendLienRequest, hasher: DebtorHasher) -> tuple[str, Amendment]:
    """Registration number and amendment; INVALID names every bad field."""
    fields = collect_violations()
    number, amendment = "", None
    with fields:
        number = registration_number_of(request.registration_number)
    with fields:
        amendment = _amendment(request, hasher)
    with fields:
        check_key(request.idempotency_key)
    fields.check()
    assert amendment is not None  # noqa: S101 - fields.check() has seen to it
    return number, amendment


def _amendment(request: pb.AmendLienRequest, hasher: DebtorHasher) -> Amendment:
    fields = collect_violations()
    kind = request.WhichOneof("amendment")
    match kind:
        case "partial_discharge":
            field = "partial_discharge.secured_amount"
            return PartialDischarge(check_amount(money_from_proto(request.partial_discharge.secured_amount, field), field))
        case "debtor_change":
            change = request.debtor_change
            check_hash(change.contract_hash, "debtor_change.contract_hash", fields)
            with fields:
                debtor = debtor_of(change.debtor, "debtor_change.debtor")
            fields.check()
            return DebtorChange(hasher.newest(debtor), PrivateDetails(debtor, change.contract_hash, new_salt()))
        case "transfer_restriction":
            return TransferRestriction(request.transfer_restriction.registered)
        case "external_registration":
            external = external_of(request.external_registration, fields)
            fields.check()
            return external
        case "possession_ended":
            return PossessionEnded(date_from_proto(request.possession_ended.ended_on, "possession_ended.ended_on"))
        case "add_collateral":
            added = request.add_collateral
            return AddCollateral(parse_vin(added.vin, "add_collateral.vin").value, added.require_first_rank, added.reservation_id)
        case "substitute_collateral":
            other = request.substitute_collateral
            vin = parse_vin(other.vin, "substitute_collateral.vin").value
            return SubstituteCollateral(vin, other.require_first_rank, other.reservation_id)
        case _:
            raise invalid("amendment", "AMENDMENT_MISSING", "Say what to amend.")


def court_order_call(request: pb.RegisterCourtOrderRequest, contract: OperationsContract) -> LedgerCall:
    """The call that registers a court order; INVALID names every bad field."""
    fields = collect_violations()
    effect = EFFECT_FROM_PROTO.get(request.effect)
    with fields:
        vin = parse_vin(request.vin)
    if request.registration_number:
        with fields:
            registration_number_of(request.registration_number)
    if effect is None:
        fields.add("effect", "COURT_ORDER_EFFECT", "Say what the court orders.")
    check_text(request.court_name, "court_name", fields)
    check_optional_text(request.court_registry, "court_registry", fields)
    check_text(request.file_number, "file_number", fields)
    with fields:
        order_date = date_from_proto(request.order_date, "order_date")
    check_hash(request.order_hash, "order_hash", fields)
    with fields:
        check_key(request.idempotency_key)
    fields.check()
    assert effect is not None  # noqa: S101 - fields.check() has seen to it
    return contract.register_court_order(
        vin.value,
        request.registration_number,
        effect,
        request.court_name,
        request.court_registry,
        request.file_number,
        order_date,
        request.order_hash,
    )


def lien_list(request: pb.ListLiensRequest, msp_id: str, now: dt.datetime) -> LienList:
    """Which registrations to list; INVALID names every bad field."""
    fields = collect_violations()
    vin, expires_before = "", None
    if request.vin:
        with fields:
            vin = parse_vin(request.vin).value
    if request.status and request.status not in STATUS_FROM_PROTO:
        fields.add("status", "LIEN_STATUS", "There is no such state.")
    with fields:
        expires_before = optional_instant(request, "expires_before")
    if not 0 <= request.page_size <= _MAX_PAGE:
        fields.add("page_size", "PAGE_SIZE", f"A page has at most {_MAX_PAGE} registrations.")
    if request.page_token:
        with fields:
            registration_number_of(request.page_token, "page_token")
    check_optional_text(request.secured_party_msp_id, "secured_party_msp_id", fields)
    fields.check()
    return LienList(
        secured_party_msp_id=request.secured_party_msp_id or msp_id,
        as_of=now,
        limit=request.page_size or _PAGE,
        after=request.page_token,
        vin=vin,
        status=STATUS_FROM_PROTO.get(request.status),
        expires_before=expires_before,
    )
