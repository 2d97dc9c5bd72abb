"""Reservations, consents, disputes and court orders to the messages of carlien.lien.v1."""

from typing import Final

from carlien.lien.v1 import consent_pb2, court_order_pb2, dispute_pb2, events_pb2, priority_pb2
from carlien_common.wire import date_to_proto, instant_to_proto
from carlien_lien_registry.domain.operations import (
    Consent,
    ConsentOperation,
    CourtOrder,
    CourtOrderEffect,
    Dispute,
    DisputeKind,
    DisputeState,
    Record,
    Reservation,
)

OPERATION_TO_PROTO: Final = {one: consent_pb2.ConsentOperation.Value(f"CONSENT_OPERATION_{one.value}") for one in ConsentOperation}
KIND_FROM_PROTO: Final = {dispute_pb2.DisputeKind.Value(f"DISPUTE_KIND_{one.value}"): one for one in DisputeKind}
DISPUTE_STATE_FROM_PROTO: Final = {dispute_pb2.DisputeState.Value(f"DISPUTE_STATE_{one.value}"): one for one in DisputeState}
EFFECT_FROM_PROTO: Final = {court_order_pb2.CourtOrderEffect.Value(f"COURT_ORDER_EFFECT_{one.value}"): one for one in CourtOrderEffect}


def reservation_to_proto(reservation: Reservation) -> priority_pb2.Reservation:
    """The reservation."""
    return priority_pb2.Reservation(
        reservation_id=reservation.reservation_id,
        vin=reservation.vin,
        msp_id=reservation.msp_id,
        state=priority_pb2.ReservationState.Value(f"RESERVATION_STATE_{reservation.state.value}"),
        reserved_at=instant_to_proto(reservation.reserved_at),
        expires_at=instant_to_proto(reservation.expires_at),
        tx_id=reservation.tx_id,
    )


def consent_to_proto(consent: Consent) -> consent_pb2.Consent:
    """The consent."""
    return consent_pb2.Consent(
        vin=consent.vin,
        operation=OPERATION_TO_PROTO[consent.operation],
        proposal_hash=consent.proposal_hash,
        msp_id=consent.msp_id,
        state=consent_pb2.ConsentState.Value(f"CONSENT_STATE_{consent.state.value}"),
        given_at=instant_to_proto(consent.given_at),
        expires_at=instant_to_proto(consent.expires_at) if consent.expires_at else None,
        tx_id=consent.tx_id,
    )


def dispute_to_proto(dispute: Dispute) -> dispute_pb2.Dispute:
    """The dispute."""
    return dispute_pb2.Dispute(
        dispute_id=dispute.dispute_id,
        vin=dispute.vin,
        registration_number=dispute.registration_number,
        kind=dispute_pb2.DisputeKind.Value(f"DISPUTE_KIND_{dispute.kind.value}"),
        statement_hash=dispute.statement_hash,
        state=dispute_pb2.DisputeState.Value(f"DISPUTE_STATE_{dispute.state.value}"),
        opened_by_msp_id=dispute.opened_by_msp_id,
        opened_at=instant_to_proto(dispute.opened_at),
        tx_id=dispute.tx_id,
        resolution_hash=dispute.resolution_hash,
        resolved_by_msp_id=dispute.resolved_by_msp_id,
        resolved_at=instant_to_proto(dispute.resolved_at) if dispute.resolved_at else None,
    )


def court_order_to_proto(order: CourtOrder) -> court_order_pb2.CourtOrder:
    """The court order."""
    return court_order_pb2.CourtOrder(
        court_order_id=order.court_order_id,
        vin=order.vin,
        registration_number=order.registration_number,
        effect=court_order_pb2.CourtOrderEffect.Value(f"COURT_ORDER_EFFECT_{order.effect.value}"),
        court_name=order.court_name,
        court_registry=order.court_registry,
        file_number=order.file_number,
        order_date=date_to_proto(order.order_date),
        order_hash=order.order_hash,
        registrar_msp_id=order.registrar_msp_id,
        registered_at=instant_to_proto(order.registered_at),
        tx_id=order.tx_id,
    )


def put_record(event: events_pb2.LienEvent, record: Record) -> None:
    """Put a record into the event that tells of its change."""
    match record:
        case Reservation():
            event.reservation.CopyFrom(reservation_to_proto(record))
        case Consent():
            event.consent.CopyFrom(consent_to_proto(record))
        case Dispute():
            event.dispute.CopyFrom(dispute_to_proto(record))
        case CourtOrder():
            event.court_order.CopyFrom(court_order_to_proto(record))
