"""The frame topic as the gateway writes it.

KafkaProducer.send takes locks and may block for metadata, so it runs in a thread of its own. Frames go over and reports
come back in batches: one wake-up of a thread or of the event loop costs as much as several frames.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

from carlien.telematics.v1 import events_pb2
from carlien_common.config import ServiceSettings
from carlien_common.kafka.client import options
from carlien_common.kafka.producer import Producer
from carlien_telematics.codecs.digest import record_id
from carlien_telematics.service.publishing import OutgoingFrame

FRAME_TOPIC = "carlien.telematics.frame.v1"
_LINGER_MS = 10
_BATCH_BYTES = 256 * 1024
_REMEMBERED_CARS = 200_000


def frame_producer(settings: ServiceSettings) -> KafkaProducer:
    """acks=all, idempotent: what is reported durable is on every in-sync replica, once and in order per car."""
    return KafkaProducer(
        **options(settings, "telematics-gateway"),
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        batch_size=_BATCH_BYTES,
        delivery_timeout_ms=120_000,
        metrics_enabled=False,
    )


class IngestPublisher:
    """Uploaded frames on the topic; the shared producer bounds how many are on their way."""

    def __init__(self, producer: Producer, source: str, topic: str = FRAME_TOPIC) -> None:
        self._producer = producer
        self._source = source
        self._topic = topic

    async def send(self, vin: str, device_id: str, source_protocol: str, raw: bytes) -> None:
        """Returns when the frame is durable. Raises UNAVAILABLE BROKER_UNAVAILABLE."""
        frame = OutgoingFrame(vin, device_id, source_protocol, raw, time.time_ns(), lambda _: None)
        await self._producer.send(self._topic, vin, _event(frame), headers(self._source, frame))


def headers(source: str, frame: OutgoingFrame) -> list[tuple[str, bytes]]:
    """CloudEvents attributes of a frame."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"carlien.telematics.frame.v1.FrameReceived"),
        ("ce_source", source.encode()),
        ("ce_id", record_id(frame.device_id, frame.raw).encode()),
        ("ce_time", datetime.fromtimestamp(frame.received_at_ns / 1e9, UTC).isoformat().encode()),
    ]


def _event(frame: OutgoingFrame) -> bytes:
    received_at = Timestamp(seconds=frame.received_at_ns // 10**9, nanos=frame.received_at_ns % 10**9)
    return events_pb2.FrameReceived(
        device_id=frame.device_id, vin=frame.vin, source_protocol=frame.source_protocol, frame=frame.raw, received_at=received_at
    ).SerializeToString()


class KafkaFramePublisher:
    """`FramePublisher` on Kafka. Made in the running loop, used as an async context manager.

    `drained` is called in the loop after each report.
    """

    def __init__(self, producer: KafkaProducer, source: str, topic: str = FRAME_TOPIC) -> None:
        self._producer = producer
        self._topic = topic
        self._source = source
        self.drained: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._outbox: list[OutgoingFrame] = []
        self._to_send: queue.SimpleQueue[Sequence[OutgoingFrame] | None] = queue.SimpleQueue()
        self._reports: list[tuple[OutgoingFrame, bool]] = []
        self._reports_lock = threading.Lock()
        self._in_flight = 0
        self._places: dict[bytes, int] = {}
        self._thread = threading.Thread(target=self._send_all, name="frame-publisher", daemon=True)

    async def __aenter__(self) -> "KafkaFramePublisher":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Sends what was handed over and waits for its fate."""
        self._hand_over()
        self._to_send.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.close, 10)
        self._report_back()

    @property
    def in_flight(self) -> int:
        """Frames handed over and not yet reported on."""
        return self._in_flight

    @property
    def alive(self) -> bool:
        """Whether the sending thread still works."""
        return self._thread.is_alive()

    def publish(self, frame: OutgoingFrame) -> None:
        """Called in the event loop; all frames of one turn of the loop go over together."""
        self._in_flight += 1
        if not self._outbox:
            self._loop.call_soon(self._hand_over)
        self._outbox.append(frame)

    def _hand_over(self) -> None:
        if self._outbox:
            batch, self._outbox = self._outbox, []
            self._to_send.put(batch)

    def _send_all(self) -> None:
        while (batch := self._to_send.get()) is not None:
            for frame in batch:
                try:
                    self._send(frame)
                except KafkaError:  # no metadata or no room for longer than max_block_ms
                    self._report(frame, durable=False)

    def _send(self, frame: OutgoingFrame) -> None:
        key = frame.vin.encode()
        future = self._producer.send(
            self._topic, value=_event(frame), key=key, headers=headers(self._source, frame), partition=self._partition(key)
        )
        future.add_callback(self._on_durable, frame)
        future.add_errback(self._on_failed, frame)

    def _partition(self, key: bytes) -> int:
        """Where the default partitioner would put the car; asking it for every frame costs as much as sending half of one."""
        place = self._places.get(key)
        if place is None:
            count = len(self._producer.partitions_for(self._topic))
            place = (murmur2(key) & 0x7FFFFFFF) % count
            if len(self._places) >= _REMEMBERED_CARS:
                self._places.clear()
            self._places[key] = place
        return place

    def _on_durable(self, frame: OutgoingFrame, _metadata: Any) -> None:
        self._report(frame, durable=True)

    def _on_failed(self, frame: OutgoingFrame, _error: BaseException) -> None:
        self._report(frame, durable=False)

    def _report(self, frame: OutgoingFrame, *, durable: bool) -> None:
        with self._reports_lock:
            first = not self._reports
            self._reports.append((frame, durable))
        if first:
            self._loop.call_soon_threadsafe(self._report_back)

    def _report_back(self) -> None:
        with self._reports_lock:
            reports, self._reports = self._reports, []
        self._in_flight -= len(reports)
        for frame, durable in reports:
            frame.done(durable)
        self.drained()
