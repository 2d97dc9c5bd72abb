"""The service's ledger on Fabric: errors become the domain's, blocks become changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from carlien_common.domain.errors import DomainError, exhausted, unavailable
from carlien_lien_registry.adapters.fabric import (
    BlockTransaction,
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    LedgerClient,
    RetryAction,
    SubmitError,
)
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.service.ports import Endorsed, EndorsementsDiffer, FollowedBlock, LedgerCall, Outcome, OutcomeUnknown

# Right after a network start the peer knows no endorsers yet, until gossip has met; a restarted peer likewise.
_ENDORSER_SECONDS: Final = 8.0
_STATUS_SECONDS: Final = 3.0

ToDomainError = Callable[[str], DomainError]
ToChanges = Callable[[BlockTransaction, int], tuple[Change, ...]]


class FabricLedger:
    """Ledger and LedgerFeed on one channel; titles go through the registrar's identity, everything else through the client's."""

    def __init__(self, client: LedgerClient, registrar: LedgerClient | None, to_domain_error: ToDomainError, to_changes: ToChanges) -> None:
        """Take the gateways and the chaincode's way of telling errors and changes."""
        self._client = client
        self._registrar = registrar
        self._to_domain_error = to_domain_error
        self._to_changes = to_changes

    async def endorse(self, call: LedgerCall) -> Endorsed:
        """Endorse and sign; waits some seconds for endorsers right after a network start."""
        gateway = self._gateway(call)
        arguments = [argument.encode() for argument in call.arguments]
        return await self._endorse(lambda: gateway.endorse(call.function, arguments))

    async def endorse_privately(self, function: str, arguments: Sequence[str], transient: Mapping[str, bytes]) -> Endorsed:
        """Endorse by own-organisation peers only: they alone may see transient data."""
        encoded = [argument.encode() for argument in arguments]
        own = [self._client.msp_id]
        return await self._endorse(lambda: self._client.endorse(function, encoded, transient=transient, endorsing_organizations=own))

    async def submit(self, endorsed: Endorsed) -> None:
        """Send the envelope to the orderer."""
        try:
            await self._client.submit(endorsed.tx_id, endorsed.envelope)
        except SubmitError as error:
            raise OutcomeUnknown(str(error)) from error

    async def status(self, tx_id: str) -> Outcome:
        """Ask the peer, waiting a few seconds for the block."""
        try:
            commit = await self._client.commit_status(tx_id, _STATUS_SECONDS)
        except CommitError as error:
            return Outcome(tx_id, error.validation, error.block_number)
        except CommitStatusError as error:
            raise OutcomeUnknown(str(error)) from error
        return Outcome(tx_id, "VALID", commit.block_number)

    async def evaluate(self, function: str, *arguments: str) -> bytes:
        """Query the chaincode at an own peer; DomainError."""
        try:
            return await self._client.evaluate(function, *(argument.encode() for argument in arguments), own_org_only=True)
        except EvaluateError as error:
            raise self._refusal(error) from error

    async def blocks(self, start: int) -> AsyncIterator[FollowedBlock]:
        """Stream blocks from that number on, decoded."""
        try:
            async for block in self._client.blocks(start):
                yield FollowedBlock(
                    block.number,
                    block.previous_hash,
                    block.header_hash,
                    tuple(self._outcome(transaction, block.number) for transaction in block.transactions),
                )
        except EventsError as error:
            raise OutcomeUnknown(str(error)) from error

    async def height(self) -> int:
        """Return the number of the last block the peer has."""
        try:
            return await asyncio.wait_for(self._client.newest_block_number(), _STATUS_SECONDS)
        except (GatewayError, TimeoutError) as error:
            raise OutcomeUnknown(str(error)) from error

    def _outcome(self, transaction: BlockTransaction, block_number: int) -> Outcome:
        changes = self._to_changes(transaction, block_number) if transaction.event is not None else ()
        return Outcome(transaction.transaction_id, transaction.validation, block_number, transaction.index, changes)

    def _gateway(self, call: LedgerCall) -> LedgerClient:
        if not call.as_registrar:
            return self._client
        if self._registrar is None:
            raise unavailable("REGISTRAR_MISSING", "This deployment has no registrar identity on the ledger.")
        return self._registrar

    async def _endorse(self, attempt: Callable[[], object]) -> Endorsed:
        deadline = time.monotonic() + _ENDORSER_SECONDS
        delay = 0.1
        while True:
            try:
                prepared = await attempt()  # type: ignore[misc]
                return Endorsed(prepared.transaction_id, prepared.envelope, prepared.result)
            except EndorseError as error:
                if not (error.lacks_endorsers or error.is_unavailable or error.is_busy) or time.monotonic() + delay > deadline:
                    if error.retry is RetryAction.NEW_TRANSACTION and not (error.is_unavailable or error.is_busy):
                        raise EndorsementsDiffer(str(error)) from error
                    raise self._refusal(error) from error
            await asyncio.sleep(delay)
            delay = min(1.0, delay * 2)

    def _refusal(self, error: GatewayError) -> DomainError:
        """What the chaincode said, or what is the matter with the network."""
        if error.chaincode_messages:
            return self._to_domain_error(error.chaincode_messages[0])
        if error.is_busy:
            return exhausted("LEDGER_BUSY", "Too many ledger calls are in flight.")
        return unavailable("LEDGER_UNAVAILABLE", "The ledger can't be reached.")
