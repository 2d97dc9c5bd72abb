"""What the tests of the consumer loop share: a handler that notes, and how to see what was applied and committed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from carlien_common.config import ServiceSettings
from carlien_common.kafka import CloudEvent, ConsumerHaltedError, KafkaConsumerLoop, Producer, Record
from carlien_common.postgres import Pool
from carlien_common.postgres.pool import Connection

MakeSettings = Callable[..., ServiceSettings]
MakeTopic = Callable[..., str]


async def publish(producer: Producer, topic: str, texts: Iterable[str], key: Callable[[str], str] = lambda text: text) -> None:
    sends = [producer.send(topic, key(text), text.encode(), CloudEvent("test", "/test", id=f"id-{text}").headers()) for text in texts]
    await asyncio.gather(*sends)


async def note(conn: Connection, records: Sequence[Record]) -> None:
    """The ordinary handler: one row per record."""
    await conn.executemany(
        "INSERT INTO applied VALUES ($1, $2, $3)", [((record.value or b"").decode(), record.topic, record.partition) for record in records]
    )


async def applied(database: Pool, count: int, timeout_s: float = 60) -> list[str]:
    async with asyncio.timeout(timeout_s):
        while await database.fetchval("SELECT count(*) FROM applied") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return [row["text"] for row in await database.fetch("SELECT text FROM applied ORDER BY ctid")]


@contextlib.asynccontextmanager
async def running(loop: KafkaConsumerLoop) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConsumerHaltedError):
            await task


def committed(bootstrap: str, group: str) -> int:
    """The group's offsets, added up over the topic's partitions."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        offsets = admin.list_group_offsets([group])[group]
        return sum(place.offset for place in offsets.values())
    finally:
        admin.close()


async def until_committed(bootstrap: str, group: str, count: int) -> None:
    async with asyncio.timeout(60):
        while await asyncio.to_thread(committed, bootstrap, group) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def all_of(bootstrap: str, topic: str) -> list[Any]:
    def read() -> list[Any]:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found: list[Any] = []
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=500).values():
                found += records
        consumer.close()
        return found

    return await asyncio.to_thread(read)
