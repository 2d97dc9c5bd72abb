"""Jobs that keep the store lawful and small: tomorrow's partitions, redaction, retention, deletion after a revocation."""

# ruff: noqa: S608 - the queries are put together from constants of this module; every value is a parameter

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from carlien_common.logs import get_logger
from carlien_common.postgres import Connection, Pool
from carlien_telematics.domain.tracks import GENERALISED_DECIMALS
from carlien_telematics.metrics import DELETED_CARS, DELETIONS_OPEN, DEVICES, DROPPED_PARTITIONS, REDACTED_DAYS

log = get_logger(__name__)

# Two replicas must not do the same job at the same time.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('carlien_telematics.upkeep'))"
_DAYS = """
SELECT DISTINCT right(c.relname, 8) AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relname IN ('frame', 'position') AND c.relname ~ '_[0-9]{8}$' AND right(c.relname, 8) < $1 ORDER BY day
"""
_TO_REDACT = f"SELECT day FROM ({_DAYS}) d WHERE NOT EXISTS (SELECT 1 FROM redaction r WHERE r.day = d.day::date) ORDER BY day LIMIT 1"
# Bytes nobody has read may hold a place, and signals do; of what is left only the position does.
_REDACT = (
    """
    UPDATE position SET latitude = round(latitude::numeric, $3), longitude = round(longitude::numeric, $3)
    WHERE device_time >= $1 AND device_time < $2
    """,
    """
    UPDATE frame SET undecoded = NULL, units = (units - ARRAY['user_defined', 'repeated', 'vss', 'can', 'terminal']) || CASE
        WHEN jsonb_typeof(units -> 'position' -> 'latitude') = 'number' THEN jsonb_build_object('position', units -> 'position'
            || jsonb_build_object('latitude', round((units -> 'position' ->> 'latitude')::numeric, $3),
                                  'longitude', round((units -> 'position' ->> 'longitude')::numeric, $3)))
        ELSE '{}' END
    WHERE device_time >= $1 AND device_time < $2
    """,
)
_DUE = """
SELECT deletion_id, vin, received_until FROM deletion WHERE rows_deleted_at IS NULL AND received_until < $1 ORDER BY deletion_id LIMIT 100
"""
_FORGET = (
    *(f"DELETE FROM {table} WHERE vin = $1 AND received_at <= $2" for table in ("frame", "position", "vehicle_state")),
    # what detectors remember of the car; with records of a later consent they begin anew
    *(f"DELETE FROM {table} WHERE vin = $1 AND $2::timestamptz IS NOT NULL" for table in ("car_watch", "car_checkpoint", "insight_due")),
    "DELETE FROM alert WHERE vin = $1 AND last_signal_at <= $2",
    "DELETE FROM alert_change WHERE vin = $1 AND changed_at <= $2",
    "DELETE FROM car_profile WHERE vin = $1 AND computed_at <= $2",
    "DELETE FROM geofence WHERE vin = $1 AND updated_at <= $2",
)
_TOPIC_DUE = "SELECT max(rows_deleted_at) FROM deletion WHERE rows_deleted_at IS NOT NULL AND done_at IS NULL"
_TOPIC_DONE = "UPDATE deletion SET done_at = $2 WHERE rows_deleted_at <= $1 AND done_at IS NULL"

Erase = Callable[[datetime], Awaitable[bool]]
"""Deletes what the frame topic holds from before a time; False where it can't be yet."""


@dataclass(frozen=True, slots=True)
class Periods:
    """How long what is kept, from the day a record is of. A wrong clock's records (history) are kept `precise` from their receipt."""

    retention: timedelta = timedelta(days=400)
    precise: timedelta = timedelta(days=180)
    """After that a record's places are rounded to about a kilometre."""
    deletion_grace: timedelta = timedelta(seconds=60)


class Upkeep:
    """Runs every few seconds."""

    def __init__(self, pool: Pool, periods: Periods, erase: Erase) -> None:
        self._pool = pool
        self._periods = periods
        self._erase = erase

    async def once(self, now: datetime) -> None:
        """One turn."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_LOCK):
                return
            for days in range(3):
                await connection.execute("SELECT ensure_day('frame', $1), ensure_day('position', $1)", now.date() + timedelta(days=days))
            await self._drop_expired(connection, now)
            await self._redact(connection, now)
            await self._delete_rows(connection, now)
            for status, count in await connection.fetch("SELECT status, count(*) FROM device GROUP BY status"):
                DEVICES.labels(status).set(count)
        # beside the transaction: a broker that is away must not hold rows locked
        await self._delete_from_topic(now)

    async def _drop_expired(self, connection: Connection, now: datetime) -> None:
        oldest = (now - self._periods.retention).date()
        for row in await connection.fetch(_DAYS, oldest.strftime("%Y%m%d")):
            for parent in ("frame", "position"):
                # the day comes from the catalogue and matches a pattern of ours
                await connection.execute(f"DROP TABLE IF EXISTS {parent}_{row['day']}")
            DROPPED_PARTITIONS.inc()
            log.info("day_dropped", day=row["day"])
        await connection.execute("DELETE FROM redaction WHERE day < $1", oldest)
        # days a wrong clock invented are not redacted one by one: they go when the others lose their places
        for table in ("frame_history", "position_history"):
            await connection.execute(f"DELETE FROM {table} WHERE received_at < $1", now - self._periods.precise)

    async def _redact(self, connection: Connection, now: datetime) -> None:
        """One day a turn: rewriting all of an old store at once would hold up everybody."""
        found: str | None = await connection.fetchval(_TO_REDACT, (now - self._periods.precise).strftime("%Y%m%d"))
        if found is None:
            return
        day = datetime.strptime(found, "%Y%m%d").replace(tzinfo=UTC)
        for statement in _REDACT:
            await connection.execute(statement, day, day + timedelta(days=1), GENERALISED_DECIMALS)
        await connection.execute("INSERT INTO redaction (day, redacted_at) VALUES ($1, $2)", day.date(), now)
        REDACTED_DAYS.inc()
        log.info("day_redacted", day=found)

    async def _delete_rows(self, connection: Connection, now: datetime) -> None:
        for deletion in await connection.fetch(_DUE, now - self._periods.deletion_grace):
            for statement in _FORGET:
                await connection.execute(statement, deletion["vin"], deletion["received_until"])
            await connection.execute("UPDATE deletion SET rows_deleted_at = $2 WHERE deletion_id = $1", deletion["deletion_id"], now)
            log.info("car_deleted", deletion_id=deletion["deletion_id"])
        DELETIONS_OPEN.set(await connection.fetchval("SELECT count(*) FROM deletion WHERE done_at IS NULL"))

    async def _delete_from_topic(self, now: datetime) -> None:
        until: datetime | None = await self._pool.fetchval(_TOPIC_DUE)
        if until is None or not await self._erase(until):
            return
        done = int((await self._pool.execute(_TOPIC_DONE, until, now)).rsplit(" ", 1)[1])
        DELETED_CARS.inc(done)
        log.info("topic_erased", cars=done)
