"""Jobs that keep the store lawful and small: tomorrow's partitions, retention, deletion after a revocation."""

import asyncio
from datetime import UTC, datetime, timedelta

from carlien_common.failures import is_transient
from carlien_common.logs import get_logger
from carlien_common.postgres import Connection, Pool
from carlien_telematics.metrics import DELETED_CARS, DEVICES

log = get_logger(__name__)

# Two replicas must not do the same job at the same time.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('carlien_telematics.upkeep'))"
_EXPIRED_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relname IN ('frame', 'position') AND c.relname ~ '_[0-9]{8}$' AND right(c.relname, 8) < $1
"""
_DUE = "SELECT deletion_id, vin, received_until FROM deletion WHERE done_at IS NULL AND received_until < $1 ORDER BY deletion_id LIMIT 100"


class Upkeep:
    """Runs every `interval_s`. `retention` counts from the day a record is of, in history from when it was received."""

    def __init__(self, pool: Pool, *, retention: timedelta, deletion_grace: timedelta, interval_s: float = 5.0) -> None:
        self._pool = pool
        self._retention = retention
        self._deletion_grace = deletion_grace
        self._interval_s = interval_s

    async def run(self) -> None:
        """For ever; a database that is away is tried again at the next turn."""
        while True:
            try:
                await self.once(datetime.now(UTC))
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("upkeep_postponed", error=type(error).__name__)
            await asyncio.sleep(self._interval_s)

    async def once(self, now: datetime) -> None:
        """One turn."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_LOCK):
                return
            for days in range(3):
                await connection.execute("SELECT ensure_day('frame', $1), ensure_day('position', $1)", now.date() + timedelta(days=days))
            await self._drop_expired(connection, now)
            await self._delete_revoked(connection, now)
            for status, count in await connection.fetch("SELECT status, count(*) FROM device GROUP BY status"):
                DEVICES.labels(status).set(count)

    async def _drop_expired(self, connection: Connection, now: datetime) -> None:
        oldest = (now - self._retention).date()
        for row in await connection.fetch(_EXPIRED_PARTITIONS, oldest.strftime("%Y%m%d")):
            # the name comes from the catalogue and matches a pattern of ours
            await connection.execute(f'DROP TABLE "{row["relname"]}"')
            log.info("partition_dropped", partition=row["relname"])
        await connection.execute("DELETE FROM frame_history WHERE received_at < $1", now - self._retention)
        await connection.execute("DELETE FROM position_history WHERE received_at < $1", now - self._retention)

    async def _delete_revoked(self, connection: Connection, now: datetime) -> None:
        for deletion in await connection.fetch(_DUE, now - self._deletion_grace):
            vin, until = deletion["vin"], deletion["received_until"]
            for table in ("frame", "position", "vehicle_state"):
                await connection.execute(f"DELETE FROM {table} WHERE vin = $1 AND received_at <= $2", vin, until)  # noqa: S608
            await connection.execute("UPDATE deletion SET done_at = $2 WHERE deletion_id = $1", deletion["deletion_id"], now)
            DELETED_CARS.inc()
            log.info("car_deleted", deletion_id=deletion["deletion_id"])
