"""The chaincode's records (JSON, see chaincode/README.md) to domain records and back."""

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.liens import Anchor, Lien, LienClass, Position, Title
from carlien_lien_registry.domain.operations import (
    Consent,
    ConsentOperation,
    ConsentState,
    CourtOrder,
    CourtOrderEffect,
    Dispute,
    DisputeKind,
    DisputeState,
    Record,
    Reservation,
    ReservationState,
)

# Kind of a record -> its class; the chaincode's events use these names.
RECORD_KINDS: Final[dict[str, type[Record]]] = {
    "reservation": Reservation,
    "consent": Consent,
    "dispute": Dispute,
    "court_order": CourtOrder,
}


def instant(text: str) -> dt.datetime | None:
    """RFC 3339 to an aware time in UTC, None where empty."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC) if text else None


def instant_text(value: dt.datetime | None) -> str:
    """RFC 3339 in UTC with six decimals, the form the chaincode answers with; empty for None."""
    return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value else ""


def date(text: str) -> dt.date | None:
    """YYYY-MM-DD to a date, None where empty."""
    return dt.date.fromisoformat(text) if text else None


def date_text(value: dt.date | None) -> str:
    """YYYY-MM-DD, empty for None."""
    return value.isoformat() if value else ""


def amount_text(money: Money) -> str:
    """The amount with the currency's decimals, never in exponent form."""
    return f"{money.quantized().amount:f}"


def required_instant(text: str) -> dt.datetime:
    """RFC 3339 to an aware time in UTC; ValueError where empty."""
    value = instant(text)
    if value is None:
        raise ValueError("the ledger's record lacks a time")
    return value


def lien_from_record(record: Mapping[str, Any], position: Position) -> Lien:
    """A lien's record; `position` is the place of its registering transaction, which the record doesn't hold."""
    return Lien(
        registration_number=record["registration_number"],
        vin=record["vin"],
        lien_class=LienClass(record["lien_class"]),
        discharged=record["state"] == "DISCHARGED",
        secured_amount=Money(Decimal(record["secured_amount"]), record["currency"]).quantized(),
        secured_party_msp_id=record["secured_party_msp_id"],
        registered_at=required_instant(record["registered_at"]),
        tx_id=record["tx_id"],
        position=position,
        expires_at=instant(record["expires_at"]),
        first_rank=record["first_rank"],
        delivery_date=date(record["delivery_date"]),
        details_hash=record["details_hash"],
        debtor_hash=record["debtor_hash"],
        discharge_reason=record["discharge_reason"],
        discharged_at=instant(record["discharged_at"]),
        version=record["version"],
        base_registration_number=record["base_registration_number"],
        claim_id=record["claim_id"],
        priority_at=instant(record["priority_at"]),
        priority_tx_id=record["priority_tx_id"],
        evidence_hash=record["evidence_hash"],
        possession_ended_on=date(record["possession_ended_on"]),
        transfer_restriction_registered=record["transfer_restriction_registered"],
        external_registry=record["external_registry"],
        external_certificate_number=record["external_certificate_number"],
        external_status=record["external_status"],
        subordinated_to=tuple(record["subordinated_to"]),
        replaced_by=record["replaced_by"],
        amendment=record["amendment"],
    )


def lien_to_record(lien: Lien) -> dict[str, Any]:
    """The record of a lien, with what of it is the domain's."""
    return {
        "registration_number": lien.registration_number,
        "base_registration_number": lien.base_registration_number,
        "vin": lien.vin,
        "lien_class": lien.lien_class.value,
        "state": "DISCHARGED" if lien.discharged else "ACTIVE",
        "version": lien.version,
        "secured_amount": amount_text(lien.secured_amount),
        "currency": lien.secured_amount.currency,
        "secured_party_msp_id": lien.secured_party_msp_id,
        "claim_id": lien.claim_id,
        "details_hash": lien.details_hash,
        "debtor_hash": lien.debtor_hash,
        "first_rank": lien.first_rank,
        "registered_at": instant_text(lien.registered_at),
        "tx_id": lien.tx_id,
        "priority_at": instant_text(lien.priority_at),
        "priority_tx_id": lien.priority_tx_id,
        "delivery_date": date_text(lien.delivery_date),
        "evidence_hash": lien.evidence_hash,
        "possession_ended_on": date_text(lien.possession_ended_on),
        "expires_at": instant_text(lien.expires_at),
        "transfer_restriction_registered": lien.transfer_restriction_registered,
        "external_registry": lien.external_registry,
        "external_certificate_number": lien.external_certificate_number,
        "external_status": lien.external_status,
        "subordinated_to": list(lien.subordinated_to),
        "replaced_by": lien.replaced_by,
        "discharge_reason": lien.discharge_reason,
        "discharged_at": instant_text(lien.discharged_at),
        "amendment": lien.amendment,
    }


def title_from_record(record: Mapping[str, Any], tx_id: str, block_number: int) -> Title:
    """A title's record; transaction and block are those of its last change."""
    return Title(
        vin=record["vin"],
        holder_msp_id=record["holder_msp_id"],
        holder_hash=record["holder_hash"],
        registration_certificate_number=record["registration_certificate_number"],
        issued_at=required_instant(record["issued_at"]),
        tx_id=tx_id,
        block_number=block_number,
    )


def title_to_record(title: Title) -> dict[str, Any]:
    """The record of a title, with what of it is the domain's."""
    return {
        "vin": title.vin,
        "holder_msp_id": title.holder_msp_id,
        "holder_hash": title.holder_hash,
        "registration_certificate_number": title.registration_certificate_number,
        "issued_at": instant_text(title.issued_at),
    }


def anchor_from_record(record: Mapping[str, Any]) -> Anchor:
    """A posted root."""
    return Anchor(record["block_number"], record["msp_id"], bytes.fromhex(record["root"]))


def record_from_json(kind: str, record: Mapping[str, Any]) -> Record:
    """A reservation's, consent's, dispute's or court order's record."""
    match kind:
        case "reservation":
            return Reservation(
                reservation_id=record["reservation_id"],
                vin=record["vin"],
                msp_id=record["msp_id"],
                state=ReservationState(record["state"]),
                reserved_at=required_instant(record["reserved_at"]),
                expires_at=required_instant(record["expires_at"]),
                tx_id=record["tx_id"],
            )
        case "consent":
            return Consent(
                vin=record["vin"],
                operation=ConsentOperation(record["operation"]),
                proposal_hash=record["proposal_hash"],
                msp_id=record["msp_id"],
                state=ConsentState(record["state"]),
                given_at=required_instant(record["given_at"]),
                expires_at=instant(record["expires_at"]),
                tx_id=record["tx_id"],
            )
        case "dispute":
            return Dispute(
                dispute_id=record["dispute_id"],
                vin=record["vin"],
                registration_number=record["registration_number"],
                kind=DisputeKind(record["kind"]),
                statement_hash=record["statement_hash"],
                state=DisputeState(record["state"]),
                opened_by_msp_id=record["opened_by_msp_id"],
                opened_at=required_instant(record["opened_at"]),
                tx_id=record["tx_id"],
                resolution_hash=record["resolution_hash"],
                resolved_by_msp_id=record["resolved_by_msp_id"],
                resolved_at=instant(record["resolved_at"]),
            )
        case "court_order":
            return CourtOrder(
                court_order_id=record["court_order_id"],
                vin=record["vin"],
                registration_number=record["registration_number"],
                effect=CourtOrderEffect(record["effect"]),
                court_name=record["court_name"],
                court_registry=record["court_registry"],
                file_number=record["file_number"],
                order_date=required_date(record["order_date"]),
                order_hash=record["order_hash"],
                registrar_msp_id=record["registrar_msp_id"],
                registered_at=required_instant(record["registered_at"]),
                tx_id=record["tx_id"],
            )
    raise ValueError(f"no record kind {kind}")


def record_to_json(record: Record) -> dict[str, str]:
    """The record of a reservation, consent, dispute or court order: every value as the chaincode writes it."""
    return {field.name: _text(getattr(record, field.name)) for field in fields(record)}


def kind_of(record: Record) -> str:
    """Its kind, as in RECORD_KINDS."""
    return next(kind for kind, cls in RECORD_KINDS.items() if isinstance(record, cls))


def required_date(text: str) -> dt.date:
    """YYYY-MM-DD to a date; ValueError where empty."""
    return dt.date.fromisoformat(text)


def _text(value: object) -> str:
    match value:
        case enum.Enum():
            return str(value.value)
        case dt.datetime():
            return instant_text(value)
        case dt.date():
            return date_text(value)
        case None:
            return ""
    return str(value)
