"""The gateway's way to the frame topic: librdkafka, whose threads work beside Python's.

kafka-python costs four times the CPU a frame, all of it holding the interpreter's lock, and its idempotent producer stays silent for
ever once a retried batch has run out of time. See docs/adr/0002.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from carlien_common.config import ServiceSettings
from carlien_common.logs import get_logger
from carlien_telematics.adapters.kafka_frames import event_bytes, headers
from carlien_telematics.service.publishing import OutgoingFrame

log = get_logger(__name__)

DELIVERY_TIMEOUT_S = 30.0
"""After that a frame has failed and its device is not told: it sends again."""
_STOP_S = 10.0
"""How long a stop waits for the broker."""
_LINGER_MS = 20
"""librdkafka sends a request for each partition: at thousands of frames a second a shorter wait is paid by the broker."""
_REPORTS_EVERY_S = 0.004
"""How often reports are fetched while frames are in flight: shorter than the linger, so that it adds little to an acknowledgement."""


def producer_options(settings: ServiceSettings) -> dict[str, Any]:
    """acks=all, idempotent: what is reported durable is on every in-sync replica, once and in order per car."""
    chosen: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": "telematics-gateway",
        "security.protocol": settings.kafka_security_protocol,
        "acks": "all",
        "enable.idempotence": True,
        # where every other client of carlien puts a key
        "partitioner": "murmur2_random",
        "linger.ms": _LINGER_MS,
        "batch.size": 256 * 1024,
        "message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        # the gateway stops reading sockets long before
        "queue.buffering.max.messages": 200_000,
        "reconnect.backoff.max.ms": 2_000,
        # a topic that appears, or moves, is found soon
        "topic.metadata.refresh.interval.ms": 30_000,
        "topic.metadata.propagation.max.ms": 5_000,
        "log_level": 3,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ssl_ca_file,
            "ssl.certificate.location": settings.kafka_ssl_cert_file,
            "ssl.key.location": settings.kafka_ssl_key_file,
        }
        chosen |= {name: str(path) for name, path in files.items() if path is not None}
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        chosen |= {"sasl.mechanism": settings.kafka_sasl_mechanism, "sasl.username": settings.kafka_sasl_username or ""}
        chosen |= {"sasl.password": password.get_secret_value() if password else ""}
    return chosen


class KafkaFramePublisher:
    """`FramePublisher` on Kafka. Made and used in the running loop, as an async context manager. Never blocks.

    `drained` is called in the loop after reports.
    """

    def __init__(self, settings: ServiceSettings, source: str, topic: str) -> None:
        self._topic = topic
        self._source = source
        self.drained: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._in_flight = 0
        self._all_reported = asyncio.Event()
        self._all_reported.set()
        self._producer = Producer({**producer_options(settings), "error_cb": self._error})

    async def __aenter__(self) -> "KafkaFramePublisher":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Waits a while for the fate of what was handed over; what is left was told to no device, so nothing is lost."""
        try:
            async with asyncio.timeout(_STOP_S):
                await self._all_reported.wait()
        except TimeoutError:
            log.warning("frames_abandoned", count=self._in_flight)
            self._producer.purge()
            self._producer.poll(0)
        self._broken.cancel()

    async def run(self) -> None:
        """Ends with the error after which the producer can't go on; a fresh process can, and devices send again."""
        await self._broken

    @property
    def in_flight(self) -> int:
        """Frames handed over and not yet reported on."""
        return self._in_flight

    def publish(self, frame: OutgoingFrame) -> None:
        """Hands a frame over; `frame.done` is called in the loop when its fate is known."""

        def reported(error: KafkaError | None, _message: Message | None = None) -> None:
            self._in_flight -= 1
            frame.done(error is None)

        self._in_flight += 1
        try:
            # bytes and str are what a header may be; a list of one of them is no list of both to the type checker
            self._producer.produce(
                self._topic,
                event_bytes(frame),
                frame.vin,
                headers=headers(self._source, frame),  # type: ignore[arg-type]
                on_delivery=reported,
            )
        except (BufferError, KafkaException) as error:
            log.warning("frame_not_handed_over", error=type(error).__name__)
            self._loop.call_soon(reported, KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - so are local errors named
        if self._all_reported.is_set():
            self._all_reported.clear()
            self._loop.call_later(_REPORTS_EVERY_S, self._fetch_reports)

    def _fetch_reports(self) -> None:
        """Runs the callbacks of all reports there are, here in the loop's own thread."""
        try:
            if self._producer.poll(0):
                self.drained()
        finally:
            if self._in_flight:
                self._loop.call_later(_REPORTS_EVERY_S, self._fetch_reports)
            else:
                self._all_reported.set()

    def _error(self, error: KafkaError) -> None:
        """Called from poll, in the loop's thread. Of a broker that is away it only tells: the client tries again by itself."""
        log.warning("producer_error", error=error.name(), fatal=error.fatal())
        if error.fatal() and not self._broken.done():
            self._broken.set_exception(RuntimeError(f"the frame producer can't go on: {error.name()}"))
