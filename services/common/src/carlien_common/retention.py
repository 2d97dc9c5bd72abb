"""Deletes what has been kept long enough: idempotency keys, consumed events. (The relay deletes published events.)"""

from __future__ import annotations

from functools import partial
from typing import Final

from carlien_common.idempotency import RETENTION_DAYS
from carlien_common.postgres.pool import Pool
from carlien_common.repeating import repeat

EVERY_S: Final = 600.0
BATCH: Final = 10_000
"""Rows per statement, so that no lock is held long."""
CONSUMED_DAYS: Final = 14
"""Longer than any topic that is read with dedupe keeps its records, so that even a reset to the earliest offset finds them all."""

_KEPT: Final = (("idempotency_key", "created_at", RETENTION_DAYS), ("consumed_event", "consumed_at", CONSUMED_DAYS))


async def keep_deleting(pool: Pool) -> None:
    """Run it as a task: `app.spawn("retention", keep_deleting(pool))`. Several at once do no harm."""
    await repeat("retention", EVERY_S, partial(delete_old, pool))


async def delete_old(pool: Pool) -> dict[str, int]:
    """Deletes all there is, in batches; returns rows by table."""
    deleted: dict[str, int] = {}
    for table, column, days in _KEPT:
        deleted[table] = 0
        statement = (
            f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - names of ours
            f"SELECT ctid FROM {table} WHERE {column} < now() - make_interval(days => $1) LIMIT $2))"
        )
        while True:
            status = await pool.execute(statement, days, BATCH)
            count = int(status.rpartition(" ")[2])
            deleted[table] += count
            if count < BATCH:
                break
    return deleted
