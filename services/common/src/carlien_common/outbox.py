"""The transactional outbox: an event is stored with the change that causes it, and a relay publishes it afterwards.

Delivery is at least once with a stable ce_id: the relay may be killed between the broker's acknowledgement and its mark. Events of
one key are published one after the other in the order of their ids, so a writer that holds its aggregate's row lock when it
appends gets its order kept. One relay per database publishes, whoever holds the advisory lock; the others stand by.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from google.protobuf.message import Message

from carlien_common import metrics, spans
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError
from carlien_common.domain.ids import new_id
from carlien_common.failures import is_transient
from carlien_common.kafka.events import CloudEvent
from carlien_common.kafka.producer import Producer
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import NOT_YET, Connection, connect

log = get_logger(__name__)

CHANNEL: Final = "carlien_outbox"
# "outbox" in ASCII: nobody else in the database takes this lock.
LOCK: Final = int.from_bytes(b"outbox", "big")
BATCH: Final = 500
POLL_S: Final = 5.0
"""A notification wakes the relay at once; this is for those that were missed."""
STANDBY_POLL_S: Final = 1.0
"""How soon a relay that stands by notices that the leader has gone."""
RETENTION: Final = dt.timedelta(days=7)
"""How long published events stay, to be looked at or published again by hand."""
DELETE_EVERY_S: Final = 600.0
DELETE_BATCH: Final = 10_000
FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 10.0


async def append(
    conn: Connection,
    *,
    topic: str,
    key: str,
    event: Message,
    ce_type: str,
    ce_source: str,
    ce_id: str | None = None,
) -> str:
    """Stores an event in the caller's transaction and returns its ce_id. Give a `ce_id` when the event has a name of its own.

    `ce_type` is the event's name (carlien.lien.registered.v1), `ce_source` the service and org (/org1/lien-registry).
    """
    attributes = CloudEvent(type=ce_type, source=ce_source, id=new_id() if ce_id is None else ce_id)
    # The notification is delivered when the transaction commits, once per transaction however often it is asked for.
    await conn.execute(
        "INSERT INTO outbox (topic, key, value, ce_id, ce_type, ce_source, ce_time, traceparent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
        "RETURNING pg_notify($9, '')",
        topic,
        key,
        event.SerializeToString(),
        attributes.id,
        ce_type,
        ce_source,
        attributes.time,
        attributes.traceparent,
        CHANNEL,
    )
    return attributes.id


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of append_all()."""

    key: str
    event: Message
    ce_type: str
    ce_id: str


async def append_all(conn: Connection, *, topic: str, ce_source: str, entries: Iterable[Entry]) -> None:
    """Like append() for many events with names of their own, in one statement: for a projection that takes blocks in."""
    rows = [(entry, CloudEvent(type=entry.ce_type, source=ce_source, id=entry.ce_id)) for entry in entries]
    if not rows:
        return
    await conn.execute(
        "INSERT INTO outbox (topic, key, value, ce_id, ce_type, ce_source, ce_time, traceparent) "
        "SELECT $1, key, value, ce_id, ce_type, $2, ce_time, traceparent "
        "FROM unnest($3::text[], $4::bytea[], $5::text[], $6::text[], $7::timestamptz[], $8::text[]) "
        "WITH ORDINALITY AS new (key, value, ce_id, ce_type, ce_time, traceparent, place) ORDER BY place",
        topic,
        ce_source,
        [entry.key for entry, _ in rows],
        [entry.event.SerializeToString() for entry, _ in rows],
        [entry.ce_id for entry, _ in rows],
        [entry.ce_type for entry, _ in rows],
        [attributes.time for _, attributes in rows],
        [attributes.traceparent for _, attributes in rows],
    )
    await conn.execute(f"NOTIFY {CHANNEL}")


class OutboxRelay:
    """Publishes what append() stored. Run it as a task: `app.spawn("outbox", relay.run())`."""

    def __init__(self, settings: ServiceSettings, producer: Producer, *, poll_s: float = POLL_S, retention: dt.timedelta = RETENTION):
        self._settings = settings
        self._producer = producer
        self._poll_s = poll_s
        self._retention = retention
        self._wake = asyncio.Event()
        self._leads = False
        self._delete_at = 0.0

    async def run(self) -> None:
        """Until cancelled; then what is pending is published once more, so that a clean stop leaves nothing behind."""
        delay = FIRST_DELAY_S
        while True:
            connection: asyncpg.Connection[asyncpg.Record] | None = None
            try:
                connection = await connect(self._settings, "carlien-outbox")
                await self._lead(connection)
            except asyncio.CancelledError:
                if connection is not None and self._leads:
                    await self._flush(connection)
                raise
            except (*NOT_YET, asyncpg.InterfaceError) as error:
                log.warning("outbox_connection_lost", error=type(error).__name__, delay_s=delay)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("outbox_interrupted", error=type(error).__name__, delay_s=delay)
            finally:
                self._leads = False
                metrics.OUTBOX_LEADER.set(0)
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(delay)
            delay = min(MAX_DELAY_S, delay * 2)

    async def _lead(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        # Asked again and again: a statement that waits for the lock would keep vacuum from cleaning up behind it.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(STANDBY_POLL_S)
        self._leads = True
        metrics.OUTBOX_LEADER.set(1)
        log.info("outbox_relay_leads")
        await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
        delay = FIRST_DELAY_S
        while True:
            self._wake.clear()
            published, failed = await self.publish_pending(connection)
            if published:
                delay = FIRST_DELAY_S
            if failed:
                metrics.OUTBOX_FAILURES.inc()
                log.warning("outbox_publish_failed", failed=failed, published=published, delay_s=delay)
                await asyncio.sleep(delay)
                delay = min(MAX_DELAY_S, delay * 2)
                continue
            if published < BATCH:
                await self._delete_old(connection)
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _flush(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        if connection.is_closed():
            return
        try:
            while (await self.publish_pending(connection))[0] == BATCH:
                continue
        except Exception as error:  # noqa: BLE001 - it stays in the table for the next start
            log.warning("outbox_flush_failed", error=type(error).__name__)

    async def publish_pending(self, connection: Connection) -> tuple[int, int]:
        """Publishes one batch and marks what the broker acknowledged. Returns how many were published and how many failed."""
        rows = await connection.fetch(
            "SELECT id, topic, key, value, ce_id, ce_type, ce_source, ce_time, traceparent, "
            "extract(epoch FROM now() - created_at)::float8 AS age FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1",
            BATCH,
        )
        metrics.OUTBOX_AGE_SECONDS.set(max(0.0, rows[0]["age"]) if rows else 0.0)
        # Counted only where it isn't known: counting costs as much as publishing a few.
        full = len(rows) == BATCH
        pending = await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") if full else len(rows)
        metrics.OUTBOX_PENDING.set(pending)
        queues: dict[tuple[str, str], deque[Any]] = {}
        for row in rows:
            queues.setdefault((row["topic"], row["key"]), deque()).append(row)
        outcomes = await asyncio.gather(*(self._publish_in_order(queue) for queue in queues.values()))
        published = [row for done in outcomes for row in done]
        if published:
            await connection.execute("UPDATE outbox SET published_at = now() WHERE id = ANY($1)", [row["id"] for row in published])
            for row in published:
                metrics.OUTBOX_PUBLISHED.labels(row["topic"]).inc()
        return len(published), len(rows) - len(published)

    async def _publish_in_order(self, rows: deque[Any]) -> Sequence[Any]:
        """One record of a key in flight at a time: after a failure none of its successors may overtake it."""
        done: list[Any] = []
        for row in rows:
            event = CloudEvent(row["ce_type"], row["ce_source"], row["ce_id"], row["ce_time"], row["traceparent"])
            try:
                # The header stays what it was when the event was stored: a repeat is the same event.
                attributes = {"messaging.system": "kafka", "messaging.destination.name": row["topic"], "messaging.message.id": row["ce_id"]}
                with spans.span(f"publish {row['topic']}", "producer", row["traceparent"], attributes):
                    await self._producer.send(row["topic"], row["key"], row["value"], event.headers())
            except DomainError:
                break
            done.append(row)
        return done

    async def _delete_old(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._delete_at:
            return
        self._delete_at = now + DELETE_EVERY_S
        await connection.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE published_at < now() - $1::interval LIMIT $2)",
            self._retention,
            DELETE_BATCH,
        )
