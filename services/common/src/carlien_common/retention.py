"""Deletes what has been kept long enough: idempotency keys, consumed events. (The relay deletes published events.)"""

from __future__ import annotations

import asyncio
from typing import Final

from carlien_common.failures import is_transient
from carlien_common.idempotency import RETENTION_DAYS
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Pool

log = get_logger(__name__)

EVERY_S: Final = 600.0
BATCH: Final = 10_000
"""Rows per statement, so that no lock is held long."""
CONSUMED_DAYS: Final = 14
"""Longer than any topic that is read with dedupe keeps its records, so that even a reset to the earliest offset finds them all."""

_KEPT: Final = (("idempotency_key", "created_at", RETENTION_DAYS), ("consumed_event", "consumed_at", CONSUMED_DAYS))


class Retention:
    """Run it as a task: `app.spawn("retention", Retention(pool).run())`. Several at once do no harm."""

    def __init__(self, pool: Pool, every_s: float = EVERY_S) -> None:
        self._pool = pool
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.delete_old()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("retention_failed", error=type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def delete_old(self) -> dict[str, int]:
        """Deletes all there is, in batches; returns rows by table."""
        deleted: dict[str, int] = {}
        for table, column, days in _KEPT:
            deleted[table] = 0
            statement = (
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - names of ours
                f"SELECT ctid FROM {table} WHERE {column} < now() - make_interval(days => $1) LIMIT $2))"
            )
            while True:
                status = await self._pool.execute(statement, days, BATCH)
                count = int(status.rpartition(" ")[2])
                deleted[table] += count
                if count < BATCH:
                    break
        return deleted
