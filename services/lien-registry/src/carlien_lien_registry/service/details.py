"""The second transaction: private details into the own organisation's collection, after the public registration.

Only own peers endorse it, since an endorser sees what it executes on. The registration stands without it; what is missing
is found by its row and sent again until the ledger has it, and then the row goes.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from carlien_common.domain.errors import DomainError
from carlien_lien_registry.service.ports import Endorsed, OutcomeUnknown

_IDLE_SECONDS: Final = 1.0
_BATCH: Final = 8
_MAX_DELAY: Final = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DueDetails:
    """Details whose registration is committed."""

    write_id: int
    details_hash: str
    registration_number: str
    details: bytes = field(repr=False)
    tries: int = 0


class DetailsStore(Protocol):
    """Details on their way."""

    async def due(self, limit: int) -> Sequence[DueDetails]:
        """Return details of committed registrations that are to be sent (again) now."""
        ...

    async def done(self, one: DueDetails) -> None:
        """Forget them: the ledger has them."""
        ...

    async def later(self, one: DueDetails, delay: dt.timedelta) -> None:
        """Try again after the delay."""
        ...


class DetailsLedger(Protocol):
    """The private collection."""

    async def store_details(self, registration_number: str, details: bytes) -> Endorsed:
        """Have the details endorsed by own peers; DomainError."""
        ...

    async def has_details(self, registration_number: str) -> bool:
        """Say whether the own collection has them; DomainError."""
        ...

    async def commit(self, endorsed: Endorsed) -> None:
        """Submit and wait for the block; OutcomeUnknown or DomainError where it isn't valid."""
        ...


class DetailsKeeper:
    """Sends details after their registrations, a few at a time so that registrations come first."""

    def __init__(
        self,
        store: DetailsStore,
        ledger: DetailsLedger,
        is_transient: Callable[[BaseException], bool],
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the parts; `is_busy` says that registrations are under way, which come first."""
        self._is_busy = is_busy
        self._store = store
        self._ledger = ledger
        self._is_transient = is_transient

    async def run(self) -> None:
        """Keep at it for good."""
        while True:
            sent = 0
            try:
                due = await self._store.due(1 if self._is_busy() else _BATCH)
                sent = sum(await asyncio.gather(*(self._send(one) for one in due)))
            except Exception as error:
                if not self._is_transient(error):
                    raise
            if sent < _BATCH:
                await asyncio.sleep(_IDLE_SECONDS)

    async def _send(self, one: DueDetails) -> bool:
        try:
            # An earlier try may have been committed without our learning of it.
            if not (one.tries and await self._ledger.has_details(one.registration_number)):
                await self._ledger.commit(await self._ledger.store_details(one.registration_number, one.details))
        except (DomainError, OutcomeUnknown):
            delay = min(_MAX_DELAY, dt.timedelta(seconds=2**one.tries)) if one.tries < 16 else _MAX_DELAY
            await self._store.later(one, delay)
            return False
        await self._store.done(one)
        return True
