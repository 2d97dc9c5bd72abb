"""The frame topic as the consumer reads it."""

from collections.abc import Sequence
from datetime import UTC

from carlien.telematics.v1 import events_pb2
from carlien_common.kafka import Poison, Record
from carlien_common.postgres import Connection
from carlien_telematics.adapters.postgres_records import Partitions, PostgresRecordStore
from carlien_telematics.codecs.errors import FrameError
from carlien_telematics.metrics import CLOCK_AHEAD, DROPPED, DUPLICATES, SIGNATURES, STORED, UNDECODED
from carlien_telematics.service.recording import ReceivedFrame, record_batch

_KNOWN_PROTOCOLS = frozenset({"GB32960_2016", "GB32960_2025", "JT808_2011", "JT808_2013", "JT808_2019", "OBD2", "OEM_API"})


class FrameRecorder:
    """Handler of a KafkaConsumerLoop. A repeat is harmless by the record's own key, so the loop need not note every frame."""

    def __init__(self) -> None:
        self._partitions = Partitions()

    async def __call__(self, connection: Connection, records: Sequence[Record]) -> None:
        """Stores a batch in the transaction of `connection`. Raises Poison for a frame the gateway could not have sent."""
        frames = [_received(record) for record in records]
        try:
            result = await record_batch(frames, PostgresRecordStore(connection, self._partitions))
        except FrameError as error:
            raise Poison(f"FRAME_{error.reason}") from error
        STORED.inc(result.stored)
        DUPLICATES.inc(result.duplicates)
        DROPPED.labels("CONSENT_REVOKED").inc(result.without_consent)
        CLOCK_AHEAD.inc(result.clock_ahead)
        for status, count in result.signatures.items():
            SIGNATURES.labels(status).inc(count)
        for reason, count in result.undecoded.items():
            UNDECODED.labels(reason).inc(count)


def _received(record: Record) -> ReceivedFrame:
    event = events_pb2.FrameReceived.FromString(record.value or b"")
    if event.source_protocol not in _KNOWN_PROTOCOLS:
        raise Poison("SOURCE_PROTOCOL_UNKNOWN")
    received_at = event.received_at.ToDatetime(tzinfo=UTC)
    return ReceivedFrame(event.vin, event.device_id, event.source_protocol, event.frame, received_at)
