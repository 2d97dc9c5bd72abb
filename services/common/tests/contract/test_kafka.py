"""Producer and consumer loop against a real Kafka and PostgreSQL."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import asyncpg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, NodeNotReadyError
from prometheus_client import REGISTRY

from carlien_common import kafka
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, ErrorKind, invalid, unavailable
from carlien_common.kafka import CloudEvent, ConsumerHaltedError, KafkaConsumerLoop, Poison, PoisonLimit, Producer, Record
from carlien_common.postgres import Pool, migrate, pool
from carlien_common.postgres.migrations import COMMON
from carlien_common.postgres.pool import Connection

MakeSettings = Callable[..., ServiceSettings]
MakeTopic = Callable[..., str]


@pytest.fixture(scope="module")
def settings(postgres_dsn: str, kafka_bootstrap: str, make_settings: MakeSettings) -> ServiceSettings:
    return make_settings(postgres_dsn=postgres_dsn, kafka_bootstrap=kafka_bootstrap)


@pytest.fixture
async def database(postgres_dsn: str, settings: ServiceSettings) -> AsyncIterator[Pool]:
    await migrate(postgres_dsn, COMMON)
    async with pool(settings) as made:
        await made.execute("CREATE TABLE IF NOT EXISTS applied (text text, topic text, partition int)")
        await made.execute("TRUNCATE applied")
        yield made


@pytest.fixture
async def producer(settings: ServiceSettings) -> AsyncIterator[Producer]:
    async with kafka.producer(settings) as made:
        yield made


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


# -- producer ---------------------------------------------------------------------------------------------------------


async def test_the_producer_tells_where_a_record_is(producer: Producer, make_topic: MakeTopic) -> None:
    topic = make_topic()
    first = await producer.send(topic, "key", b"value")
    second = await producer.enqueue(topic, "key", b"value")
    assert (first.topic, first.partition, first.offset, second.offset) == (topic, 0, 0, 1)


async def test_order_per_key_is_the_order_of_calls(producer: Producer, make_topic: MakeTopic, kafka_bootstrap: str) -> None:
    topic = make_topic(partitions=3)
    await asyncio.gather(*(producer.enqueue(topic, f"k{n % 7}", str(n).encode()) for n in range(700)))
    records = await all_of(kafka_bootstrap, topic)
    for key in range(7):
        mine = [int(record.value) for record in records if record.key == f"k{key}".encode()]
        assert mine == list(range(key, 700, 7))


async def test_an_unknown_topic_fails_and_holds_up_nobody(settings: ServiceSettings, make_topic: MakeTopic) -> None:
    topic = make_topic()
    async with kafka.producer(settings, delivery_timeout_s=2.0) as made:
        missing = made.enqueue("test.no-such-topic", "k", b"v")
        with pytest.raises(DomainError) as caught:
            await missing
        assert (caught.value.kind, caught.value.reason) == (ErrorKind.UNAVAILABLE, "BROKER_UNAVAILABLE")
        assert (await made.send(topic, "k", b"v")).offset == 0


async def test_more_than_the_bound_is_refused_at_once(settings: ServiceSettings, make_topic: MakeTopic) -> None:
    topic = make_topic()
    async with kafka.producer(settings, max_in_flight=5) as made:
        futures = [made.enqueue(topic, "k", b"v") for _ in range(5)]
        with pytest.raises(DomainError) as caught:
            made.enqueue(topic, "k", b"v")
        assert caught.value.kind is ErrorKind.EXHAUSTED
        await asyncio.gather(*futures)
        await made.send(topic, "k", b"v")


async def test_a_record_that_is_too_large_fails_alone(producer: Producer, make_topic: MakeTopic) -> None:
    topic = make_topic()
    with pytest.raises(DomainError):
        await producer.send(topic, "k", b"x" * 2_000_000)
    await producer.send(topic, "k", b"x")


async def test_closing_sends_what_was_accepted(settings: ServiceSettings, make_topic: MakeTopic, kafka_bootstrap: str) -> None:
    topic = make_topic()
    async with kafka.producer(settings, linger_ms=500) as made:
        futures = [made.enqueue(topic, "k", b"v") for _ in range(100)]
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(await all_of(kafka_bootstrap, topic)) == 100
    with pytest.raises(DomainError) as caught:
        await made.send(topic, "k", b"v")
    assert caught.value.reason == "PRODUCER_CLOSED"


async def test_the_event_loop_is_never_held_up_by_a_broker_that_is_away(make_settings: MakeSettings, settings: ServiceSettings) -> None:
    """send() of kafka-python blocks while metadata are missing; ours mustn't."""
    async with kafka.producer(settings, delivery_timeout_s=1.5) as made:
        turns = 0
        future = made.enqueue("test.no-such-topic-either", "k", b"v")
        while not future.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100
        assert isinstance(future.exception(), DomainError)


# -- consumer ---------------------------------------------------------------------------------------------------------


async def test_records_are_applied_and_committed(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic(partitions=2)
    await publish(producer, topic, [str(n) for n in range(100)])
    loop = KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)
    with pytest.raises(ConnectionError):
        await loop.check()
    async with running(loop):
        texts = await applied(database, 100)
        await loop.joined()
        await loop.check()
        await until_committed(kafka_bootstrap, unique_group, 100)
        lags = [
            REGISTRY.get_sample_value("carlien_kafka_consumer_lag_records", {"group": unique_group, "topic": topic, "partition": p})
            for p in "01"
        ]
        async with asyncio.timeout(20):
            while lags != [0.0, 0.0]:
                await asyncio.sleep(0.1)
                lags = [
                    REGISTRY.get_sample_value("carlien_kafka_consumer_lag_records", {"group": unique_group, "topic": topic, "partition": p})
                    for p in "01"
                ]
    assert Counter(texts) == Counter(str(n) for n in range(100))


async def test_a_stop_commits_and_a_restart_goes_on_there(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic()
    # Without dedupe, so that a record read twice would be applied twice.
    options: dict[str, Any] = {"pool": database, "producer": producer, "dedupe": False}
    await publish(producer, topic, ["1", "2", "3"])
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, **options)):
        await applied(database, 3)
    assert await asyncio.to_thread(committed, kafka_bootstrap, unique_group) == 3
    await publish(producer, topic, ["4", "5"])
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, **options)):
        assert await applied(database, 5) == ["1", "2", "3", "4", "5"]


async def test_an_event_told_twice_is_applied_once(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic()
    await publish(producer, topic, ["1", "2", "1"])
    await publish(producer, topic, ["2", "3"])
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)):
        await until_committed(kafka_bootstrap, unique_group, 5)
    assert sorted(await applied(database, 3)) == ["1", "2", "3"]


def _poisonous(error: Callable[[], Exception]) -> Callable[[Connection, Sequence[Record]], Any]:
    async def handler(conn: Connection, records: Sequence[Record]) -> None:
        for record in records:
            await note(conn, [record])
            if (record.value or b"").startswith(b"bad"):
                raise error()

    return handler


async def _database_error(conn: Connection, records: Sequence[Record]) -> None:
    for record in records:
        await note(conn, [record])
        await conn.execute("SELECT 1 / $1::int", int(not (record.value or b"").startswith(b"bad")))


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_poisonous(lambda: Poison("UNKNOWN_EVENT", "no idea")), "UNKNOWN_EVENT"),
        (_poisonous(lambda: invalid("vin", "VIN_LENGTH", "short")), "VIN_LENGTH"),
        (_poisonous(lambda: UnicodeDecodeError("utf-8", b"", 0, 1, "bad")), "MALFORMED_RECORD"),
        (_database_error, "DATABASE_DIVISIONBYZERO"),
    ],
    ids=["poison", "domain", "malformed", "database"],
)
async def test_poison_is_set_aside_and_the_others_go_on(
    settings: ServiceSettings,
    database: Pool,
    producer: Producer,
    make_topic: MakeTopic,
    unique_group: str,
    kafka_bootstrap: str,
    handler: Any,
    reason: str,
) -> None:
    topic = make_topic()
    await publish(producer, topic, ["1", "bad 1", "2", "bad 2", "3"], key=lambda _: "k")
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, handler, pool=database, producer=producer)):
        await until_committed(kafka_bootstrap, unique_group, 5)
    assert await applied(database, 3) == ["1", "2", "3"]
    dead = await all_of(kafka_bootstrap, f"{topic}.dlq")
    assert [record.value for record in dead] == [b"bad 1", b"bad 2"]
    for record, offset in zip(dead, ("1", "3"), strict=True):
        headers = {name: value.decode() for name, value in record.headers}
        assert headers["dlq_topic"] == topic
        assert (headers["dlq_partition"], headers["dlq_offset"]) == ("0", offset)
        assert (headers["dlq_reason"], headers["dlq_group"]) == (reason, unique_group)
        assert headers["ce_id"] == f"id-{record.value.decode()}"
        assert record.key == b"k"


async def test_too_much_poison_halts_the_loop(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic()
    await publish(producer, topic, [f"bad {n}" for n in range(50)], key=lambda _: "k")
    loop = KafkaConsumerLoop(
        settings,
        [topic],
        unique_group,
        _poisonous(lambda: Poison("NEW_FORMAT")),
        pool=database,
        producer=producer,
        poison_limit=PoisonLimit(share=0.1, window=100, minimum=5),
    )
    with pytest.raises(ConsumerHaltedError, match="poison"):
        async with asyncio.timeout(60):
            await loop.run()
    assert len(await all_of(kafka_bootstrap, f"{topic}.dlq")) == 4
    assert await asyncio.to_thread(committed, kafka_bootstrap, unique_group) == 0


async def test_dead_letters_that_cannot_be_written_halt_the_loop(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic()
    await publish(producer, topic, ["1", "bad", "2"], key=lambda _: "k")

    class Full:
        async def send(self, *_: Any) -> None:
            raise unavailable("BROKER_UNAVAILABLE", "no")

    full: Any = Full()
    loop = KafkaConsumerLoop(settings, [topic], unique_group, _poisonous(lambda: Poison("BAD")), pool=database, producer=full)
    with pytest.raises(ConsumerHaltedError, match=r"\.dlq can't be written"):
        async with asyncio.timeout(60):
            await loop.run()
    # Nothing is lost: the record is still to be read, and the good one before it is not applied again.
    assert await asyncio.to_thread(committed, kafka_bootstrap, unique_group) == 0
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)):
        assert await applied(database, 3) == ["1", "bad", "2"]


async def test_an_exception_of_the_code_ends_the_loop_without_a_commit(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic()
    await publish(producer, topic, ["bad"])
    loop = KafkaConsumerLoop(settings, [topic], unique_group, _poisonous(lambda: AttributeError("a bug")), pool=database, producer=producer)
    with pytest.raises(AttributeError):
        async with asyncio.timeout(60):
            await loop.run()
    assert await database.fetchval("SELECT count(*) FROM applied") == 0
    assert await asyncio.to_thread(committed, kafka_bootstrap, unique_group) == 0
    assert await all_of(kafka_bootstrap, f"{topic}.dlq") == []


@pytest.mark.parametrize(
    "error",
    [
        lambda: unavailable("LEDGER_UNAVAILABLE", "away"),
        lambda: asyncpg.DeadlockDetectedError("deadlock"),
        lambda: ConnectionResetError(),
        lambda: TimeoutError(),
    ],
)
async def test_transient_errors_are_retried_until_they_pass(
    settings: ServiceSettings,
    database: Pool,
    producer: Producer,
    make_topic: MakeTopic,
    unique_group: str,
    error: Callable[[], Exception],
) -> None:
    topic = make_topic()
    attempts = 0

    async def handler(conn: Connection, records: Sequence[Record]) -> None:
        nonlocal attempts
        attempts += 1
        await note(conn, records)
        if attempts < 4:
            raise error()

    await publish(producer, topic, ["1"])
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, handler, pool=database, producer=producer)):
        assert await applied(database, 1) == ["1"]
    assert attempts == 4


async def test_a_slow_batch_keeps_its_membership_and_is_applied_once(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    """The batch takes longer than max.poll.interval: without polling meanwhile the group would give its partition away."""
    topic = make_topic()
    attempts = 0
    busy = asyncio.Event()

    async def handler(conn: Connection, records: Sequence[Record]) -> None:
        nonlocal attempts
        attempts += 1
        busy.set()
        await asyncio.sleep(6 if attempts == 1 else 0)
        await note(conn, records)

    await publish(producer, topic, ["1"])
    loop = KafkaConsumerLoop(
        settings,
        [topic],
        unique_group,
        handler,
        pool=database,
        producer=producer,
        dedupe=False,
        pause_after_s=0.3,
        consumer_options={"max_poll_interval_ms": 2500, "session_timeout_ms": 6000, "heartbeat_interval_ms": 500},
    )
    async with running(loop):
        async with asyncio.timeout(30):
            await busy.wait()
        await publish(producer, topic, ["2"])
        assert await applied(database, 2) == ["1", "2"]
        await until_committed(kafka_bootstrap, unique_group, 2)
    assert attempts == 2


async def test_a_batch_that_outlasts_the_stop_is_abandoned_and_applied_by_the_next(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str
) -> None:
    topic = make_topic()
    started = asyncio.Event()

    async def stuck(conn: Connection, records: Sequence[Record]) -> None:
        await note(conn, records)
        started.set()
        await asyncio.Event().wait()

    await publish(producer, topic, ["1"])
    impatient = settings.model_copy(update={"stop_grace_s": 0.5})
    async with running(KafkaConsumerLoop(impatient, [topic], unique_group, stuck, pool=database, producer=producer)):
        async with asyncio.timeout(60):
            await started.wait()
    assert await database.fetchval("SELECT count(*) FROM applied") == 0
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)):
        assert await applied(database, 1) == ["1"]


async def test_every_partition_goes_on_through_rebalances(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    topic = make_topic(partitions=4)
    options: dict[str, Any] = {"pool": database, "producer": producer, "max_records": 20}
    sent = 0

    async def more() -> None:
        nonlocal sent
        await publish(producer, topic, [str(n) for n in range(sent, sent + 80)])
        sent += 80

    def member() -> KafkaConsumerLoop:
        return KafkaConsumerLoop(settings, [topic], unique_group, note, **options)

    async with running(member()):
        await more()
        await applied(database, sent)
        for _ in range(3):
            async with running(second := member()):
                await more()
                async with asyncio.timeout(60):
                    await second.joined()
                await more()
                await applied(database, sent)
            await more()
            await applied(database, sent)
        await until_committed(kafka_bootstrap, unique_group, sent)
    rows = await database.fetch("SELECT text, count(*) AS n FROM applied GROUP BY text")
    assert {row["n"] for row in rows} == {1}
    assert len(rows) == sent
    assert {row["partition"] for row in await database.fetch("SELECT DISTINCT partition FROM applied")} == {0, 1, 2, 3}


async def test_a_rebalance_that_outlasts_a_poll_is_not_forgotten(
    settings: ServiceSettings,
    database: Pool,
    producer: Producer,
    make_topic: MakeTopic,
    unique_group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Polls far shorter than a join: without our reminder kafka-python loses about every tenth start for good."""
    monkeypatch.setattr("carlien_common.kafka.consumer.POLL_MS", 20)
    topic = make_topic(partitions=2)
    for number in range(15):
        await producer.send(topic, "k", str(number).encode(), CloudEvent("test", "/test").headers())
        loop = KafkaConsumerLoop(settings, [topic], f"{unique_group}-{number}", note, pool=database, producer=producer)
        async with running(loop):
            await applied(database, number + 1)
        await database.execute("TRUNCATE applied")


async def test_a_broker_that_goes_away_while_the_group_forms_does_not_end_the_loop(
    settings: ServiceSettings,
    database: Pool,
    producer: Producer,
    make_topic: MakeTopic,
    unique_group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then kafka-python's poll raises: when the look-up of the coordinator and the new metadata that it asks for fail in one poll."""
    failures = iter([KafkaConnectionError("111 ECONNREFUSED"), NodeNotReadyError("1")])
    poll = KafkaConsumer.poll

    def fail_first(consumer: KafkaConsumer, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return poll(consumer, **options)

    monkeypatch.setattr(KafkaConsumer, "poll", fail_first)
    monkeypatch.setattr("carlien_common.kafka.consumer.RETRY_S", 0.01)
    topic = make_topic()
    await publish(producer, topic, "abc")
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)):
        assert await applied(database, 3) == ["a", "b", "c"]
    assert next(failures, None) is None


async def test_a_partition_lost_in_mid_batch_is_applied_once(
    settings: ServiceSettings, database: Pool, producer: Producer, make_topic: MakeTopic, unique_group: str, kafka_bootstrap: str
) -> None:
    """The first member is still busy when the second one takes over; the idempotence rows make the second one wait, then skip."""
    topic = make_topic(partitions=2)
    busy, go_on = asyncio.Event(), asyncio.Event()

    async def slow(conn: Connection, records: Sequence[Record]) -> None:
        await note(conn, records)
        busy.set()
        await go_on.wait()

    await publish(producer, topic, [str(n) for n in range(40)])
    options: dict[str, Any] = {"pool": database, "producer": producer, "pause_after_s": 0.1}
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, slow, **options)):
        async with asyncio.timeout(60):
            await busy.wait()
        async with running(second := KafkaConsumerLoop(settings, [topic], unique_group, note, **options)):
            async with asyncio.timeout(60):
                await second.joined()
            go_on.set()
            await until_committed(kafka_bootstrap, unique_group, 40)
    assert Counter(await applied(database, 40)) == Counter(str(n) for n in range(40))


VICTIM = """
import asyncio, sys
from carlien_common import kafka, postgres
from carlien_common.config import ServiceSettings
from carlien_common.kafka import KafkaConsumerLoop

dsn, bootstrap, topic, group, where = sys.argv[1:]
settings = ServiceSettings(
    org="org1", msp_id="m", grpc_port=0, metrics_port=0, grpc_insecure=True, postgres_dsn=dsn, kafka_bootstrap=bootstrap
)

async def main():
    async with postgres.pool(settings) as pool, kafka.producer(settings) as producer:
        async def handler(conn, records):
            for record in records:
                await conn.execute("INSERT INTO applied VALUES ($1, $2, $3)", record.value.decode(), topic, record.partition)
                if where == "inside" and record.value == b"5":
                    print("now", flush=True)
                    await asyncio.Event().wait()

        loop = KafkaConsumerLoop(
            settings, [topic], group, handler, pool=pool, producer=producer,
            consumer_options={"session_timeout_ms": 6000, "heartbeat_interval_ms": 500},
        )
        if where == "before commit":
            def commit(*_):
                print("now", flush=True)
                import time
                time.sleep(60)
            loop._commit = commit
        await loop.run()

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["inside", "before commit"])
async def test_killed_in_mid_batch(
    settings: ServiceSettings,
    database: Pool,
    producer: Producer,
    make_topic: MakeTopic,
    unique_group: str,
    kafka_bootstrap: str,
    postgres_dsn: str,
    where: str,
) -> None:
    topic = make_topic()
    await publish(producer, topic, [str(n) for n in range(10)], key=lambda _: "k")
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, postgres_dsn, kafka_bootstrap, topic, unique_group, where, stdout=subprocess.PIPE
    )
    assert victim.stdout is not None
    async with asyncio.timeout(60):
        while b"now" not in await victim.stdout.readline():
            continue
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    assert await asyncio.to_thread(committed, kafka_bootstrap, unique_group) == 0
    async with running(KafkaConsumerLoop(settings, [topic], unique_group, note, pool=database, producer=producer)):
        await until_committed(kafka_bootstrap, unique_group, 10)
    assert await applied(database, 10) == [str(n) for n in range(10)]
