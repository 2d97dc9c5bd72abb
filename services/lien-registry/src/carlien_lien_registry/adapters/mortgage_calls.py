"""The calls of the chaincode `mortgage-asset`: one JSON object each, optional values left out (see chaincode/README.md)."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from carlien_common.domain.money import Money
from carlien_lien_registry.adapters.records import amount_text, date_text, instant_text
from carlien_lien_registry.domain.amendments import (
    AddCollateral,
    Amendment,
    DebtorChange,
    ExternalRegistration,
    PartialDischarge,
    PossessionEnded,
    SubstituteCollateral,
    TransferRestriction,
)
from carlien_lien_registry.domain.liens import LienClass
from carlien_lien_registry.domain.operations import ConsentOperation, CourtOrderEffect, DisputeKind, DisputeState
from carlien_lien_registry.domain.registration import NewLien
from carlien_lien_registry.service.ports import LedgerCall


class MortgageCalls:
    """Contract of the use cases."""

    def issue_title(self, vin: str, holder_hash: str, registration_certificate_number: str) -> LedgerCall:
        """IssueTitle, by the registrar."""
        fields = {"vin": vin, "holder_hash": holder_hash, "registration_certificate_number": registration_certificate_number}
        return _call("IssueTitle", fields, as_registrar=True)

    def transfer_title(self, vin: str, holder_hash: str, holder_msp_id: str, registration_certificate_number: str) -> LedgerCall:
        """TransferTitle, by the registrar."""
        fields = {
            "vin": vin,
            "holder_hash": holder_hash,
            "holder_msp_id": holder_msp_id,
            "registration_certificate_number": registration_certificate_number,
        }
        return _call("TransferTitle", fields, as_registrar=True)

    def register_lien(self, lien: NewLien) -> LedgerCall:
        """RegisterLien, public part only."""
        return _call("RegisterLien", registration_fields(lien))

    def register_liens(self, liens: Sequence[NewLien]) -> LedgerCall:
        """BatchRegisterLiens, public parts only."""
        return _call("BatchRegisterLiens", {"items": [registration_fields(lien) for lien in liens]})

    def amend_lien(self, registration_number: str, amendment: Amendment) -> LedgerCall:
        """AmendLien."""
        return _call("AmendLien", {"registration_number": registration_number, **_amendment_fields(amendment)})

    def assign_lien(self, registration_number: str, claim_id: str, assignee_msp_id: str) -> LedgerCall:
        """AssignLien."""
        fields = {"registration_number": registration_number, "claim_id": claim_id, "assignee_msp_id": assignee_msp_id}
        return _call("AssignLien", fields)

    def subordinate_lien(self, registration_number: str, senior_registration_number: str) -> LedgerCall:
        """SubordinateLien."""
        fields = {"registration_number": registration_number, "senior_registration_number": senior_registration_number}
        return _call("SubordinateLien", fields)

    def renew_lien(self, registration_number: str, expires_at: dt.datetime) -> LedgerCall:
        """RenewLien."""
        return _call("RenewLien", {"registration_number": registration_number, "expires_at": instant_text(expires_at)})

    def discharge_lien(self, registration_number: str, reason: str) -> LedgerCall:
        """DischargeLien."""
        return _call("DischargeLien", {"registration_number": registration_number, "reason": reason})

    def register_court_order(
        self,
        vin: str,
        registration_number: str,
        effect: CourtOrderEffect,
        court_name: str,
        court_registry: str,
        file_number: str,
        order_date: dt.date,
        order_hash: str,
    ) -> LedgerCall:
        """RegisterCourtOrder, by the registrar."""
        fields = {
            "vin": vin,
            "registration_number": registration_number,
            "effect": effect.value,
            "court_name": court_name,
            "court_registry": court_registry,
            "file_number": file_number,
            "order_date": date_text(order_date),
            "order_hash": order_hash,
        }
        return _call("RegisterCourtOrder", fields, as_registrar=True)

    def reserve_priority(self, vin: str, hold_seconds: int) -> LedgerCall:
        """ReservePriority."""
        return _call("ReservePriority", {"vin": vin, "hold_seconds": hold_seconds})

    def release_priority(self, vin: str, reservation_id: str) -> LedgerCall:
        """ReleasePriority."""
        return _call("ReleasePriority", {"vin": vin, "reservation_id": reservation_id})

    def give_consent(self, vin: str, operation: ConsentOperation, proposal_hash: str, expires_at: dt.datetime | None) -> LedgerCall:
        """GiveConsent."""
        fields = {"vin": vin, "operation": operation.value, "proposal_hash": proposal_hash, "expires_at": instant_text(expires_at)}
        return _call("GiveConsent", fields)

    def withdraw_consent(self, vin: str, proposal_hash: str) -> LedgerCall:
        """WithdrawConsent."""
        return _call("WithdrawConsent", {"vin": vin, "proposal_hash": proposal_hash})

    def open_dispute(self, vin: str, registration_number: str, kind: DisputeKind, statement_hash: str) -> LedgerCall:
        """OpenDispute."""
        fields = {"vin": vin, "registration_number": registration_number, "kind": kind.value, "statement_hash": statement_hash}
        return _call("OpenDispute", fields)

    def resolve_dispute(self, dispute_id: str, resolution: DisputeState, resolution_hash: str) -> LedgerCall:
        """ResolveDispute: a decision is the registrar's, taking back is the opener's."""
        fields = {"dispute_id": dispute_id, "resolution": resolution.value, "resolution_hash": resolution_hash}
        return _call("ResolveDispute", fields, as_registrar=resolution is not DisputeState.WITHDRAWN)


def registration_fields(lien: NewLien) -> dict[str, Any]:
    """The argument of RegisterLien, optional values left out."""
    # The repair or storage contract is what a possessory lien rests on, unless something else is named.
    evidence = lien.evidence_hash or (lien.details.contract_hash if lien.lien_class is LienClass.POSSESSORY else "")
    return _filled(
        {
            "vin": lien.vin,
            "lien_class": lien.lien_class.value,
            **_amount_fields(lien.secured_amount),
            "details_hash": lien.details.hash(),
            "debtor_hash": lien.debtor_hash,
            "require_first_rank": lien.require_first_rank,
            "reservation_id": lien.reservation_id,
            "delivery_date": date_text(lien.delivery_date),
            "evidence_hash": evidence,
            "expires_at": instant_text(lien.expires_at),
            "claim_id": lien.claim_id,
            "transfer_restriction_registered": lien.transfer_restriction_registered,
            "external_registry": lien.external.external_registry,
            "external_certificate_number": lien.external.external_certificate_number,
            "external_status": lien.external.external_status,
        }
    )


def _amendment_fields(amendment: Amendment) -> dict[str, Any]:
    match amendment:
        case PartialDischarge():
            amount = amount_text(amendment.secured_amount)
            return {"amendment": "PARTIAL_DISCHARGE", "secured_amount": amount}
        case DebtorChange():
            return {"amendment": "DEBTOR", "debtor_hash": amendment.debtor_hash, "details_hash": amendment.details.hash()}
        case TransferRestriction():
            return {"amendment": "TRANSFER_RESTRICTION", "transfer_restriction_registered": amendment.registered}
        case ExternalRegistration():
            return {
                "amendment": "EXTERNAL_REGISTRY",
                "external_registry": amendment.external_registry,
                "external_certificate_number": amendment.external_certificate_number,
                "external_status": amendment.external_status,
            }
        case PossessionEnded():
            return {"amendment": "POSSESSION_ENDED", "possession_ended_on": date_text(amendment.ended_on)}
        case AddCollateral():
            return {"amendment": "ADD_COLLATERAL", **_collateral_fields(amendment)}
        case SubstituteCollateral():
            return {"amendment": "SUBSTITUTE_COLLATERAL", **_collateral_fields(amendment)}


def _collateral_fields(change: AddCollateral | SubstituteCollateral) -> dict[str, Any]:
    return {"vin": change.vin, "require_first_rank": change.require_first_rank, "reservation_id": change.reservation_id}


def _amount_fields(amount: Money) -> dict[str, str]:
    return {"secured_amount": amount_text(amount), "currency": amount.currency}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    # transfer_restriction_registered=false means something in an amendment; elsewhere false is what absence means.
    keep = "amendment" in fields
    return {key: value for key, value in fields.items() if value != "" and (value is not False or keep)}


def _call(function: str, fields: Mapping[str, Any], *, as_registrar: bool = False) -> LedgerCall:
    argument = json.dumps(_filled(fields), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return LedgerCall(function, (argument,), as_registrar)
