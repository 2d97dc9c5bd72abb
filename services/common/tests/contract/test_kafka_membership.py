"""The consumer loop as a member of its group: rebalances, lost partitions, kills."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from consuming import MakeTopic, applied, committed, note, publish, running, until_committed
from kafka import KafkaConsumer
from kafka.errors import KafkaConnectionError, NodeNotReadyError

from carlien_common.config import ServiceSettings
from carlien_common.kafka import CloudEvent, KafkaConsumerLoop, Producer, Record
from carlien_common.postgres import Pool
from carlien_common.postgres.pool import Connection


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
