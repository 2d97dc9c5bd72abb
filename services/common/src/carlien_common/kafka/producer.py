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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

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


OVERDUE_S: Final = 3.0
"""So long after its delivery time a record without any outcome means that the client is stuck."""
WATCH_EVERY_S: Final = 1.0
FORCE_CLOSE_S: Final = 2.0
"""How long a sender may take to notice that it is to drop everything."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many records may be on their way, and for how long."""

    max_in_flight: int
    delivery_timeout_s: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    outcome: asyncio.Future[Delivery]
    started: float


class Producer:
    """See the module's docstring. Made by producer()."""

    def __init__(self, connect: Callable[[], KafkaProducer], client: KafkaProducer, limits: Limits, topic_prefix: str = "") -> None:
        self._connect = connect
        self._client = client
        self._overdue_s = limits.delivery_timeout_s + OVERDUE_S
        self._stuck = False
        self._prefix = topic_prefix
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(limits.max_in_flight)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[tuple[_Job, Delivery | BaseException]] = deque()
        self._scheduled = False
        self._lock = threading.Lock()
        self._closed = False
        self._pending: dict[_Job, None] = {}
        """In the order of sending."""
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
        job = _Job(topic, key.encode() if isinstance(key, str) else key, value, list(headers), outcome, time.perf_counter())
        self._pending[job] = None
        metrics.KAFKA_IN_FLIGHT.inc()
        self._jobs.put(job)
        return outcome

    async def watch(self) -> None:
        """Replaces a client that will never deliver again; runs until cancelled.

        kafka-python 3.0.12 ends in two ways when a record that was tried before runs out of time (the broker was away for longer).
        It gives its producer id back and waits for a new one, and while it waits neither sends nor lets anything expire; or the
        request for that id runs out of time, too, which it takes for a fatal error and fails every record from then on.
        """
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            overdue = [job for job in self._pending if time.perf_counter() - job.started > self._overdue_s]
            for job in overdue:
                self._conclude(job, KafkaTimeoutError("neither acknowledged nor failed in time"))
            self._stuck = self._stuck or bool(overdue) or self._client._transaction_manager.has_fatal_error()  # noqa: SLF001
            if self._stuck:
                await self._replace()

    async def _replace(self) -> None:
        log.warning("producer_stuck", consequence="its client is replaced")
        try:
            fresh = await asyncio.to_thread(self._connect)
        except KafkaError as error:
            log.warning("broker_not_ready", error=type(error).__name__)
            return
        # Before the fresh one sends anything, or what the dead one still holds could come after it.
        await self._close_client(self._client, 0.0)
        self._client = fresh
        self._stuck = False

    @staticmethod
    async def _close_client(client: KafkaProducer, timeout_s: float) -> None:
        def force() -> None:
            # close() gives up with its flush() and leaves the sender alive, which would go on to send what has long been failed.
            client._sender.force_close()  # noqa: SLF001 - there is no other way in
            client._sender.join(FORCE_CLOSE_S)  # noqa: SLF001
            client.close(0.0)

        try:
            await asyncio.to_thread(client.close, timeout_s)
        except KafkaError as error:
            log.warning("producer_closed_hard", error=type(error).__name__)
            await asyncio.to_thread(force)

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
            self._conclude(job, outcome)

    def _conclude(self, job: _Job, outcome: Delivery | BaseException) -> None:
        """Once per job: a replaced client may report what was given up long ago."""
        if job not in self._pending:
            return
        del self._pending[job]
        self._room.release()
        metrics.KAFKA_IN_FLIGHT.dec()
        failed = isinstance(outcome, BaseException)
        metrics.KAFKA_SENT.labels(job.topic, "failed" if failed else "acknowledged").inc()
        metrics.KAFKA_SEND_SECONDS.labels(job.topic).observe(time.perf_counter() - job.started)
        if job.outcome.done():
            return
        if isinstance(outcome, BaseException):
            job.outcome.set_exception(_failure(job.topic, outcome))
        else:
            job.outcome.set_result(outcome)

    async def close(self, timeout_s: float) -> None:
        """Sends what has been accepted, waits for it at most timeout_s, fails the rest."""
        self._closed = True
        self._jobs.put(None)
        if self._pending:
            await asyncio.wait([job.outcome for job in self._pending], timeout=timeout_s)
        await self._close_client(self._client, timeout_s)
        for job in list(self._pending):
            self._conclude(job, KafkaTimeoutError("the service stopped before the broker acknowledged"))


def _failure(topic: str, error: BaseException) -> BaseException:
    if not isinstance(error, KafkaError):
        # TypeError, ValueError: a caller's mistake.
        return error
    failure = unavailable("BROKER_UNAVAILABLE", "The broker didn't take the record.", topic=topic, error=type(error).__name__)
    failure.__cause__ = error
    return failure


async def _first(connect: Callable[[], KafkaProducer]) -> KafkaProducer:
    while True:
        try:
            return await asyncio.to_thread(connect)
        except KafkaError as error:
            log.warning("broker_not_ready", error=type(error).__name__)
            await asyncio.sleep(WATCH_EVERY_S)


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

    def connect() -> KafkaProducer:
        return KafkaProducer(**options(settings, client_id), **config)

    limits = Limits(max_in_flight, delivery_timeout_s)
    made = Producer(connect, await _first(connect), limits, settings.kafka_topic_prefix)
    watcher = asyncio.create_task(made.watch(), name="kafka-producer-watch")
    try:
        yield made
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
        await made.close(settings.stop_grace_s)
