"""The write path: endorse, store the signed envelope, submit, and stay with that same envelope until its outcome is known.

An orderer's acknowledgement isn't durable, and a new proposal of the same change would be a second change. So the envelope
is stored before it is sent, and sent again, also after a restart, until a block shows what became of it. Only a transaction
that is in a block and invalid for a read conflict is endorsed anew, at most MAX_ATTEMPTS times.
"""

import asyncio
import datetime as dt
import hashlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from carlien_common.domain.errors import DomainError, conflict, duplicate, exhausted, unavailable
from carlien_lien_registry import metrics
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import (
    ChangeReader,
    Endorsed,
    EndorsementsDiffer,
    Ledger,
    LedgerCall,
    Outcome,
    OutcomeUnknown,
    Write,
    WriteRequest,
    WriteState,
    WriteStore,
)

MAX_ATTEMPTS: Final = 5
MAX_RUNNING: Final = 1_000
# A block normally follows within BatchTimeout; after this the peer is asked, and then the envelope sent again.
_BLOCK_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 25.0
# Another replica may be at work on younger ones.
_ABANDONED_AFTER: Final = dt.timedelta(seconds=30)

WriteName = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Running:
    task: asyncio.Task[Outcome]
    fingerprint: bytes


class LedgerWriter:
    """Runs writes, each in a task of its own: a caller that goes away doesn't stop its write half-way."""

    def __init__(self, ledger: Ledger, store: WriteStore, outcomes: Outcomes, changes: ChangeReader) -> None:
        """Take the parts."""
        self._ledger = ledger
        self._store = store
        self._outcomes = outcomes
        self._changes = changes
        self._running: dict[WriteName, _Running] = {}
        # An earlier life of this process may have left something; so may a task that the database let down.
        self._unsettled = True

    @property
    def running(self) -> int:
        """Writes under way in this process."""
        return len(self._running)

    async def write(self, request: WriteRequest) -> Outcome:
        """Carry out a change, or answer as the first call with its key did. Returns the outcome with its changes.

        DomainError: what the chaincode refuses; DUPLICATE IDEMPOTENCY_KEY_REUSED; CONFLICT LEDGER_CONFLICT after
        MAX_ATTEMPTS; UNAVAILABLE OUTCOME_PENDING where it takes too long (a repeat with the key gives the answer later).
        """
        name = (request.org, request.rpc, request.key)
        running = self._running.get(name)
        if running is None:
            if len(self._running) >= MAX_RUNNING:
                raise exhausted("WRITES_BUSY", f"{MAX_RUNNING} writes are under way already.")
            task = self._start(name, request.fingerprint, self._write(request))
        else:
            # Its row may not be stored yet, so the store can't tell.
            _require_same(running.fingerprint, request)
            task = running.task
        began = time.perf_counter()
        result = "unexpected"
        try:
            outcome = await asyncio.wait_for(asyncio.shield(task), _ANSWER_SECONDS)
            result = "ok"
            return outcome
        except TimeoutError:
            result = "pending"
            raise unavailable("OUTCOME_PENDING", "The ledger hasn't told the outcome yet; repeat with the same key.") from None
        except asyncio.CancelledError:
            result = "caller_left"
            raise
        except DomainError as error:
            result = error.kind.value
            raise
        finally:
            metrics.WRITE_SECONDS.labels(request.call.function).observe(time.perf_counter() - began)
            metrics.WRITES.labels(request.call.function, result).inc()

    async def recover(self) -> None:
        """Settle what an earlier life of this process left PENDING, then what anybody left. To be repeated."""
        older_than = dt.timedelta(0) if self._unsettled else _ABANDONED_AFTER
        found = await self._store.pending(older_than, MAX_RUNNING - len(self._running))
        self._unsettled = False
        for write in found:
            name = (write.org, write.rpc, write.key)
            if name not in self._running:
                self._start(name, write.fingerprint, self._settle(write))

    async def close(self) -> None:
        """Leave running writes to the next start: their envelopes are stored."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: WriteName, fingerprint: bytes, work: Coroutine[Any, Any, Outcome]) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(work)
        self._running[name] = _Running(task, fingerprint)
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def _ended(self, name: WriteName, task: asyncio.Task[Outcome]) -> None:
        del self._running[name]
        # Whoever waits gets the error; where nobody waits any more, the stored row tells.
        if not task.cancelled() and not isinstance(task.exception(), DomainError | None):
            self._unsettled = True

    async def _write(self, request: WriteRequest) -> Outcome:
        write = await self._store.find(request.org, request.rpc, request.key)
        if write is not None:
            _require_same(write.fingerprint, request)
        if write is None or write.state is WriteState.FAILED:
            write = await self._store.begin(request, await self._endorse(request.call))
            _require_same(write.fingerprint, request)
        return await self._settle(write)

    async def _settle(self, write: Write) -> Outcome:
        sent = ""
        while write.state is WriteState.PENDING:
            if sent == write.endorsed.tx_id:
                metrics.RESUBMISSIONS.inc()
            sent = write.endorsed.tx_id
            outcome = await self._outcome_of(write.endorsed)
            if outcome is not None and outcome.valid and outcome.tx_index is not None:
                # Told by the follower, so the block is in the read model; another replica may have put it there.
                if outcome.changes:
                    return replace(outcome, result=write.endorsed.result, context=write.context)
                return await self._committed(write)
            if outcome is None or outcome.valid:
                write = await self._store.reload(write)
            elif outcome.is_conflict and write.attempt < MAX_ATTEMPTS:
                write = await self._again(write)
            else:
                write = await self._give_up(write, outcome)
        if write.error is not None:
            raise write.error
        return await self._committed(write)

    async def _outcome_of(self, endorsed: Endorsed) -> Outcome | None:
        """Submit and wait for the block. None: not known yet, look at the stored row and come again."""
        waiter = self._outcomes.expect(endorsed.tx_id)
        try:
            try:
                await self._ledger.submit(endorsed)
            except OutcomeUnknown:
                await asyncio.sleep(min(_BLOCK_SECONDS, 0.5))
            done, _ = await asyncio.wait([waiter], timeout=_BLOCK_SECONDS)
            if done:
                return waiter.result()
            try:
                outcome = await self._ledger.status(endorsed.tx_id)
            except OutcomeUnknown:
                return None
            if outcome.valid:
                # The peer has it, our read model is behind: nothing to send any more.
                await asyncio.wait([waiter], timeout=_ANSWER_SECONDS)
                return waiter.result() if waiter.done() else None
            return outcome
        finally:
            self._outcomes.forget(endorsed.tx_id)

    async def _again(self, write: Write) -> Write:
        metrics.CONFLICTS.labels("read_conflict").inc()
        try:
            endorsed = await self._endorse(write.call)
        except DomainError as error:
            # What the winner of the race did may forbid this one now.
            await self._store.fail(write, error)
            return await self._store.reload(write)
        return await self._store.replace(write, endorsed)

    async def _give_up(self, write: Write, outcome: Outcome) -> Write:
        if outcome.is_conflict:
            error = conflict("LEDGER_CONFLICT", f"Other changes came first {write.attempt} times; try again.")
        else:
            text = f"The ledger found the transaction invalid: {outcome.validation}."
            error = conflict("LEDGER_REJECTED", text, tx_id=outcome.tx_id, validation=outcome.validation)
        await self._store.fail(write, error)
        return await self._store.reload(write)

    async def _endorse(self, call: LedgerCall) -> Endorsed:
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._ledger.endorse(call)
            except EndorsementsDiffer:
                metrics.CONFLICTS.labels("endorsements_differ").inc()
                # One endorser was a block behind the other; it has caught up within a moment.
                await asyncio.sleep(0.1)
        raise conflict("LEDGER_CONFLICT", f"Endorsements differed {MAX_ATTEMPTS} times; try again.")

    async def _committed(self, write: Write) -> Outcome:
        changes = await self._changes.changes_of(write.endorsed.tx_id)
        if not changes:
            raise unavailable("OUTCOME_PENDING", "The change is committed but not readable yet; repeat with the same key.")
        position = changes[0].position
        tx_id, result = write.endorsed.tx_id, write.endorsed.result
        return Outcome(tx_id, "VALID", position.block_number, position.tx_index, changes, result, write.context)


def fingerprint(payload: bytes) -> bytes:
    """What tells a repeat from a reuse of a key."""
    return hashlib.sha256(payload).digest()


def _require_same(known: bytes, request: WriteRequest) -> None:
    if known != request.fingerprint:
        raise duplicate("IDEMPOTENCY_KEY_REUSED", "The idempotency key was used for another request.")
