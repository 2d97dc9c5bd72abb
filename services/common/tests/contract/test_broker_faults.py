"""A broker that is frozen or killed for longer than a record's delivery time: nothing acknowledged is lost, all recovers by itself."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from consuming import all_of
from google.protobuf.wrappers_pb2 import StringValue
from kafka import KafkaAdminClient
from own_broker import OwnBroker, libraries

from carlien_common import kafka
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.kafka import CloudEvent, KafkaConsumerLoop, Record
from carlien_common.outbox import OutboxRelay, append
from carlien_common.postgres import Pool, migrate, pool
from carlien_common.postgres.migrations import COMMON
from carlien_common.postgres.pool import Connection

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("kafka_litter")]
MakeSettings = Callable[..., ServiceSettings]
TOPIC = "test.faults"
AWAY_S = 8.0
DELIVERY_S = 3.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    libs = libraries()
    if libs is None:
        pytest.skip("Kafka's jars aren't there (make setup)")
    made = OwnBroker(tmp_path_factory.mktemp("broker"), libs)
    yield made
    made.kill()


@pytest.fixture
async def broker(own: OwnBroker) -> OwnBroker:
    own.kill()
    await own.start()
    return own


@pytest.fixture
def topic(broker: OwnBroker, request: pytest.FixtureRequest) -> str:
    name = f"{TOPIC}.{abs(hash(request.node.name))}"
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    return name


@pytest.fixture
def settings(postgres_dsn: str, broker: OwnBroker, make_settings: MakeSettings) -> ServiceSettings:
    return make_settings(postgres_dsn=postgres_dsn, kafka_bootstrap=broker.address)


@pytest.fixture
async def database(settings: ServiceSettings) -> AsyncIterator[Pool]:
    await migrate(settings.postgres_dsn.get_secret_value(), COMMON)
    async with pool(settings) as made:
        await made.execute("CREATE TABLE IF NOT EXISTS applied (text text)")
        await made.execute("TRUNCATE applied, outbox, consumed_event")
        yield made


@contextlib.asynccontextmanager
async def running(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def away(broker: OwnBroker, how: str) -> AsyncIterator[None]:
    """The time itself is what is tested here, hence the sleep."""
    if how == "frozen":
        broker.signal(signal.SIGSTOP)
    else:
        broker.kill()
    yield
    await asyncio.sleep(AWAY_S)
    if how == "frozen":
        broker.signal(signal.SIGCONT)
    else:
        await broker.start()


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_the_producer_fails_in_time_and_works_again(broker: OwnBroker, settings: ServiceSettings, topic: str, how: str) -> None:
    async with kafka.producer(settings, delivery_timeout_s=DELIVERY_S) as producer:
        acknowledged = [str(n) for n in range(20)]
        await asyncio.gather(*(producer.send(topic, "k", text.encode()) for text in acknowledged))
        async with away(broker, how):
            failures = await asyncio.gather(*(producer.send(topic, "k", f"lost {n}".encode()) for n in range(20)), return_exceptions=True)
            assert {failure.kind for failure in failures if isinstance(failure, DomainError)} == {ErrorKind.UNAVAILABLE}
            assert all(isinstance(failure, DomainError) for failure in failures)
        async with asyncio.timeout(60):
            while True:
                try:
                    await producer.send(topic, "k", b"again")
                    break
                except DomainError:
                    continue
        later = [f"later {n}" for n in range(200)]
        await asyncio.gather(*(producer.send(topic, "k", text.encode()) for text in later))
    texts = [record.value.decode() for record in await all_of(broker.address, topic)]
    # A failed record may have arrived after all; an acknowledged one has, once and in order.
    assert [text for text in texts if not text.startswith("lost") and text != "again"] == acknowledged + later


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_outbox_and_consumer_survive(broker: OwnBroker, settings: ServiceSettings, database: Pool, topic: str, how: str) -> None:
    async def note(conn: Connection, records: Sequence[Record]) -> None:
        await conn.executemany(
            "INSERT INTO applied VALUES ($1)", [(StringValue.FromString(record.value or b"").value,) for record in records]
        )

    async def store(number: int) -> None:
        async with database.acquire() as conn, conn.transaction():
            event = StringValue(value=str(number))
            await append(conn, topic=topic, key=f"VIN{number % 3}", event=event, ce_type="t", ce_source="/t", ce_id=str(number))

    async with kafka.producer(settings, delivery_timeout_s=DELIVERY_S) as producer:
        consumer = KafkaConsumerLoop(settings, [topic], f"g-{how}", note, pool=database, producer=producer)
        async with (
            running(asyncio.create_task(OutboxRelay(settings, producer, poll_s=0.5).run())),
            running(asyncio.create_task(consumer.run())),
        ):
            for number in range(30):
                await store(number)
            async with away(broker, how):
                for number in range(30, 60):
                    await store(number)
            for number in range(60, 90):
                await store(number)
            async with asyncio.timeout(90):
                while await database.fetchval("SELECT count(*) FROM applied") < 90:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            async with asyncio.timeout(60):
                while await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
    rows = [int(row["text"]) for row in await database.fetch("SELECT text FROM applied ORDER BY ctid")]
    assert sorted(rows) == list(range(90))
    for key in range(3):
        mine = [number for number in rows if number % 3 == key]
        assert mine == sorted(mine)
    first: dict[str, bytes] = {}
    for record in await all_of(broker.address, topic):
        ce_id = dict(record.headers)["ce_id"].decode()
        assert first.setdefault(ce_id, record.value) == record.value
    assert len(first) == 90


async def test_a_consumer_waits_at_start_for_a_broker_that_is_not_there(
    broker: OwnBroker, settings: ServiceSettings, database: Pool, topic: str
) -> None:
    async def note(conn: Connection, records: Sequence[Record]) -> None:
        await conn.executemany("INSERT INTO applied VALUES ($1)", [((record.value or b"").decode(),) for record in records])

    async with kafka.producer(settings) as producer:
        await producer.send(topic, "k", b"1", CloudEvent("t", "/t").headers())
        broker.kill()
        loop = KafkaConsumerLoop(
            settings, [topic], "g-start", note, pool=database, producer=producer, consumer_options={"bootstrap_timeout_ms": 500}
        )
        async with running(asyncio.create_task(loop.run())):
            await asyncio.sleep(2)
            with pytest.raises(ConnectionError):
                await loop.check()
            await broker.start()
            async with asyncio.timeout(60):
                while await database.fetchval("SELECT count(*) FROM applied") < 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
