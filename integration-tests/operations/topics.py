"""What the topics tell since a moment: every event's identity and value, repeats counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition

APPRAISALS = "carlien.valuation.appraisal.v1"
LIENS = "carlien.lien.event.v1"
QUOTES = "carlien.pricing.quote.v1"


@dataclass
class Told:
    """One topic's events: value by ce_id (the values of a repeat are the same), and how often each came."""

    values: dict[str, bytes] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)


class Reader:
    """Reads topics from where they ended when it was made."""

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        self._bootstrap = bootstrap
        consumer = self._consumer()
        partitions = [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic) or ()]
        self._from: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        consumer.close()

    def _consumer(self) -> Any:
        return KafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False, group_id=None)

    def read(self) -> dict[str, Told]:
        """All since then, to the present end. Fails where one ce_id came with two values."""
        consumer = self._consumer()
        told: dict[str, Told] = {place.topic: Told() for place in self._from}
        try:
            consumer.assign(list(self._from))
            for place, offset in self._from.items():
                consumer.seek(place, offset)
            ends = consumer.end_offsets(list(self._from))
            unread = {place for place, end in ends.items() if self._from[place] < end}
            while unread:
                for place, records in consumer.poll(timeout_ms=500).items():
                    for record in records:
                        self._take(told[place.topic], dict(record.headers)["ce_id"].decode(), record.value)
                    if consumer.position(place) >= ends[place]:
                        unread.discard(place)
        finally:
            consumer.close()
        return told

    @staticmethod
    def _take(told: Told, ce_id: str, value: bytes) -> None:
        assert told.values.setdefault(ce_id, value) == value, f"{ce_id} came with two values"
        told.times[ce_id] += 1
