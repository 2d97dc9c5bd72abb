"""The producer against a real Kafka."""

import asyncio
import contextlib

import pytest
from confluent_kafka import KafkaError
from consuming import MakeSettings, MakeTopic, all_of

from carlien_common import kafka
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.kafka import Producer


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
    async with kafka.producer(settings, delivery_timeout_s=1.5) as made:
        turns = 0
        future = made.enqueue("test.no-such-topic-either", "k", b"v")
        while not future.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100
        assert isinstance(future.exception(), DomainError)


async def test_a_client_that_cannot_go_on_is_replaced(producer: Producer, make_topic: MakeTopic) -> None:
    topic = make_topic()
    before = producer.enqueue(topic, "k", b"perhaps lost")
    producer._delivery._error(KafkaError(KafkaError._FATAL, "as if the broker had lost our sequence", True))
    assert (await producer.send(topic, "k", b"again")).topic == topic
    with contextlib.suppress(DomainError):
        await before
    assert before.done()
