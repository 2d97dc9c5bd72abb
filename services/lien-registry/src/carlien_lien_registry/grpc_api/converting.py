"""Requests to domain values; every bad field of a request is named at once."""

import datetime as dt
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from carlien.lien.v1 import certificate_pb2, lien_pb2, lien_service_pb2, search_service_pb2
from carlien_common.domain.errors import ViolationCollector, collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.idempotency import check_key
from carlien_common.wire import date_from_proto, instant_from_proto, money_from_proto
from carlien_lien_registry.domain.certificate import MatchType
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher, parse_debtor
from carlien_lien_registry.domain.registration import (
    External,
    NewLien,
    PrivateDetails,
    check_amount,
    check_delivery,
    check_expiry,
    check_hash,
    new_salt,
)
from carlien_lien_registry.service.registry import Asked
from carlien_lien_registry.service.searching import SearchRequest
from carlien_lien_registry.wire import CLASS_FROM_PROTO, REGISTRY_FROM_PROTO

_NUMBER_LENGTH: Final = 64
_SERIAL_LENGTH: Final = range(1, 65)
_TEXT_LENGTH: Final = 128
_MAX_AMOUNT_NAME: Final = "secured_amount"


def asked(rpc: str, key: str, request: Message) -> Asked:
    """Name the call for idempotency: (caller's org, rpc, key)."""
    return Asked(current_caller().org, rpc, key, request.SerializeToString(deterministic=True))


def debtor_of(message: lien_pb2.Debtor, field: str, *, name_required: bool = True) -> Debtor:
    """Convert a debtor; INVALID names each bad field."""
    return parse_debtor(message.id_type, message.id_number, message.name, field, name_required=name_required)


def optional_instant(message: Message, name: str) -> dt.datetime | None:
    """Convert a timestamp field, None where unset."""
    value: Timestamp = getattr(message, name)
    return instant_from_proto(value, name) if message.HasField(name) else None


def registration_number_of(text: str, field: str = "registration_number") -> str:
    """INVALID REGISTRATION_NUMBER unless 1 to 64 letters, digits, dots or hyphens."""
    if not 0 < len(text) <= _NUMBER_LENGTH or not text.isascii() or not text.replace("-", "").replace(".", "").isalnum():
        raise invalid(field, "REGISTRATION_NUMBER", "A registration number has 1 to 64 letters, digits, dots or hyphens.")
    return text


def new_lien(request: lien_service_pb2.RegisterLienRequest, hasher: DebtorHasher, now: dt.datetime, *, in_batch: bool = False) -> NewLien:
    """Convert a registration; INVALID names every bad field. Those of a batch have the batch's key."""
    fields = collect_violations()
    delivery_date: dt.date | None = None
    expires_at: dt.datetime | None = None
    with fields:
        vin = parse_vin(request.vin)
    with fields:
        lien_class = CLASS_FROM_PROTO.get(request.lien_class)
        if lien_class is None:
            raise invalid("lien_class", "LIEN_CLASS", "State the kind of security interest.")
    with fields:
        amount = check_amount(money_from_proto(request.secured_amount, _MAX_AMOUNT_NAME), _MAX_AMOUNT_NAME)
    with fields:
        debtor = debtor_of(request.debtor, "debtor")
    with fields:
        delivery_date = date_from_proto(request.delivery_date, "delivery_date") if request.HasField("delivery_date") else None
    with fields:
        expires_at = optional_instant(request, "expires_at")
    check_hash(request.contract_hash, "contract_hash", fields)
    if lien_class is not None:
        check_delivery(lien_class, delivery_date, now.date(), fields)
    check_expiry(expires_at, now, fields)
    external = external_of(request, fields)
    check_optional_text(request.reservation_id, "reservation_id", fields)
    check_optional_text(request.claim_id, "claim_id", fields)
    if request.evidence_hash:
        check_hash(request.evidence_hash, "evidence_hash", fields)
    if not in_batch:
        with fields:
            check_key(request.idempotency_key)
    elif request.idempotency_key:
        fields.add("idempotency_key", "IDEMPOTENCY_KEY_NOT_ALLOWED", "The batch has a key, its registrations have none.")
    fields.check()
    assert lien_class is not None  # noqa: S101 - fields.check() has seen to it
    return NewLien(
        vin=vin.value,
        lien_class=lien_class,
        secured_amount=amount,
        details=PrivateDetails(debtor, request.contract_hash, new_salt()),
        debtor_hash=hasher.newest(debtor),
        require_first_rank=request.require_first_rank,
        delivery_date=delivery_date,
        expires_at=expires_at,
        reservation_id=request.reservation_id,
        evidence_hash=request.evidence_hash,
        claim_id=request.claim_id,
        transfer_restriction_registered=request.transfer_restriction_registered,
        external=external,
    )


def external_of(
    message: lien_service_pb2.RegisterLienRequest | lien_service_pb2.ExternalRegistration, fields: ViolationCollector
) -> External:
    """Convert a registration in an official registry."""
    registry = REGISTRY_FROM_PROTO.get(message.external_registry)
    if registry is None:
        fields.add("external_registry", "EXTERNAL_REGISTRY", "There is no such registry.")
    elif not registry and (message.external_certificate_number or message.external_status):
        fields.add("external_registry", "EXTERNAL_REGISTRY", "Say which registry the number and state are of.")
    check_optional_text(message.external_certificate_number, "external_certificate_number", fields)
    check_optional_text(message.external_status, "external_status", fields)
    return External(registry or "", message.external_certificate_number, message.external_status)


def check_optional_text(text: str, field: str, fields: ViolationCollector) -> None:
    """INVALID <FIELD> unless empty or at most 128 printable characters."""
    if len(text) > _TEXT_LENGTH or not text.isprintable():
        fields.add(field, field.rsplit(".", 1)[-1].upper(), f"At most {_TEXT_LENGTH} printable characters.")


def check_text(text: str, field: str, fields: ViolationCollector) -> None:
    """INVALID <FIELD> unless 1 to 128 printable characters."""
    if not text.strip():
        fields.add(field, "FIELD_MISSING", f"{field} is required.")
    else:
        check_optional_text(text, field, fields)


def search_request(request: search_service_pb2.SearchLiensRequest, now: dt.datetime) -> SearchRequest:
    """Convert a search; a similar search takes any serial, also one with a misread character."""
    fields = collect_violations()
    vin, number = "", ""
    debtor: Debtor | None = None
    as_of: dt.datetime | None = None
    similar = request.match == certificate_pb2.MATCH_TYPE_SIMILAR
    match request.WhichOneof("subject"):
        case "vin":
            with fields:
                vin = _serial(request.vin) if similar else parse_vin(request.vin).value
        case "debtor":
            with fields:
                debtor = debtor_of(request.debtor, "debtor", name_required=False)
        case "registration_number":
            with fields:
                number = registration_number_of(request.registration_number)
        case None:
            fields.add("subject", "SUBJECT_MISSING", "Search by exactly one of vin, debtor and registration_number.")
    if similar and request.WhichOneof("subject") not in ("vin", None):
        fields.add("match", "MATCH_TYPE", "Only a VIN can be matched by similarity.")
    with fields:
        as_of = optional_instant(request, "as_of")
        if as_of is not None and as_of > now:
            raise invalid("as_of", "AS_OF_FUTURE", "Nobody knows what will be registered then.")
    if request.min_block < 0:
        fields.add("min_block", "MIN_BLOCK", "A block number isn't negative.")
    fields.check()
    return SearchRequest(
        vin=vin,
        debtor=debtor,
        registration_number=number,
        match=MatchType.SIMILAR if similar else MatchType.EXACT,
        as_of=as_of,
        min_block=request.min_block,
    )


def _serial(text: str) -> str:
    serial = "".join(character for character in text.upper() if character.isascii() and character.isalnum())
    if len(serial) not in _SERIAL_LENGTH:
        raise invalid("vin", "VIN_LENGTH", "A serial number has 1 to 64 letters or digits.")
    return serial
