"""Kafka: producer, consumer loop, CloudEvents headers.

kafka-python computes CRC-32C in pure Python when the crc32c wheel is missing, twelve times slower and without a word.
"""

from kafka.record.util import crc32c_c

from carlien_common.kafka.consumer import ConsumerHaltedError, KafkaConsumerLoop, Poison, PoisonLimit
from carlien_common.kafka.events import CloudEvent, Record
from carlien_common.kafka.producer import Delivery, Producer, producer

if crc32c_c is None:
    raise ImportError("kafka-python runs without the crc32c wheel; install it.")

__all__ = [
    "CloudEvent",
    "ConsumerHaltedError",
    "Delivery",
    "KafkaConsumerLoop",
    "Poison",
    "PoisonLimit",
    "Producer",
    "Record",
    "producer",
]
