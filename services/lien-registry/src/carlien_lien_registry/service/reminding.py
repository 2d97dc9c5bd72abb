"""Reminding of registrations that end by themselves."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from carlien_common.domain.clock import Clock

_EVERY_SECONDS: Final = 30.0


class ReminderStore(Protocol):
    """Registrations of the own organisation, and the reminders that are out."""

    async def remind(self, now: dt.datetime, days_ahead: Sequence[int]) -> int:
        """Write the reminders that are due and not out yet, a bounded number; returns how many."""
        ...


async def keep_reminding(
    store: ReminderStore, days_ahead: Sequence[int], clock: Clock, is_transient: Callable[[BaseException], bool]
) -> None:
    """Look again and again, for good; every replica may, since each reminder is written once."""
    while True:
        written = 0
        try:
            written = await store.remind(clock(), days_ahead)
        except Exception as error:
            if not is_transient(error):
                raise
        if not written:
            await asyncio.sleep(_EVERY_SECONDS)
