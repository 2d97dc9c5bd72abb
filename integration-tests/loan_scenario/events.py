"""Reads back what the scenario left on Kafka, the way an outside consumer would."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition

TOPICS = (
    "carlien.lien.event.v1",
    "carlien.valuation.appraisal.v1",
    "carlien.pricing.quote.v1",
    "carlien.pricing.watch.v1",
    "carlien.telematics.frame.v1",
)


@dataclass(frozen=True)
class Event:
    """One record of a topic: its CloudEvents headers and its protobuf value."""

    topic: str
    ce_id: str
    ce_type: str
    headers: dict[str, str]
    value: bytes


def events_of(bootstrap: str, vin: str, topics: tuple[str, ...] = TOPICS) -> dict[str, list[Event]]:
    """Return every event of one car by topic, oldest first, reading each partition to its present end."""
    consumer: Any = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, group_id=None, consumer_timeout_ms=1000)
    found: dict[str, list[Event]] = defaultdict(list)
    try:
        partitions = [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        open_partitions = {partition for partition, end in ends.items() if consumer.position(partition) < end}
        while open_partitions:
            for partition, records in consumer.poll(timeout_ms=500).items():
                for record in records:
                    if record.key == vin.encode():
                        headers = {name: value.decode() for name, value in record.headers}
                        found[record.topic].append(Event(record.topic, headers["ce_id"], headers["ce_type"], headers, record.value))
                if consumer.position(partition) >= ends[partition]:
                    open_partitions.discard(partition)
    finally:
        consumer.close()
    return found
