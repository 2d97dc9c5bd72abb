"""The consumer loop: one thread owns the KafkaConsumer, the event loop does the work, offsets follow the database.

    poll -> whole batch to the event loop -> transaction (idempotence rows + effects) -> commit offset + 1 -> poll

A batch that takes long pauses the partitions and goes on polling, or the group would take us for dead. Whatever happens between
the transaction and the offset's commit (a kill, a rebalance, a broker that is away) leads to a repeat, which the idempotence
rows recognise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, RetriableError
from kafka.structs import OffsetAndMetadata

from carlien_common import metrics
from carlien_common.config import ServiceSettings
from carlien_common.kafka.batches import BatchProcessor, Handler
from carlien_common.kafka.client import options
from carlien_common.kafka.events import Record, by_partition
from carlien_common.kafka.poison import ConsumerHaltedError, Poison, PoisonLimit
from carlien_common.kafka.producer import Producer
from carlien_common.logs import get_logger
from carlien_common.postgres.pool import Pool

__all__ = ["ConsumerHaltedError", "KafkaConsumerLoop", "Poison", "PoisonLimit"]

log = get_logger(__name__)

GATHER_S: Final = 0.05
"""A batch begins so long after the one before, so that under load records come together (each batch costs a transaction, a commit of
offsets and their hand-over); a full one is followed at once."""
POLL_MS: Final = 200
"""How long a poll waits; also how soon a stop is noticed."""
PAUSE_AFTER_S: Final = 5.0
"""A rebalance waits for a batch up to then. Far below max_poll_interval (300 s), far above an ordinary batch."""
RETRY_S: Final = 1.0
"""Between attempts to reach a broker that is away."""
COMMIT_TIMEOUT_MS: Final = 5_000
SESSION_TIMEOUT_MS: Final = 10_000
"""After kill -9 the group gives our partitions to the next one when this has passed (kafka-python's own default is 45 s)."""
HEARTBEAT_MS: Final = 2_000
LAG_EVERY_S: Final = 1.0


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps up with what we own. Called on kafka-python's own IO thread, which must not be held up, so it only takes notes."""

    def __init__(self, group: str) -> None:
        self.joined = threading.Event()
        self.lost: set[TopicPartition] = set()
        """What others have owned since the loop last emptied it, even if it's ours again."""
        self._group = group
        self._held: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        log.info("partitions_assigned", group=self._group, partitions=_names(assigned))
        # The protocol takes everything away first. What comes back at once goes on where it was (kafka-python keeps its position).
        self._lose(self._held - set(assigned))
        self._held = set(assigned)
        self.joined.set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        log.info("partitions_revoked", group=self._group, partitions=_names(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        log.warning("partitions_lost", group=self._group, partitions=_names(lost))
        self._lose(set(lost))

    def _lose(self, partitions: set[TopicPartition]) -> None:
        for partition in partitions:
            self.lost.add(partition)
            # Another member reports it from now on.
            with contextlib.suppress(KeyError):
                metrics.KAFKA_LAG.remove(self._group, partition.topic, str(partition.partition))


class KafkaConsumerLoop:
    """Consumes topics for one group. Run it as a task: `app.spawn("liens", loop.run())`; cancelling it ends it cleanly.

    `handler(conn, records)` gets whole batches inside a database transaction. With `dedupe` (the default) it sees every CloudEvent
    once; without, its own unique keys must make a repeat harmless (for topics with too many records to note each).
    """

    def __init__(
        self,
        settings: ServiceSettings,
        topics: Sequence[str],
        group: str,
        handler: Handler,
        *,
        pool: Pool,
        producer: Producer,
        dedupe: bool = True,
        max_records: int = 500,
        poison_limit: PoisonLimit | None = None,
        pause_after_s: float = PAUSE_AFTER_S,
        consumer_options: dict[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._prefix = settings.kafka_topic_prefix
        self._topics = [self._prefix + topic for topic in topics]
        self._group = group
        metrics.at_zero(metrics.KAFKA_CONSUMED, [group], topics, ["applied", "duplicate", "poison"])
        self._processor = BatchProcessor(group, handler, pool, producer, dedupe=dedupe, limit=poison_limit)
        self._max_records = max_records
        self._pause_after_s = pause_after_s
        self._options = consumer_options or {}
        self._assignment = _Assignment(group)
        self._stop = threading.Event()
        self._uncommitted: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._lag_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Until cancelled; then the batch in hand is finished (stop_grace_s), its offsets committed and the group left."""
        self._loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = self._loop.create_future()
        thread = threading.Thread(target=self._thread, args=(self._loop, finished), name=f"kafka-{self._group}", daemon=True)
        thread.start()
        try:
            await asyncio.shield(finished)
        except asyncio.CancelledError:
            self._stop.set()
            # A second cancellation ends the waiting too: the thread is a daemon.
            await finished
            raise
        raise RuntimeError(f"The consumer {self._group} ended by itself.")

    async def joined(self) -> None:
        """Returns once the group has given us our first assignment."""
        await asyncio.to_thread(self._assignment.joined.wait)

    async def check(self) -> None:
        """The readiness check: has the group taken us in?"""
        if not self._assignment.joined.is_set():
            raise ConnectionError(f"{self._group} has not joined its group yet")

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _thread(self, loop: asyncio.AbstractEventLoop, finished: asyncio.Future[None]) -> None:
        error: BaseException | None = None
        try:
            self._consume(loop)
        except BaseException as raised:  # noqa: BLE001 - run() raises it on the event loop
            error = raised

        def tell() -> None:
            if finished.done():
                return
            if error is None:
                finished.set_result(None)
            else:
                finished.set_exception(error)

        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            log.warning("consumer_outlived_its_loop", group=self._group)

    def _consume(self, loop: asyncio.AbstractEventLoop) -> None:
        consumer = self._connect()
        if consumer is None:
            return
        try:
            carried: list[Record] = []
            gathered_at = 0.0
            while not self._stop.is_set():
                self._stop.wait(max(0.0, gathered_at - time.monotonic()))
                records = carried or self._poll(consumer, POLL_MS)
                carried = []
                if records:
                    gathered_at = time.monotonic() + (GATHER_S if len(records) < self._max_records else 0.0)
                    carried = self._handle(consumer, loop, records)
                self._commit(consumer)
                self._report_lag(consumer)
        finally:
            # Tells the group that we leave, so that the others needn't wait for our session to expire.
            try:
                consumer.close(autocommit=False, timeout_ms=COMMIT_TIMEOUT_MS)
            except KafkaError as error:
                log.warning("consumer_closed_hard", group=self._group, error=type(error).__name__)

    def _connect(self) -> KafkaConsumer | None:
        while not self._stop.is_set():
            try:
                defaults = options(self._settings, self._group) | {
                    "group_id": self._group,
                    "enable_auto_commit": False,
                    "auto_offset_reset": "earliest",
                    "max_poll_records": self._max_records,
                    "session_timeout_ms": SESSION_TIMEOUT_MS,
                    "heartbeat_interval_ms": HEARTBEAT_MS,
                }
                consumer = KafkaConsumer(**(defaults | self._options))
            except KafkaError as error:
                log.warning("broker_not_ready", group=self._group, error=type(error).__name__)
                self._stop.wait(RETRY_S)
                continue
            consumer.subscribe(topics=self._topics, listener=self._assignment)
            return consumer
        return None

    def _poll(self, consumer: KafkaConsumer, timeout_ms: int) -> list[Record]:
        try:
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=self._max_records)
        except RetriableError as error:
            # kafka-python bears most outages in silence, but not one that begins while the group forms.
            log.warning("poll_failed", group=self._group, error=type(error).__name__)
            self._stop.wait(RETRY_S)
            polled = {}
        # kafka-python 3.0.12 forgets a rebalance that new metadata started when a poll times out between the two halves of it: the
        # leader notes the new metadata in the first half, so the next poll sees no reason to go on, and with heartbeats switched
        # off meanwhile the member is dead for good. Its own flag brings it back; when nothing is wrong this asks for nothing.
        coordinator = consumer._coordinator  # noqa: SLF001 - there is no other way in
        if coordinator.rejoining and not coordinator.need_rejoin():
            coordinator.request_rejoin()
        return _records(polled, self._prefix)

    def _handle(self, consumer: KafkaConsumer, loop: asyncio.AbstractEventLoop, records: list[Record]) -> list[Record]:
        """Has the batch processed and commits it. Returns records that came in meanwhile, after a rebalance."""
        work = asyncio.run_coroutine_threadsafe(self._processor.process(records), loop)
        carried = self._await(consumer, work)
        if work.cancelled():
            return []
        work.result()
        for (topic, partition), offset in by_partition(records).items():
            self._uncommitted[TopicPartition(self._prefix + topic, partition)] = offset + 1
        return carried

    def _await(self, consumer: KafkaConsumer, work: concurrent.futures.Future[None]) -> list[Record]:
        carried: list[Record] = []
        pause_at = time.monotonic() + self._pause_after_s
        paused = False
        stop_at: float | None = None
        while not _done(work, timeout_s=POLL_MS / 1000):
            now = time.monotonic()
            if self._stop.is_set():
                stop_at = stop_at or now + self._settings.stop_grace_s
                if now >= stop_at:
                    # Its transaction is rolled back; the next owner of the partition gets the records again.
                    log.warning("batch_abandoned", group=self._group)
                    work.cancel()
                    break
            if now >= pause_at:
                paused = True
                # Each time anew: a rebalance forgets what was paused.
                consumer.pause(*consumer.assignment())
                carried += self._poll(consumer, 0)
        if paused:
            consumer.resume(*consumer.paused())
        return carried

    def _commit(self, consumer: KafkaConsumer) -> None:
        """Commits what has been dealt with; what can't be committed now is tried again after the next poll."""
        # A lost partition's offset is its new owner's to commit, who may be further already. Should it be ours again by now, it is
        # read from the last commit on.
        while self._assignment.lost:
            place = self._assignment.lost.pop()
            self._uncommitted.pop(place, None)
            self._next.pop(place, None)
        if not self._uncommitted:
            return
        try:
            consumer.commit({place: OffsetAndMetadata(at, "", -1) for place, at in self._uncommitted.items()}, timeout_ms=COMMIT_TIMEOUT_MS)
        except KafkaError as error:
            # The effects are in the database; whoever gets these records again finds them consumed.
            log.warning("commit_failed", group=self._group, error=type(error).__name__)
            return
        self._next.update(self._uncommitted)
        self._uncommitted.clear()

    def _report_lag(self, consumer: KafkaConsumer) -> None:
        if time.monotonic() < self._lag_at:
            return
        self._lag_at = time.monotonic() + LAG_EVERY_S
        for place in consumer.assignment():
            high = consumer.highwater(place)
            if high is None:
                continue
            # Nothing consumed since it was assigned: where the group stands.
            at = self._next.get(place)
            if at is None:
                at = consumer.position(place, timeout_ms=0)
            if at is not None:
                metrics.KAFKA_LAG.labels(self._group, place.topic, str(place.partition)).set(max(0, high - at))


def _done(work: concurrent.futures.Future[None], timeout_s: float) -> bool:
    return bool(concurrent.futures.wait([work], timeout=timeout_s).done)


def _records(polled: dict[TopicPartition, list[Any]], prefix: str) -> list[Record]:
    return [
        Record(
            topic=raw.topic.removeprefix(prefix),
            partition=raw.partition,
            offset=raw.offset,
            key=raw.key,
            value=raw.value,
            headers=tuple((name, value or b"") for name, value in raw.headers),
            timestamp=dt.datetime.fromtimestamp(max(0, raw.timestamp) / 1000, dt.UTC),
        )
        for raws in polled.values()
        for raw in raws
    ]


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return sorted(f"{partition.topic}/{partition.partition}" for partition in partitions)
