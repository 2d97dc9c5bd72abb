"""What is on a topic: records, and the CloudEvents 1.0 headers of the Kafka binding's binary mode."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from carlien_common import tracing
from carlien_common.domain.clock import utc_now
from carlien_common.domain.ids import new_id

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/protobuf"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """The attributes of one event. (source, id) names it for ever: a repeat carries the same pair."""

    type: str
    source: str
    id: str = field(default_factory=new_id)
    time: dt.datetime = field(default_factory=utc_now)
    traceparent: str | None = field(default_factory=tracing.current_traceparent)

    def headers(self) -> list[tuple[str, bytes]]:
        """As Kafka headers."""
        headers = [
            ("ce_specversion", SPEC_VERSION.encode()),
            ("ce_id", self.id.encode()),
            ("ce_source", self.source.encode()),
            ("ce_type", self.type.encode()),
            ("ce_time", self.time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z").encode()),
            ("content-type", CONTENT_TYPE.encode()),
        ]
        if self.traceparent is not None:
            headers.append((tracing.HEADER, self.traceparent.encode()))
        return headers


@dataclass(frozen=True, slots=True)
class Record:
    """One consumed record. `timestamp` is the broker's or producer's, UTC."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: dt.datetime

    def header(self, name: str) -> str | None:
        """The last header of that name as text."""
        return next((value.decode("utf-8", "replace") for key, value in reversed(self.headers) if key == name), None)

    @property
    def event_id(self) -> tuple[str, str]:
        """(ce_source, ce_id), or the record's place on the broker when it isn't a CloudEvent."""
        ce_id = self.header("ce_id")
        if ce_id is None:
            return f"kafka:{self.topic}/{self.partition}", str(self.offset)
        return self.header("ce_source") or "", ce_id

    @property
    def event_type(self) -> str:
        """ce_type, or empty."""
        return self.header("ce_type") or ""

    @property
    def traceparent(self) -> str | None:
        """The producer's trace context."""
        return self.header(tracing.HEADER)


def origin_headers(record: Record, group: str, reason: str) -> list[tuple[str, bytes]]:
    """A dead letter's headers: those the record had, and where it came from and why it is here."""
    origin: Mapping[str, str] = {
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
        "dlq_group": group,
        "dlq_reason": reason[:500],
    }
    return [*record.headers, *((name, text.encode()) for name, text in origin.items())]


def dead_letter_topic(topic: str) -> str:
    """Where a topic's poison goes."""
    return f"{topic}.dlq"


def by_partition(records: Iterable[Record]) -> dict[tuple[str, int], int]:
    """The last offset of each partition in a batch."""
    return {(record.topic, record.partition): record.offset for record in records}
