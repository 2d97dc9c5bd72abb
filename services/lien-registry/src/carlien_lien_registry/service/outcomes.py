"""Who waits for which transaction: the ledger listener resolves it once the transaction's block is in the read model."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.service.ports import Outcome


class Outcomes:
    """Waiters by transaction id, within one event loop.

    Resolved only after the projection's commit, so whoever waits reads its own write.
    """

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiters: dict[str, asyncio.Future[Outcome]] = {}

    def expect(self, tx_id: str) -> asyncio.Future[Outcome]:
        """Return the future of a transaction's outcome; call before submitting, and `forget` afterwards."""
        waiter = self._waiters.get(tx_id)
        if waiter is None:
            waiter = self._waiters[tx_id] = asyncio.get_running_loop().create_future()
        return waiter

    def forget(self, tx_id: str) -> None:
        """Stop waiting."""
        self._waiters.pop(tx_id, None)

    def resolve(self, outcomes: Iterable[Outcome], stored: Mapping[str, tuple[Change, ...]]) -> None:
        """Tell the waiters, with what the read model stored. A duplicate of a transaction says nothing about the first one."""
        for outcome in outcomes:
            waiter = self._waiters.get(outcome.tx_id)
            if waiter is not None and not waiter.done() and outcome.validation != "DUPLICATE_TXID":
                waiter.set_result(replace(outcome, changes=stored.get(outcome.tx_id, ())))
