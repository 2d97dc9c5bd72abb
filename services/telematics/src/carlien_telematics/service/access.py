"""What the gateway remembers of cars, so that a record costs no query, and how it forgets in time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from carlien_telematics.domain.access import Access
from carlien_telematics.domain.devices import DeviceProtocol


class AccessStore(Protocol):
    """Where devices and consents are kept."""

    async def load(self, vin: str) -> Access:
        """Access of a car as of now; a car nobody knows has no devices."""

    async def vin_of(self, protocol: DeviceProtocol, number: str) -> str | None:
        """The car of an active device that says only its own number, leading zeros cut."""


@dataclass(slots=True)
class _Entry:
    access: Access
    loaded_at: float


class AccessBook:
    """Bounded memory of accesses, told by the database what to forget.

    While the notices don't come (`trust(False)`) an entry lives for `untrusted_age_s`, so that a revocation still stops
    a car's records within a second. Used from one event loop.
    """

    def __init__(
        self,
        store: AccessStore,
        *,
        capacity: int = 200_000,
        untrusted_age_s: float = 0.5,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._capacity = capacity
        self._untrusted_age_s = untrusted_age_s
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._loading: dict[str, asyncio.Task[Access]] = {}
        self._changed_while_loading: set[str] = set()
        self._trusted = False

    def known(self, vin: str) -> Access | None:
        """The remembered access where it can still be relied on, else None: then `load`."""
        entry = self._entries.get(vin)
        if entry is None:
            return None
        if not self._trusted and self._monotonic() - entry.loaded_at > self._untrusted_age_s:
            return None
        return entry.access

    async def load(self, vin: str) -> Access:
        """The access as of now. Calls for the same car at the same time share one query."""
        task = self._loading.get(vin)
        if task is None:
            task = asyncio.create_task(self._load(vin))
            self._loading[vin] = task
            task.add_done_callback(lambda _: self._loading.pop(vin, None))
        return await asyncio.shield(task)

    async def _load(self, vin: str) -> Access:
        while True:
            self._changed_while_loading.discard(vin)
            loaded_at = self._monotonic()
            access = await self._store.load(vin)
            if vin not in self._changed_while_loading:
                break
            # the answer may be from before the change
        if len(self._entries) >= self._capacity:
            self._entries.pop(next(iter(self._entries)))
        self._entries[vin] = _Entry(access, loaded_at)
        return access

    async def vin_of(self, protocol: DeviceProtocol, number: str) -> str | None:
        """See `AccessStore`; asked at logins only, so not remembered."""
        return await self._store.vin_of(protocol, number)

    def forget(self, vin: str) -> None:
        """The car's devices or consents changed."""
        self._entries.pop(vin, None)
        if vin in self._loading:
            self._changed_while_loading.add(vin)

    def trust(self, trusted: bool) -> None:
        """Whether notices of change arrive. Coming back, all is forgotten: some may have been missed."""
        if trusted and not self._trusted:
            self._entries.clear()
            self._changed_while_loading.update(self._loading)
        self._trusted = trusted
