"""The chaincode `mortgage-asset`: its calls, its errors, its events (see chaincode/README.md)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, conflict, unavailable
from carlien_lien_registry.adapters.fabric import BlockTransaction
from carlien_lien_registry.adapters.fabric_ledger import FabricLedger
from carlien_lien_registry.adapters.records import (
    RECORD_KINDS,
    anchor_from_record,
    lien_from_record,
    record_from_json,
    required_instant,
    title_from_record,
)
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Anchor, Position
from carlien_lien_registry.domain.operations import ConsentOperation
from carlien_lien_registry.service.ports import Endorsed, LedgerCall, OutcomeUnknown

EVENT: Final = "carlien.lien.v1"
# Policies are on the ledger for whoever asks the chaincode.
_FOLLOWED: Final = ("lien", "title", "anchor", *RECORD_KINDS)


class UnreadableEvent(Exception):
    """An event of another version of the chaincode than this service was written for. Never go on without it."""

    def __init__(self, block_number: int, tx_id: str) -> None:
        """Name the transaction."""
        super().__init__(
            f"the event of transaction {tx_id} in block {block_number} has another form than this service reads: "
            "deploy the service version that reads it (on a development stack: reset the ledger)"
        )


class MortgageAsset:
    """What ledger and read model need to know of the chaincode."""

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

    async def store_details(self, details: Mapping[str, bytes]) -> Endorsed:
        """Have the details of these registrations endorsed by own peers, all or none."""
        if len(details) > 1:
            argument = json.dumps({"registration_numbers": list(details)})
            return await self._ledger.endorse_privately("BatchStoreDetails", [argument], details)
        ((number, private),) = details.items()
        argument = json.dumps({"registration_number": number})
        return await self._ledger.endorse_privately("StoreDetails", [argument], {"details": private})

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
        record=next((record_from_json(kind, told[kind]) for kind in RECORD_KINDS if told.get(kind)), None),
        anchor=anchor_from_record(told["anchor"]) if told.get("anchor") else None,
    )


class MortgageAssetAnchors:
    """AnchorLedger: the own organisation's roots."""

    def __init__(self, ledger: FabricLedger) -> None:
        """Take the ledger."""
        self._ledger = ledger

    async def post(self, block_number: int, root: bytes) -> None:
        """PostAnchor. A root that gets lost isn't sent again: the next block's does as well."""
        argument = json.dumps({"block_number": block_number, "root": root.hex()})
        await self._ledger.submit(await self._ledger.endorse(LedgerCall("PostAnchor", (argument,))))

    async def posted(self, block_number: int) -> list[Anchor]:
        """GetAnchors: the roots on the ledger for a block; DomainError."""
        told = json.loads(await self._ledger.evaluate("GetAnchors", json.dumps({"block_number": block_number})))
        return [anchor_from_record(one) for one in told["anchors"]]


class MortgageAssetQueries:
    """LedgerQueries of the use cases."""

    def __init__(self, ledger: FabricLedger) -> None:
        """Take the ledger."""
        self._ledger = ledger

    async def proposal_hash(self, operation: ConsentOperation, arguments: Mapping[str, str]) -> str:
        """GetProposal: the chaincode's own hash of a proposed change."""
        argument = json.dumps({"operation": operation.value, **arguments})
        return str(json.loads(await self._ledger.evaluate("GetProposal", argument))["proposal_hash"])

    async def own_details(self, registration_number: str) -> bytes:
        """GetDetails: the private details of an own registration."""
        argument = json.dumps({"registration_number": registration_number})
        return str(json.loads(await self._ledger.evaluate("GetDetails", argument))["details"]).encode()
