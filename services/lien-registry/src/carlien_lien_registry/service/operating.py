"""The registry's further use cases: batches, amendments, assignments, reservations, consents, disputes, court orders."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, not_found
from carlien_lien_registry.domain.amendments import AddCollateral, Amendment, DebtorChange, SubstituteCollateral
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, Title
from carlien_lien_registry.domain.operations import (
    Consent,
    ConsentOperation,
    CourtOrderEffect,
    Dispute,
    DisputeKind,
    DisputeState,
    Record,
)
from carlien_lien_registry.domain.registration import NewLien
from carlien_lien_registry.service.ports import LedgerCall, LienList, Outcome, WriteRequest
from carlien_lien_registry.service.registry import Asked, lien_of_change
from carlien_lien_registry.service.writing import LedgerWriter, fingerprint


class OperationsContract(Protocol):
    """The chaincode's further calls."""

    def transfer_title(self, vin: str, holder_hash: str, holder_msp_id: str, registration_certificate_number: str) -> LedgerCall:
        """Transfer a title."""
        ...

    def register_liens(self, liens: Sequence[NewLien]) -> LedgerCall:
        """Register up to 100 liens."""
        ...

    def amend_lien(self, registration_number: str, amendment: Amendment) -> LedgerCall:
        """Amend a lien."""
        ...

    def assign_lien(self, registration_number: str, claim_id: str, assignee_msp_id: str) -> LedgerCall:
        """Assign a lien with its claim."""
        ...

    def subordinate_lien(self, registration_number: str, senior_registration_number: str) -> LedgerCall:
        """Let a lien step back."""
        ...

    def renew_lien(self, registration_number: str, expires_at: dt.datetime) -> LedgerCall:
        """Extend a registration."""
        ...

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
        """Register a court order."""
        ...

    def reserve_priority(self, vin: str, hold_seconds: int) -> LedgerCall:
        """Hold first rank."""
        ...

    def release_priority(self, vin: str, reservation_id: str) -> LedgerCall:
        """Give first rank back."""
        ...

    def give_consent(self, vin: str, operation: ConsentOperation, proposal_hash: str, expires_at: dt.datetime | None) -> LedgerCall:
        """Consent to a proposal."""
        ...

    def withdraw_consent(self, vin: str, proposal_hash: str) -> LedgerCall:
        """Take a consent back."""
        ...

    def open_dispute(self, vin: str, registration_number: str, kind: DisputeKind, statement_hash: str) -> LedgerCall:
        """Open a dispute."""
        ...

    def resolve_dispute(self, dispute_id: str, resolution: DisputeState, resolution_hash: str) -> LedgerCall:
        """Decide a dispute or take it back."""
        ...


class OperationsReader(Protocol):
    """The read model's further queries."""

    async def title_history(self, vin: str) -> Sequence[Change]:
        """Return every version of a title."""
        ...

    async def records(self, vin: str, kind: str) -> Sequence[Record]:
        """Return a car's records of a kind."""
        ...

    async def list_liens(self, query: LienList) -> Sequence[Lien]:
        """Return one page of registrations."""
        ...


class LedgerQueries(Protocol):
    """Questions that only the ledger itself answers."""

    async def proposal_hash(self, operation: ConsentOperation, arguments: Mapping[str, str]) -> str:
        """Return the hash of a proposed change as the chaincode computes it; DomainError where it isn't possible at all."""
        ...

    async def own_details(self, registration_number: str) -> bytes:
        """Return the private details of an own registration; DomainError."""
        ...


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One registration of a batch: valid, or why not."""

    lien: NewLien | None = None
    refusal: DomainError | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one registration of a batch."""

    lien: Lien | None = None
    refusal: DomainError | None = None


class Operations:
    """Use cases; every write returns after its block is committed and readable here."""

    def __init__(self, writer: LedgerWriter, reader: OperationsReader, contract: OperationsContract, queries: LedgerQueries) -> None:
        """Take the parts."""
        self._writer = writer
        self._reader = reader
        self._contract = contract
        self._queries = queries

    async def register_batch(self, asked: Asked, items: Sequence[BatchItem]) -> list[BatchResult]:
        """Register what can be in one transaction; an outcome per item. Of a repeat, as the first call found them."""
        sent = [place for place, item in enumerate(items) if item.lien is not None]
        liens = [item.lien for item in items if item.lien is not None]
        if not liens:
            return [BatchResult(refusal=item.refusal) for item in items]
        refused = {str(place): _told(item.refusal) for place, item in enumerate(items) if item.refusal is not None}
        context = json.dumps({"sent": sent, "refused": refused})
        details = tuple(lien.details.serialised() for lien in liens)
        outcome = await self._write(asked, self._contract.register_liens(liens), details, context)
        return _batch_results(outcome, len(items))

    async def amend(self, asked: Asked, registration_number: str, amendment: Amendment) -> Lien:
        """Amend a lien of the own organisation; added or substituted collateral answers the new registration."""
        details: tuple[bytes, ...] = ()
        if isinstance(amendment, DebtorChange):
            details = (amendment.details.serialised(),)
        elif isinstance(amendment, AddCollateral | SubstituteCollateral):
            # The new registration carries the same details_hash, and its details stand under its own number.
            details = (await self._queries.own_details(registration_number),)
        outcome = await self._write(asked, self._contract.amend_lien(registration_number, amendment), details)
        return lien_of_change(outcome.changes[0])

    async def assign(self, asked: Asked, registration_number: str, claim_id: str, assignee_msp_id: str) -> Lien:
        """Assign a lien with its claim (Civil Code 407)."""
        return await self._lien(asked, self._contract.assign_lien(registration_number, claim_id, assignee_msp_id))

    async def subordinate(self, asked: Asked, registration_number: str, senior_registration_number: str) -> Lien:
        """Let a lien stand behind another one (Civil Code 409)."""
        return await self._lien(asked, self._contract.subordinate_lien(registration_number, senior_registration_number))

    async def renew(self, asked: Asked, registration_number: str, expires_at: dt.datetime) -> Lien:
        """Extend a registration."""
        return await self._lien(asked, self._contract.renew_lien(registration_number, expires_at))

    async def transfer_title(self, asked: Asked, call: LedgerCall) -> Title:
        """Transfer a car's title."""
        title = (await self._write(asked, call)).changes[0].title
        if title is None:
            raise TypeError("the ledger answered another change")
        return title

    async def record(self, asked: Asked, call: LedgerCall) -> Record:
        """Write a reservation, consent, dispute or court order."""
        for change in (await self._write(asked, call)).changes:
            if change.record is not None:
                return change.record
        raise TypeError("the ledger answered another change")

    async def give_consent(
        self, asked: Asked, vin: str, operation: ConsentOperation, arguments: Mapping[str, str], expires_at: dt.datetime | None
    ) -> Record:
        """Consent to a proposed change, stated in full: its hash is the chaincode's, not the proposer's."""
        proposal_hash = await self._queries.proposal_hash(operation, arguments)
        return await self.record(asked, self._contract.give_consent(vin, operation, proposal_hash, expires_at))

    async def title_history(self, vin: str) -> Sequence[Change]:
        """Return every version of a car's title, NOT_FOUND TITLE_UNKNOWN."""
        history = await self._reader.title_history(vin)
        if not history:
            raise not_found("TITLE_UNKNOWN", "There is no title for this VIN.")
        return history

    async def consents(self, vin: str) -> list[Consent]:
        """Return the consents about a car as they are now."""
        return [record for record in await self._reader.records(vin, "consent") if isinstance(record, Consent)]

    async def disputes(self, vin: str) -> list[Dispute]:
        """Return the disputes about a car as they are now."""
        return [record for record in await self._reader.records(vin, "dispute") if isinstance(record, Dispute)]

    async def list_liens(self, query: LienList) -> Sequence[Lien]:
        """Return one page of registrations."""
        return await self._reader.list_liens(query)

    @property
    def contract(self) -> OperationsContract:
        """The chaincode's calls, for whoever converts requests."""
        return self._contract

    async def _lien(self, asked: Asked, call: LedgerCall) -> Lien:
        return lien_of_change((await self._write(asked, call)).changes[0])

    async def _write(self, asked: Asked, call: LedgerCall, details: tuple[bytes, ...] = (), context: str = "{}") -> Outcome:
        named = WriteRequest(asked.org, asked.rpc, asked.key, fingerprint(asked.payload), call, details, context)
        return await self._writer.write(named)


def _told(error: DomainError) -> dict[str, object]:
    field = error.violations[0].field if error.violations else ""
    return {"kind": error.kind.name, "reason": error.reason, "message": error.message, "metadata": error.metadata, "field": field}


def refusal_of(told: Mapping[str, object]) -> DomainError:
    """The error in a stored refusal, or in the chaincode's."""
    metadata = dict(told.get("metadata") or {})  # type: ignore[call-overload]
    field = str(told.get("field") or metadata.pop("field", ""))
    reason, message = str(told["reason"]), str(told["message"])
    violations = (FieldViolation(field, reason, message),) if field else ()
    return DomainError(ErrorKind[str(told["kind"])], reason, message, violations, metadata)


def _batch_results(outcome: Outcome, number: int) -> list[BatchResult]:
    context = json.loads(outcome.context)
    results = [BatchResult() for _ in range(number)]
    for place, told in context["refused"].items():
        results[int(place)] = BatchResult(refusal=refusal_of(told))
    registered = {change.lien.registration_number: change.lien for change in outcome.changes if change.lien is not None}
    for answered in json.loads(outcome.result)["outcomes"]:
        place = context["sent"][answered["item"]]
        if "error" in answered:
            results[place] = BatchResult(refusal=refusal_of(answered["error"]))
        else:
            results[place] = BatchResult(lien=registered[answered["lien"]["registration_number"]])
    return results
