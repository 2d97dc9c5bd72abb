"""The second transaction: private details into the own organisation's collection, after the public registration.

Only own peers endorse it, since an endorser sees what it executes on. The registration stands without it; what is missing
is found by its row and sent again until the ledger has it, and then the row goes.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from carlien_common.domain.errors import DomainError
from carlien_common.logs import get_logger
from carlien_lien_registry.service.ports import Endorsed, OutcomeUnknown

log = get_logger(__name__)

_IDLE_SECONDS: Final = 1.0
# Registrations come first, but under a load that doesn't end their details must follow, too.
_YIELD_SECONDS: Final = 10.0
# What goes to the ledger in one transaction, and how many of those that failed before are sent, each alone, beside it.
_TOGETHER: Final = 100
_ALONE: Final = 8
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

    async def due(self, limit: int, *, again: bool) -> Sequence[DueDetails]:
        """Return details of committed registrations that are to be sent now: for the first time, or `again`."""
        ...

    async def done(self, sent: Sequence[DueDetails]) -> None:
        """Forget them: the ledger has them."""
        ...

    async def later(self, failed: Sequence[DueDetails], delay: dt.timedelta) -> None:
        """Try again after the delay."""
        ...


class DetailsLedger(Protocol):
    """The private collection."""

    async def store_details(self, details: Mapping[str, bytes]) -> Endorsed:
        """Have the details of these registrations endorsed by own peers, all or none; DomainError."""
        ...

    async def has_details(self, registration_number: str) -> bool:
        """Say whether the own collection has them; DomainError."""
        ...

    async def commit(self, endorsed: Endorsed) -> None:
        """Submit and wait for the block; OutcomeUnknown or DomainError where it isn't valid."""
        ...


class DetailsKeeper:
    """Sends details after their registrations, many in one transaction; where that fails, each by itself from then on."""

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
            await self._let_registrations_pass()
            try:
                while await self.step():
                    pass
            except Exception as error:
                if not self._is_transient(error):
                    raise
            await asyncio.sleep(_IDLE_SECONDS)

    async def _let_registrations_pass(self) -> None:
        for _ in range(int(_YIELD_SECONDS / _IDLE_SECONDS)):
            if not self._is_busy():
                return
            await asyncio.sleep(_IDLE_SECONDS)

    async def step(self) -> bool:
        """Send what is due, as much as goes at once; True where there may be more."""
        fresh = await self._store.due(_TOGETHER, again=False)
        failed = await self._store.due(_ALONE, again=True)
        groups = [group for group in (fresh, *([one] for one in failed)) if group]
        sent = await asyncio.gather(*(self._send(group) for group in groups))
        return any(sent) and (len(fresh) == _TOGETHER or len(failed) == _ALONE)

    async def _send(self, group: Sequence[DueDetails]) -> bool:
        first = group[0]
        try:
            # An earlier try may have been committed without our learning of it.
            if not (first.tries and await self._ledger.has_details(first.registration_number)):
                details = {one.registration_number: one.details for one in group}
                await self._ledger.commit(await self._ledger.store_details(details))
        except (DomainError, OutcomeUnknown) as error:
            log.warning("details_delayed", details=len(group), tries=first.tries + 1, error=str(error))
            delay = min(_MAX_DELAY, dt.timedelta(seconds=2**first.tries)) if first.tries < 16 else _MAX_DELAY
            await self._store.later(group, delay)
            return False
        await self._store.done(group)
        return True
