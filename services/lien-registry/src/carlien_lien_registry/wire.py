"""Domain records to the messages of carlien.lien.v1. Shared by the gRPC side, the events and the certificates."""

import datetime as dt
from typing import Final

from carlien.lien.v1 import certificate_pb2, events_pb2, lien_pb2, title_pb2, title_service_pb2
from carlien_common.wire import date_to_proto, instant_to_proto, money_to_proto
from carlien_lien_registry.domain.alerts import Alert
from carlien_lien_registry.domain.certificate import MatchType, Proof, Search
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, LienClass, LienStatus, Title
from carlien_lien_registry.wire_records import put_record

CLASS_TO_PROTO: Final = {kind: lien_pb2.LienClass.Value(f"LIEN_CLASS_{kind.value}") for kind in LienClass}
CLASS_FROM_PROTO: Final = {value: kind for kind, value in CLASS_TO_PROTO.items()}
STATUS_TO_PROTO: Final = {status: lien_pb2.LienStatus.Value(f"LIEN_STATUS_{status.value}") for status in LienStatus}
STATUS_FROM_PROTO: Final = {value: status for status, value in STATUS_TO_PROTO.items()}
REGISTRY_TO_PROTO: Final = {"": lien_pb2.EXTERNAL_REGISTRY_UNSPECIFIED} | {
    name: lien_pb2.ExternalRegistry.Value(f"EXTERNAL_REGISTRY_{name}") for name in ("PSB_VEHICLE", "ZHONGDENG", "OTHER")
}
REGISTRY_FROM_PROTO: Final = {value: name for name, value in REGISTRY_TO_PROTO.items()}
MATCH_TO_PROTO: Final = {
    MatchType.EXACT: certificate_pb2.MATCH_TYPE_EXACT,
    MatchType.SIMILAR: certificate_pb2.MATCH_TYPE_SIMILAR,
}


def lien_to_proto(lien: Lien, as_of: dt.datetime) -> lien_pb2.Lien:
    """The registration, its state judged as of that time."""
    return lien_pb2.Lien(
        registration_number=lien.registration_number,
        vin=lien.vin,
        lien_class=CLASS_TO_PROTO[lien.lien_class],
        status=STATUS_TO_PROTO[lien.status(as_of)],
        secured_amount=money_to_proto(lien.secured_amount),
        secured_party_msp_id=lien.secured_party_msp_id,
        registered_at=instant_to_proto(lien.registered_at),
        tx_id=lien.tx_id,
        block_number=lien.position.block_number,
        tx_index=lien.position.tx_index,
        expires_at=instant_to_proto(lien.expires_at) if lien.expires_at else None,
        first_rank=lien.first_rank,
        delivery_date=date_to_proto(lien.delivery_date) if lien.delivery_date else None,
        details_hash=lien.details_hash,
        debtor_hash=lien.debtor_hash,
        discharge_reason=lien.discharge_reason,
        version=lien.version,
        base_registration_number=lien.base_registration_number,
        claim_id=lien.claim_id,
        priority_at=instant_to_proto(lien.priority_at) if lien.priority_at else None,
        priority_tx_id=lien.priority_tx_id,
        evidence_hash=lien.evidence_hash,
        possession_ended_on=date_to_proto(lien.possession_ended_on) if lien.possession_ended_on else None,
        transfer_restriction_registered=lien.transfer_restriction_registered,
        external_registry=REGISTRY_TO_PROTO[lien.external_registry],
        external_certificate_number=lien.external_certificate_number,
        external_status=lien.external_status,
        subordinated_to=lien.subordinated_to,
        replaced_by=lien.replaced_by,
        discharged_at=instant_to_proto(lien.discharged_at) if lien.discharged_at else None,
    )


def title_to_proto(title: Title) -> title_pb2.Title:
    """The title."""
    return title_pb2.Title(
        vin=title.vin,
        holder_msp_id=title.holder_msp_id,
        holder_hash=title.holder_hash,
        registration_certificate_number=title.registration_certificate_number,
        issued_at=instant_to_proto(title.issued_at),
        tx_id=title.tx_id,
        block_number=title.block_number,
    )


def title_history_entry(change: Change) -> title_service_pb2.TitleHistoryEntry:
    """One version of a title."""
    return title_service_pb2.TitleHistoryEntry(
        change=change.kind,
        title=title_to_proto(change.title) if change.title else None,
        changed_at=instant_to_proto(change.changed_at),
    )


def history_entry(change: Change) -> lien_pb2.LienHistoryEntry:
    """One step of a registration's life, its state judged as of that step."""
    return lien_pb2.LienHistoryEntry(
        change=change.kind,
        lien=lien_to_proto(change.lien, change.changed_at) if change.lien else None,
        tx_id=change.tx_id,
        block_number=change.position.block_number,
        tx_index=change.position.tx_index,
        changed_at=instant_to_proto(change.changed_at),
    )


def event_to_proto(change: Change) -> events_pb2.LienEvent:
    """The event that tells of a change."""
    event = events_pb2.LienEvent(
        change=change.kind,
        vin=change.vin,
        lien=lien_to_proto(change.lien, change.changed_at) if change.lien else None,
        title=title_to_proto(change.title) if change.title else None,
        tx_id=change.tx_id,
        block_number=change.position.block_number,
        tx_index=change.position.tx_index,
        change_index=change.position.change_index,
        occurred_at=instant_to_proto(change.changed_at),
    )
    if change.record is not None:
        put_record(event, change.record)
    return event


def alert_to_proto(alert: Alert) -> events_pb2.LienAlert:
    """The alert."""
    message = events_pb2.LienAlert(
        kind=events_pb2.AlertKind.Value(f"ALERT_KIND_{alert.kind.name}"),
        vin=alert.vin,
        registration_number=alert.registration_number,
        expires_at=instant_to_proto(alert.expires_at) if alert.expires_at else None,
        days_ahead=alert.days_ahead,
    )
    if alert.change is not None:
        message.change = alert.change.kind
        message.tx_id = alert.change.tx_id
        message.block_number = alert.change.position.block_number
        if alert.change.lien is not None:
            message.other_registration_number = alert.change.lien.registration_number
    return message


def certificate_to_proto(search: Search) -> certificate_pb2.SearchCertificate:
    """The certificate of a search, not signed yet."""
    query = certificate_pb2.SearchQuery(match=MATCH_TO_PROTO[search.query.match], as_of=instant_to_proto(search.query.as_of))
    if search.query.vin:
        query.vin = search.query.vin
    elif search.query.registration_number:
        query.registration_number = search.query.registration_number
    return certificate_pb2.SearchCertificate(
        certificate_number=search.certificate_number,
        searched_at=instant_to_proto(search.searched_at),
        query=query,
        debtor_hash=search.query.debtor_hash,
        hits=[
            certificate_pb2.SearchHit(lien=lien_to_proto(hit.lien, search.query.as_of), match_type=MATCH_TO_PROTO[hit.match_type])
            for hit in search.hits
        ],
        as_of_block=search.as_of_block,
        ledger_height=search.ledger_height,
        anchored_by=search.proof.anchored_by if search.proof else (),
        known_to_block=search.known_to_block,
        known_since=[
            certificate_pb2.KnownSince(
                registration_number=one.registration_number, change=one.change, block_number=one.block_number, tx_index=one.tx_index
            )
            for one in search.known_since
        ],
        proof=_proof_to_proto(search.proof) if search.proof else None,
    )


def _proof_to_proto(proof: Proof) -> certificate_pb2.SearchProof:
    subjects = (certificate_pb2.SubjectProof(subject=one.subject, entries=one.entries, siblings=one.siblings) for one in proof.subjects)
    return certificate_pb2.SearchProof(root=proof.root, subjects=subjects, records=proof.records)
