"""What the frame topic still holds of cars whose data must go.

Kafka deletes a partition's records up to an offset, not a car's. So everything up to the moment of the deletion goes, once the consumer
has stored it: for the other cars that costs only the chance to read those records again. Nobody can read them from then on; the bytes
leave the disk with their segment (`segment.ms`, an hour on the local stack). See docs/adr/0001.
"""

import asyncio
from datetime import datetime

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from carlien_common.config import ServiceSettings
from carlien_common.kafka.client import options
from carlien_common.kafka.events import dead_letter_topic
from carlien_common.logs import get_logger

log = get_logger(__name__)
_TIMEOUT_MS = 10_000


class TopicErasure:
    """Deletes records of the frame topic and its dead letters by the time they were written."""

    def __init__(self, settings: ServiceSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic_prefix + topic
        self._dead_letters = settings.kafka_topic_prefix + dead_letter_topic(topic)
        self._group = group

    async def erase(self, until: datetime) -> bool:
        """Deletes what was written before `until`. False where it can't be yet: not all of it is consumed, or the broker is away."""
        try:
            return await asyncio.to_thread(self._erase, until)
        except KafkaError as error:
            log.warning("erasure_postponed", error=type(error).__name__)
            return False

    def _erase(self, until: datetime) -> bool:
        config = options(self._settings, "telematics-erasure")
        del config["allow_auto_create_topics"]  # no setting of an admin client
        admin = KafkaAdminClient(**config)
        try:
            ends = self._offsets_at(admin, self._topic, until)
            committed = admin.list_group_offsets({self._group: list(ends)})[self._group]
            begins = {place: found.offset for place, found in admin.list_partition_offsets(dict.fromkeys(ends, _EARLIEST)).items()}
            for place, end in ends.items():
                consumed = committed[place].offset if place in committed else -1
                if end > max(consumed, begins[place]):
                    return False
            wanted = ends | self._offsets_at(admin, self._dead_letters, until)
            admin.delete_records({place: end for place, end in wanted.items() if end > 0}, timeout_ms=_TIMEOUT_MS)
            return True
        finally:
            admin.close()

    def _offsets_at(self, admin: KafkaAdminClient, topic: str, until: datetime) -> dict[TopicPartition, int]:
        """Offset of the first record written at `until` or later, or the end, by partition; none for a topic that isn't there."""
        described = admin.describe_topics([topic])
        places = [TopicPartition(topic, one["partition_index"]) for entry in described for one in entry["partitions"]]
        at = int(until.timestamp() * 1000)
        found = admin.list_partition_offsets(dict.fromkeys(places, at), timeout_ms=_TIMEOUT_MS)
        ends = admin.list_partition_offsets(dict.fromkeys(places, _LATEST), timeout_ms=_TIMEOUT_MS)
        return {place: found[place].offset if found[place].offset >= 0 else ends[place].offset for place in places}


_EARLIEST, _LATEST = -2, -1
"""Sentinels of ListOffsets in the place of a time."""
