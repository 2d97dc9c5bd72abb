"""Which cars have a file, in memory, kept up to date by a task."""

import asyncio

from carlien_common.failures import is_transient
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Pool
from carlien_valuation.adapters.postgres_records import MOST_KNOWN
from carlien_valuation.service.index import IndexFeed

log = get_logger(__name__)

PAGE = 50_000
MAX_DELAY_S = 10.0


class KnownVehicleFiles:
    """service.vehicle_files.KnownFiles. A file is known a moment after its first record was committed."""

    def __init__(self, pool: Pool, most: int = MOST_KNOWN) -> None:
        self._pool, self._most = pool, most
        self._vins: set[str] = set()
        self._last = 0

    def __contains__(self, vin: object) -> bool:
        return vin in self._vins or len(self._vins) >= self._most

    async def refresh(self) -> None:
        """Read what came since last time."""
        while len(self._vins) < self._most:
            rows = await self._pool.fetch(
                "SELECT sequence, vin FROM vehicle_file WHERE sequence > $1 ORDER BY sequence LIMIT $2", self._last, PAGE
            )
            if rows:
                self._vins.update(row["vin"] for row in rows)
                self._last = rows[-1]["sequence"]
            if len(rows) < PAGE:
                return

    async def follow(self, feed: IndexFeed) -> None:
        """Until cancelled: take over every new file. A database that is away for a while leaves what is known."""
        delay = 0.1
        while True:
            seen = feed.seen
            try:
                await self.refresh()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("vehicle_files_refresh_interrupted", error=type(error).__name__, delay_s=delay)
                await asyncio.sleep(delay)
                delay = min(MAX_DELAY_S, delay * 2)
                continue
            delay = 0.1
            await feed.beyond(seen)
