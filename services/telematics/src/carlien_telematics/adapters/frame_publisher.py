"""The gateway's way to the frame topic."""

import asyncio
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, Message

from carlien_common.config import ServiceSettings
from carlien_common.kafka.client import producer_options
from carlien_common.kafka.delivery import DeliveryLoop
from carlien_telematics.adapters.kafka_frames import event_bytes, headers
from carlien_telematics.service.publishing import OutgoingFrame

DELIVERY_TIMEOUT_S: Final = 30.0
"""After that a frame has failed and its device is not told: it sends again."""
_STOP_S: Final = 10.0
"""How long a stop waits for the broker."""
_LINGER_MS: Final = 20
"""librdkafka sends a request for each partition: at thousands of frames a second a shorter wait is paid by the broker."""
_QUEUE: Final = {
    "batch.size": 256 * 1024,
    # The gateway stops reading sockets long before.
    "queue.buffering.max.messages": 200_000,
}


class KafkaFramePublisher:
    """`FramePublisher` on Kafka. Made and used in the running loop, as an async context manager. Never blocks."""

    def __init__(self, settings: ServiceSettings, source: str, topic: str) -> None:
        self._topic = topic
        self._source = source
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        options = producer_options(settings, "telematics-gateway", delivery_timeout_s=DELIVERY_TIMEOUT_S, linger_ms=_LINGER_MS)
        self._delivery = DeliveryLoop(options | _QUEUE, self._fatal)

    async def __aenter__(self) -> "KafkaFramePublisher":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Waits a while for the fate of what was handed over; what is left was told to no device, so nothing is lost."""
        await self._delivery.close(_STOP_S)
        self._broken.cancel()

    async def run(self) -> None:
        """Ends with the error after which the producer can't go on; a fresh process can, and devices send again."""
        await self._broken

    @property
    def in_flight(self) -> int:
        """Frames handed over and not yet reported on."""
        return self._delivery.in_flight

    def on_drained(self, call: Callable[[], None]) -> None:
        """`call` runs in the loop after reports."""
        self._delivery.drained = call

    def publish(self, frame: OutgoingFrame) -> None:
        """Hands a frame over; `frame.done` is called in the loop when its fate is known."""

        def reported(error: KafkaError | None, _: Message | None) -> None:
            frame.done(error is None)

        self._delivery.produce(self._topic, frame.vin, event_bytes(frame), headers(self._source, frame), reported)

    def _fatal(self, error: KafkaError) -> None:
        if not self._broken.done():
            self._broken.set_exception(RuntimeError(f"the frame producer can't go on: {error.name()}"))
