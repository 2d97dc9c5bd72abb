"""The producer: idempotent, acknowledged by all replicas, awaited from the event loop without ever blocking it.

Order per partition is the order of send calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, Message

from carlien_common import metrics
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, exhausted, unavailable
from carlien_common.kafka.client import producer_options
from carlien_common.kafka.delivery import DeliveryLoop, Headers

MAX_IN_FLIGHT: Final = 10_000
"""Records accepted and not yet acknowledged."""
MAX_IN_FLIGHT_KIB: Final = 32 * 1024
DELIVERY_TIMEOUT_S: Final = 20.0
"""After that a record has failed. Shorter than the default deadline of a call, so that a caller hears of it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


class Producer:
    """See the module's docstring. Made by producer()."""

    def __init__(self, options: dict[str, Any], max_in_flight: int, topic_prefix: str = "") -> None:
        self._options = options
        self._prefix = topic_prefix
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(max_in_flight)
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._delivery = DeliveryLoop(options, self._replace)

    async def send(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Headers = ()) -> Delivery:
        """Waits for room, sends, waits for the acknowledgement. UNAVAILABLE BROKER_UNAVAILABLE when there is none in time."""
        await self._room.acquire()
        return await self._submit(topic, key, value, headers)

    def enqueue(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Headers = ()) -> asyncio.Future[Delivery]:
        """A future of the acknowledgement, at once. EXHAUSTED PRODUCER_FULL when too many records are on their way."""
        if self._room.locked():
            raise exhausted("PRODUCER_FULL", "Too many records wait for the broker.")
        # Takes the permit without waiting: there is one, and nothing runs in between.
        self._room._value -= 1  # noqa: SLF001 - asyncio.Semaphore has no acquire_nowait
        return self._submit(topic, key, value, headers)

    def _submit(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Headers) -> asyncio.Future[Delivery]:
        if self._closed:
            self._room.release()
            raise unavailable("PRODUCER_CLOSED", "The service is stopping.")
        outcome: asyncio.Future[Delivery] = self._loop.create_future()
        metrics.KAFKA_IN_FLIGHT.inc()
        self._delivery.produce(self._prefix + topic, key, value, headers, partial(self._conclude, topic, outcome, time.perf_counter()))
        return outcome

    def _conclude(
        self, topic: str, outcome: asyncio.Future[Delivery], started: float, error: KafkaError | None, message: Message | None
    ) -> None:
        self._room.release()
        metrics.KAFKA_IN_FLIGHT.dec()
        metrics.KAFKA_SENT.labels(topic, "failed" if error else "acknowledged").inc()
        metrics.KAFKA_SEND_SECONDS.labels(topic).observe(time.perf_counter() - started)
        if outcome.done():
            return
        if message is None or error is not None:
            outcome.set_exception(_failure(topic, error))
        else:
            outcome.set_result(Delivery(topic, message.partition() or 0, message.offset() or 0))

    def _replace(self, _: KafkaError) -> None:
        """A client that can't go on fails all it has; a fresh one can."""
        dead, self._delivery = self._delivery, DeliveryLoop(self._options, self._replace)
        self._closing = self._loop.create_task(dead.close(0.0))

    async def close(self, timeout_s: float) -> None:
        """Sends what has been accepted, waits for it at most timeout_s, fails the rest."""
        self._closed = True
        await self._delivery.close(timeout_s)
        if self._closing is not None:
            await self._closing


def _failure(topic: str, error: KafkaError | None) -> DomainError:
    return unavailable("BROKER_UNAVAILABLE", "The broker didn't take the record.", topic=topic, error=error.name() if error else "")


@asynccontextmanager
async def producer(
    settings: ServiceSettings,
    client_id: str = "carlien",
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    delivery_timeout_s: float = DELIVERY_TIMEOUT_S,
    linger_ms: int = 2,
) -> AsyncIterator[Producer]:
    """A producer for the life of the process. It doesn't wait for the broker: the first record does."""
    options = producer_options(settings, client_id, delivery_timeout_s=delivery_timeout_s, linger_ms=linger_ms)
    made = Producer(options | {"queue.buffering.max.kbytes": MAX_IN_FLIGHT_KIB}, max_in_flight, settings.kafka_topic_prefix)
    try:
        yield made
    finally:
        await made.close(settings.stop_grace_s)
