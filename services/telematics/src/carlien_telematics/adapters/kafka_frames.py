"""A frame as an event on the frame topic, and the way there of IngestFrames."""

import time
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from carlien.telematics.v1 import events_pb2
from carlien_common.kafka.producer import Producer
from carlien_telematics.codecs.digest import record_id
from carlien_telematics.service.publishing import OutgoingFrame

FRAME_TOPIC = "carlien.telematics.frame.v1"


class IngestPublisher:
    """Uploaded frames on the topic; the shared producer bounds how many are on their way."""

    def __init__(self, producer: Producer, source: str, topic: str = FRAME_TOPIC) -> None:
        self._producer = producer
        self._source = source
        self._topic = topic

    async def send(self, vin: str, device_id: str, source_protocol: str, raw: bytes) -> None:
        """Returns when the frame is durable. Raises UNAVAILABLE BROKER_UNAVAILABLE."""
        frame = OutgoingFrame(vin, device_id, source_protocol, raw, time.time_ns(), lambda _: None)
        await self._producer.send(self._topic, vin, event_bytes(frame), headers(self._source, frame))


def headers(source: str, frame: OutgoingFrame) -> list[tuple[str, bytes]]:
    """CloudEvents attributes of a frame."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"carlien.telematics.frame.v1.FrameReceived"),
        ("ce_source", source.encode()),
        ("ce_id", record_id(frame.device_id, frame.raw).encode()),
        ("ce_time", datetime.fromtimestamp(frame.received_at_ns / 1e9, UTC).isoformat().encode()),
    ]


def event_bytes(frame: OutgoingFrame) -> bytes:
    """The value of a frame's event."""
    received_at = Timestamp(seconds=frame.received_at_ns // 10**9, nanos=frame.received_at_ns % 10**9)
    return events_pb2.FrameReceived(
        device_id=frame.device_id, vin=frame.vin, source_protocol=frame.source_protocol, frame=frame.raw, received_at=received_at
    ).SerializeToString()
