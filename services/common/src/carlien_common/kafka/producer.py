"""The producer: idempotent, acknowledged by all replicas, awaited from the event loop without ever blocking it.

KafkaProducer.send blocks while metadata are missing (a broker that is away) or its buffer is full, so a thread of ours calls it.
Order per partition is the order of send calls.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError

from carlien_common import metrics
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import exhausted, unavailable
from carlien_common.kafka.client import options
from carlien_common.logs import get_logger

log = get_logger(__name__)

Headers = Sequence[tuple[str, bytes]]

MAX_IN_FLIGHT: Final = 10_000
"""Records accepted and not yet acknowledged; with 1 KiB each, 10 MiB of a 32 MiB buffer."""
DELIVERY_TIMEOUT_S: Final = 20.0
"""After that a record has failed. Shorter than the default deadline of a call, so that a caller hears of it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Job:
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    outcome: asyncio.Future[Delivery]
    started: float


class Producer:
    """See the module's docstring. Made by producer()."""

    def __init__(self, client: KafkaProducer, max_in_flight: int, topic_prefix: str = "") -> None:
        self._client = client
        self._prefix = topic_prefix
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(max_in_flight)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[tuple[_Job, Delivery | BaseException]] = deque()
        self._scheduled = False
        self._lock = threading.Lock()
        self._closed = False
        self._pending: set[asyncio.Future[Delivery]] = set()
        self._thread = threading.Thread(target=self._run, name="kafka-producer", daemon=True)
        self._thread.start()

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
        self._pending.add(outcome)
        metrics.KAFKA_IN_FLIGHT.inc()
        self._jobs.put(_Job(topic, key.encode() if isinstance(key, str) else key, value, list(headers), outcome, time.perf_counter()))
        return outcome

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                future = self._client.send(self._prefix + job.topic, value=job.value, key=job.key, headers=job.headers)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                self._finish(job, error)
                continue
            future.add_callback(self._acknowledged, job)
            future.add_errback(self._finish, job)

    def _acknowledged(self, job: _Job, metadata: Any) -> None:
        self._finish(job, Delivery(job.topic, metadata.partition, metadata.offset))

    def _finish(self, job: _Job, outcome: Delivery | BaseException) -> None:
        """From any thread. Wakes the loop once for many acknowledgements: each wake-up is a system call."""
        with self._lock:
            self._done.append((job, outcome))
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self._loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            # The loop is gone, and with it everyone who waited.
            return

    def _settle(self) -> None:
        with self._lock:
            self._scheduled = False
            done = list(self._done)
            self._done.clear()
        for job, outcome in done:
            self._room.release()
            metrics.KAFKA_IN_FLIGHT.dec()
            self._pending.discard(job.outcome)
            metrics.KAFKA_SENT.labels(job.topic, "failed" if isinstance(outcome, BaseException) else "acknowledged").inc()
            metrics.KAFKA_SEND_SECONDS.labels(job.topic).observe(time.perf_counter() - job.started)
            if job.outcome.done():
                continue
            if isinstance(outcome, BaseException):
                job.outcome.set_exception(_failure(job.topic, outcome))
            else:
                job.outcome.set_result(outcome)

    async def close(self, timeout_s: float) -> None:
        """Sends what has been accepted, waits for it at most timeout_s, fails the rest."""
        self._closed = True
        self._jobs.put(None)
        if self._pending:
            await asyncio.wait(self._pending, timeout=timeout_s)
        await asyncio.to_thread(self._client.close, timeout_s)
        for outcome in list(self._pending):
            if not outcome.done():
                outcome.set_exception(unavailable("PRODUCER_CLOSED", "The service stopped before the broker acknowledged."))


def _failure(topic: str, error: BaseException) -> BaseException:
    if not isinstance(error, KafkaError):
        # TypeError, ValueError: a caller's mistake.
        return error
    failure = unavailable("BROKER_UNAVAILABLE", "The broker didn't take the record.", topic=topic, error=type(error).__name__)
    failure.__cause__ = error
    return failure


@asynccontextmanager
async def producer(
    settings: ServiceSettings,
    client_id: str = "carlien",
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    delivery_timeout_s: float = DELIVERY_TIMEOUT_S,
    linger_ms: int = 2,
) -> AsyncIterator[Producer]:
    """A producer for the life of the process. Waits at start for the broker."""
    config = {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": linger_ms,
        "batch_size": 64 * 1024,
        "delivery_timeout_ms": int(delivery_timeout_s * 1000),
        # A request in flight must be given up before its record's time is up, or the timeouts contradict each other.
        "request_timeout_ms": int(delivery_timeout_s * 500),
        "max_block_ms": int(delivery_timeout_s * 1000),
    }
    client = await asyncio.to_thread(lambda: KafkaProducer(**options(settings, client_id), **config))
    made = Producer(client, max_in_flight, settings.kafka_topic_prefix)
    try:
        yield made
    finally:
        await made.close(settings.stop_grace_s)
