"""What happens to one batch of records on the event loop: one transaction, exactly one effect, poison set aside."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from carlien_common import metrics, spans
from carlien_common.domain.errors import DomainError
from carlien_common.failures import is_transient
from carlien_common.kafka.events import Record, dead_letter_topic, origin_headers
from carlien_common.kafka.poison import ConsumerHaltedError, PoisonGauge, PoisonLimit, poison_reason
from carlien_common.kafka.producer import Producer
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Connection, Pool

log = get_logger(__name__)

Handler = Callable[[Connection, Sequence[Record]], Awaitable[None]]
"""Applies records inside the transaction of `conn`, in order; raises Poison for a record that is bad in itself.

Its effects belong into that transaction (events through the outbox), because a batch may be tried several times.
"""

FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 10.0


class BatchProcessor:
    """Applies batches for one consumer group. Raises only what must end the process."""

    def __init__(
        self, group: str, handler: Handler, pool: Pool, producer: Producer, *, dedupe: bool = True, limit: PoisonLimit | None = None
    ) -> None:
        self._group = group
        self._handler = handler
        self._pool = pool
        self._producer = producer
        self._dedupe = dedupe
        self._gauge = PoisonGauge(limit or PoisonLimit())

    async def process(self, records: Sequence[Record]) -> None:
        """Returns when every record is either applied (and committed) or in the dead letters, so that offsets may be committed."""
        started = time.perf_counter()
        try:
            await self._retried(records)
            self._gauge.good(len(records))
        except Exception as error:
            if poison_reason(error) is None:
                raise
            await self._one_by_one(records)
        metrics.KAFKA_BATCH_SECONDS.labels(self._group).observe(time.perf_counter() - started)

    async def _one_by_one(self, records: Sequence[Record]) -> None:
        """The transaction of the batch is rolled back; now each record gets its own, so that only the bad ones are set aside."""
        for record in records:
            try:
                await self._retried([record])
                self._gauge.good()
            except Exception as error:
                reason = poison_reason(error)
                if reason is None:
                    raise
                self._gauge.poison(reason)
                await self._set_aside(record, reason)

    async def _retried(self, records: Sequence[Record]) -> None:
        """Until it works or fails for good; transient errors never give up, the lag alert tells."""
        delay = FIRST_DELAY_S
        while True:
            try:
                return await self._apply(records)
            except Exception as error:
                if not is_transient(error):
                    raise
                metrics.KAFKA_RETRIES.labels(self._group).inc()
                log.warning("batch_retried", group=self._group, records=len(records), error=type(error).__name__, delay_s=delay)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(MAX_DELAY_S, delay * 2)

    async def _apply(self, records: Sequence[Record]) -> None:
        with _traced(self._group, records):
            await self._apply_once(records)

    async def _apply_once(self, records: Sequence[Record]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            fresh = await claim(connection, self._group, records) if self._dedupe else records
            if fresh:
                await self._handler(connection, fresh)
        for record in fresh:
            metrics.KAFKA_CONSUMED.labels(self._group, record.topic, "applied").inc()
        if len(fresh) < len(records):
            # A repeat is the same whichever topic it came on: the subtraction needn't be per record.
            metrics.KAFKA_CONSUMED.labels(self._group, records[0].topic, "duplicate").inc(len(records) - len(fresh))

    async def _set_aside(self, record: Record, reason: str) -> None:
        topic = dead_letter_topic(record.topic)
        try:
            await self._producer.send(topic, record.key, record.value, origin_headers(record, self._group, reason))
        except DomainError as error:
            raise ConsumerHaltedError(f"{topic} can't be written ({error.reason}); the record stays where it is") from error
        metrics.KAFKA_CONSUMED.labels(self._group, record.topic, "poison").inc()
        log.warning("record_set_aside", topic=record.topic, partition=record.partition, offset=record.offset, reason=reason)


def _traced(group: str, records: Sequence[Record]) -> AbstractContextManager[None]:
    """A record alone goes on with its event's trace; a batch is a trace of its own that names theirs."""
    topic = records[0].topic
    attributes: spans.Attributes = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": group,
        "messaging.batch.message_count": len(records),
    }
    parent = records[0].traceparent if len(records) == 1 else None
    links = () if len(records) == 1 else {record.traceparent: None for record in records if record.traceparent is not None}
    return spans.span(f"process {topic}", "consumer", parent, attributes, links)


async def claim(connection: Connection, group: str, records: Sequence[Record]) -> list[Record]:
    """Notes the events as consumed by the group, in the caller's transaction, and returns those that weren't yet.

    Waits while another transaction (of a consumer that has just lost the partition) holds one of them.
    """
    first: dict[tuple[str, str], Record] = {}
    for record in records:
        first.setdefault(record.event_id, record)
    # Sorted, so that two consumers that claim the same events can't wait for each other.
    ids = sorted(first)
    rows = await connection.fetch(
        "INSERT INTO consumed_event (consumer_group, ce_source, ce_id) "
        "SELECT $1, source, id FROM unnest($2::text[], $3::text[]) AS new (source, id) "
        "ON CONFLICT DO NOTHING RETURNING ce_source, ce_id",
        group,
        [source for source, _ in ids],
        [ce_id for _, ce_id in ids],
    )
    fresh = {(row["ce_source"], row["ce_id"]) for row in rows}
    return [record for key, record in first.items() if key in fresh]
