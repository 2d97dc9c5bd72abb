"""The consumer loop against a real Kafka and PostgreSQL: what is applied, set aside, retried and committed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import pytest
from consuming import MakeTopic, all_of, applied, committed, note, publish, running, until_committed
from prometheus_client import REGISTRY

from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import invalid, unavailable
from carlien_common.kafka import ConsumerHaltedError, KafkaConsumerLoop, Poison, PoisonLimit, Producer, Record
from carlien_common.postgres import Pool
from carlien_common.postgres.pool import Connection


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
