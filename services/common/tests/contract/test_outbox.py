"""The outbox and its relay against a real PostgreSQL and Kafka."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from kafka import KafkaConsumer, TopicPartition

from carlien_common import kafka, metrics, tracing
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import unavailable
from carlien_common.kafka.producer import Delivery
from carlien_common.outbox import OutboxRelay, append
from carlien_common.postgres import Pool, migrate, pool
from carlien_common.postgres.migrations import COMMON

MakeSettings = Callable[..., ServiceSettings]
pytestmark = pytest.mark.usefixtures("kafka_bootstrap")


@pytest.fixture(scope="module")
def settings(postgres_dsn: str, make_settings: MakeSettings) -> ServiceSettings:
    return make_settings(postgres_dsn=postgres_dsn)


@pytest.fixture
async def database(postgres_dsn: str, settings: ServiceSettings) -> AsyncIterator[Pool]:
    await migrate(postgres_dsn, COMMON)
    async with pool(settings) as made:
        # A relay publishes all that is in its database.
        await made.execute("TRUNCATE outbox RESTART IDENTITY")
        yield made


@contextlib.asynccontextmanager
async def running(relay: OutboxRelay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def stored(database: Pool, topic: str, key: str, text: str, **options: Any) -> str:
    async with database.acquire() as conn, conn.transaction():
        return await append(
            conn, topic=topic, key=key, event=StringValue(value=text), ce_type="test.happened", ce_source="/org1/test", **options
        )


async def published(database: Pool, count: int) -> None:
    async with asyncio.timeout(30):
        while await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NOT NULL") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def read(bootstrap: str, topic: str) -> Iterator[Any]:
    """Everything on the topic now, in order per partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    while any(consumer.position(place) < ends[place] for place in places):
        for records in consumer.poll(timeout_ms=500).values():
            yield from records
    consumer.close()


def texts(records: list[Any], key: str) -> list[str]:
    return [StringValue.FromString(record.value).value for record in records if record.key == key.encode()]


async def all_of(bootstrap: str, topic: str) -> list[Any]:
    return await asyncio.to_thread(lambda: list(read(bootstrap, topic)))


async def test_an_event_is_published_with_cloudevents_headers(
    database: Pool, settings: ServiceSettings, kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    tracing.enter("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ce_id = await stored(database, topic, "VIN1", "hello")
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer)):
        await published(database, 1)
    (record,) = await all_of(kafka_bootstrap, topic)
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["ce_id"] == ce_id
    assert (headers["ce_type"], headers["ce_source"], headers["ce_specversion"]) == ("test.happened", "/org1/test", "1.0")
    assert headers["ce_time"].endswith("Z")
    assert headers["content-type"] == "application/protobuf"
    assert headers["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert texts([record], "VIN1") == ["hello"]


async def test_a_rolled_back_change_has_no_event(database: Pool) -> None:
    async with database.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await append(conn, topic="t", key="k", event=StringValue(value="x"), ce_type="t", ce_source="s")
        await transaction.rollback()
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_notification_wakes_the_relay(database: Pool, settings: ServiceSettings, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    # With an hour between polls only the notification can have done it.
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer, poll_s=3600)):
        for number in range(3):
            await stored(database, topic, "k", str(number))
            await published(database, number + 1)


async def test_events_of_a_key_keep_their_order(
    database: Pool, settings: ServiceSettings, kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(partitions=3)
    for number in range(60):
        await stored(database, topic, f"VIN{number % 5}", str(number))
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer)):
        await published(database, 60)
    records = await all_of(kafka_bootstrap, topic)
    for key in range(5):
        assert texts(records, f"VIN{key}") == [str(number) for number in range(60) if number % 5 == key]


class _Unreliable:
    """A broker that refuses every third record."""

    def __init__(self) -> None:
        self.calls = 0
        self.taken: list[tuple[str, str]] = []

    async def send(self, topic: str, key: str, value: bytes, headers: Any) -> Delivery:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls % 3 == 0:
            raise unavailable("BROKER_UNAVAILABLE", "no")
        self.taken.append((key, StringValue.FromString(value).value))
        return Delivery(topic, 0, self.calls)


async def test_after_a_failure_no_event_overtakes_another_of_its_key(database: Pool, settings: ServiceSettings) -> None:
    for number in range(30):
        await stored(database, "t", f"k{number % 4}", f"{number:02d}")
    broker: Any = _Unreliable()
    async with running(OutboxRelay(settings, broker, poll_s=0.05)):
        await published(database, 30)
    for key in range(4):
        mine = [text for name, text in broker.taken if name == f"k{key}"]
        assert mine == sorted(mine)
        assert len(mine) == len(set(mine))


async def test_one_relay_leads_and_another_takes_over(
    database: Pool, settings: ServiceSettings, kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer)):
        await stored(database, topic, "k", "1")
        await published(database, 1)
        async with running(OutboxRelay(settings, producer)):
            await stored(database, topic, "k", "2")
            await published(database, 2)
            # The first one's connection breaks, and with it goes its lock.
            await database.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND a.datname = current_database()"
            )
            await stored(database, topic, "k", "3")
            await published(database, 3)
    assert texts(await all_of(kafka_bootstrap, topic), "k") == ["1", "2", "3"]


async def test_a_clean_stop_leaves_nothing_behind(
    database: Pool, settings: ServiceSettings, kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer, poll_s=3600)):
        await stored(database, topic, "k", "1")
        await published(database, 1)
        # Stored without a notification, so that only the last flush can publish it.
        await database.execute(
            "INSERT INTO outbox (topic, key, value, ce_id, ce_type, ce_source, ce_time) "
            "SELECT topic, key, value, 'late', ce_type, ce_source, ce_time FROM outbox"
        )
    assert len(await all_of(kafka_bootstrap, topic)) == 2
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0


async def test_what_is_pending_is_measured(database: Pool, settings: ServiceSettings) -> None:
    await stored(database, "t", "k", "1")
    await stored(database, "t", "k", "2")
    await database.execute("UPDATE outbox SET created_at = now() - interval '100 s' WHERE id = 1")

    class Away:
        async def send(self, *_: Any) -> Delivery:
            raise unavailable("BROKER_UNAVAILABLE", "no")

    away: Any = Away()
    connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    assert await OutboxRelay(settings, away).publish_pending(connection) == (0, 2)
    await connection.close()
    assert metrics.OUTBOX_PENDING._value.get() == 2
    assert 100 <= metrics.OUTBOX_AGE_SECONDS._value.get() < 130


async def test_old_published_events_are_deleted(database: Pool, settings: ServiceSettings) -> None:
    for number in range(3):
        await stored(database, "t", "k", str(number))
    await database.execute("UPDATE outbox SET published_at = now() - interval '8 days' WHERE id = 1")
    await database.execute("UPDATE outbox SET published_at = now() WHERE id = 2")
    await database.execute("UPDATE outbox SET created_at = now() - interval '80 days' WHERE id = 3")
    connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    nothing: Any = None
    await OutboxRelay(settings, nothing)._delete_old(connection)
    await connection.close()
    assert [row["id"] for row in await database.fetch("SELECT id FROM outbox ORDER BY id")] == [2, 3]


KILLED = """
import asyncio, os, sys
from carlien_common import kafka
from carlien_common.config import ServiceSettings
from carlien_common.outbox import OutboxRelay

settings = ServiceSettings(
    org="org1", msp_id="m", grpc_port=0, metrics_port=0, grpc_insecure=True,
    postgres_dsn=sys.argv[1], kafka_bootstrap=sys.argv[2], uvloop=False,
)

class DiesBeforeTheMark(OutboxRelay):
    async def _publish_in_order(self, rows):
        done = await super()._publish_in_order(rows)
        print("acknowledged", flush=True)
        await asyncio.Event().wait()  # the broker has it, the database doesn't know; now we are killed

async def main():
    async with kafka.producer(settings) as producer:
        await DiesBeforeTheMark(settings, producer).run()

asyncio.run(main())
"""


async def test_killed_between_acknowledgement_and_mark(
    database: Pool, settings: ServiceSettings, postgres_dsn: str, kafka_bootstrap: str, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    ids = [await stored(database, topic, "k", str(number)) for number in range(3)]
    relay = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, postgres_dsn, kafka_bootstrap, stdout=subprocess.PIPE)
    assert relay.stdout is not None
    async with asyncio.timeout(30):
        while b"acknowledged" not in await relay.stdout.readline():
            continue
    os.kill(relay.pid, signal.SIGKILL)
    await relay.wait()
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 3
    async with kafka.producer(settings) as producer, running(OutboxRelay(settings, producer)):
        await published(database, 3)
    records = await all_of(kafka_bootstrap, topic)
    seen: dict[str, bytes] = {}
    for record in records:
        ce_id = dict(record.headers)["ce_id"].decode()
        # Told twice, and the same both times.
        assert seen.setdefault(ce_id, record.value) == record.value
    assert list(seen) == ids
    assert Counter(dict(record.headers)["ce_id"].decode() for record in records) == dict.fromkeys(ids, 2)
