"""The chaincode `mortgage-asset`: its calls, its errors, its events (see chaincode/README.md)."""

import json
from typing import Any, Final

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, conflict, unavailable
from carlien_lien_registry.adapters.fabric import BlockTransaction
from carlien_lien_registry.adapters.fabric_ledger import FabricLedger
from carlien_lien_registry.adapters.records import (
    amount_text,
    date_text,
    instant_text,
    lien_from_record,
    required_instant,
    title_from_record,
)
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import LienClass, Position
from carlien_lien_registry.domain.registration import NewLien
from carlien_lien_registry.service.ports import Endorsed, LedgerCall, OutcomeUnknown

EVENT: Final = "carlien.lien.v1"
# What the domain knows of today; other records are on the ledger for whoever asks the chaincode.
_FOLLOWED: Final = ("lien", "title")


class UnreadableEvent(Exception):
    """An event of another version of the chaincode than this service was written for. Never go on without it."""

    def __init__(self, block_number: int, tx_id: str) -> None:
        """Name the transaction."""
        super().__init__(
            f"the event of transaction {tx_id} in block {block_number} has another form than this service reads: "
            "deploy the service version that reads it (on a development stack: reset the ledger)"
        )


class MortgageAsset:
    """Contract of the use cases, and what ledger and read model need to know of the chaincode."""

    def issue_title(self, vin: str, holder_hash: str, registration_certificate_number: str) -> LedgerCall:
        """IssueTitle, by the registrar."""
        fields = {"vin": vin, "holder_hash": holder_hash, "registration_certificate_number": registration_certificate_number}
        return _call("IssueTitle", fields, as_registrar=True)

    def register_lien(self, lien: NewLien) -> LedgerCall:
        """RegisterLien, public part only."""
        return _call("RegisterLien", registration_fields(lien))

    def discharge_lien(self, registration_number: str, reason: str) -> LedgerCall:
        """DischargeLien."""
        return _call("DischargeLien", {"registration_number": registration_number, "reason": reason})

    @staticmethod
    def error(text: str) -> DomainError:
        """Turn the chaincode's refusal into the domain's error; a text that isn't one is a fault of the ledger's."""
        try:
            told = json.loads(text)
            kind, reason, message = ErrorKind[told["kind"]], str(told["reason"]), str(told["message"])
            metadata = {str(key): str(value) for key, value in (told.get("metadata") or {}).items()}
        except (ValueError, KeyError, TypeError):
            return unavailable("LEDGER_FAULT", "The ledger answered in a way this service doesn't understand.")
        field = metadata.pop("field", "")
        violations = (FieldViolation(field, reason, message),) if kind is ErrorKind.INVALID and field else ()
        return DomainError(kind, reason, message, violations, metadata)

    @staticmethod
    def changes(transaction: BlockTransaction, block_number: int) -> tuple[Change, ...]:
        """What a transaction's event says it changed. A later change of a lien doesn't know where that was registered:

        its position is the change's own until the projection puts the registration's in.
        """
        if transaction.event is None or transaction.event.name != EVENT:
            return ()
        try:
            event = json.loads(transaction.event.payload)
            occurred_at = required_instant(event["occurred_at"])
            return tuple(
                _change(told, Position(block_number, transaction.index, place), transaction.transaction_id, occurred_at)
                for place, told in enumerate(event["changes"])
                if any(told.get(kind) for kind in _FOLLOWED)
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # To skip it would be to certify something untrue later on.
            raise UnreadableEvent(block_number, transaction.transaction_id) from error


class MortgageAssetDetails:
    """DetailsLedger: private details in the own organisation's collection."""

    def __init__(self, ledger: FabricLedger) -> None:
        """Take the ledger."""
        self._ledger = ledger

    async def store_details(self, registration_number: str, details: bytes) -> Endorsed:
        """Have the details endorsed by own peers."""
        argument = json.dumps({"registration_number": registration_number})
        return await self._ledger.endorse_privately("StoreDetails", [argument], {"details": details})

    async def has_details(self, registration_number: str) -> bool:
        """Say whether the own collection has them."""
        try:
            await self._ledger.evaluate("GetDetails", json.dumps({"registration_number": registration_number}))
        except DomainError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return False
            raise
        return True

    async def commit(self, endorsed: Endorsed) -> None:
        """Submit and wait for the block. Storing the same details again is harmless, so a lost one is simply sent anew."""
        await self._ledger.submit(endorsed)
        outcome = await self._ledger.status(endorsed.tx_id)
        if outcome.is_conflict:
            raise OutcomeUnknown("the registration changed meanwhile")
        if not outcome.valid:
            raise conflict("LEDGER_REJECTED", f"The ledger found the transaction invalid: {outcome.validation}.")


def registration_fields(lien: NewLien) -> dict[str, Any]:
    """The argument of RegisterLien, optional values left out."""
    fields: dict[str, Any] = {
        "vin": lien.vin,
        "lien_class": lien.lien_class.value,
        "secured_amount": amount_text(lien.secured_amount),
        "currency": lien.secured_amount.currency,
        "details_hash": lien.details.hash(),
        "debtor_hash": lien.debtor_hash,
        "require_first_rank": lien.require_first_rank,
        "delivery_date": date_text(lien.delivery_date),
        "expires_at": instant_text(lien.expires_at),
        # The repair or storage contract is what a possessory lien rests on.
        "evidence_hash": lien.details.contract_hash if lien.lien_class is LienClass.POSSESSORY else "",
    }
    return {key: value for key, value in fields.items() if value not in ("", False)}


def _call(function: str, fields: dict[str, Any], *, as_registrar: bool = False) -> LedgerCall:
    return LedgerCall(function, (json.dumps(fields, sort_keys=True, separators=(",", ":")),), as_registrar)


def _change(told: dict[str, Any], position: Position, tx_id: str, occurred_at: Any) -> Change:
    lien, title = told.get("lien"), told.get("title")
    return Change(
        told["change"],
        told["vin"],
        position,
        tx_id,
        occurred_at,
        lien=lien_from_record(lien, position) if lien else None,
        title=title_from_record(title, tx_id, position.block_number) if title else None,
    )
