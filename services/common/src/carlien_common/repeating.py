"""Work that a service does again and again beside its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from carlien_common.failures import is_transient
from carlien_common.logs import get_logger

log = get_logger(__name__)


async def repeat(name: str, every_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """For good, as a task: `app.spawn("upkeep", repeat("upkeep", 5.0, upkeep.once))`.

    A database, broker or ledger that is away is tried again at the next turn; any other error ends the task, and so the process.
    Work that returns True has more to do and goes on at once.
    """
    while True:
        more = False
        try:
            more = await work() is True
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("work_postponed", work=name, error=type(error).__name__)
        if not more:
            await asyncio.sleep(every_s)
