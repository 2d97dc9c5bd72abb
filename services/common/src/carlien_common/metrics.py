"""All metrics of carlien_common, the same for every service. A service declares its own in its metrics.py.

Names are carlien_<part>_<what>_<base unit>; labels have few values (a topic, an rpc), never an id.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_RPC: Final = ("grpc_type", "grpc_service", "grpc_method")
GRPC_STARTED: Final = Counter("grpc_server_started_total", "Calls that reached a handler.", _RPC)
GRPC_HANDLED: Final = Counter("grpc_server_handled_total", "Calls that ended, by status code.", (*_RPC, "grpc_code"))
GRPC_SECONDS: Final = Histogram(
    "grpc_server_handling_seconds", "From a call's start to its end; streams count whole.", _RPC, buckets=LATENCY_BUCKETS_S
)
GRPC_RUNNING: Final = Gauge("carlien_grpc_server_running_calls", "Calls being handled now.", _RPC)
GRPC_CLIENT_HANDLED: Final = Counter("grpc_client_handled_total", "Calls we made, by status code.", (*_RPC, "grpc_code"))
GRPC_CLIENT_SECONDS: Final = Histogram(
    "grpc_client_handling_seconds", "From a call we made to its status.", _RPC, buckets=LATENCY_BUCKETS_S
)

KAFKA_SENT: Final = Counter("carlien_kafka_producer_records_total", "Records handed to the broker.", ("topic", "outcome"))
KAFKA_SEND_SECONDS: Final = Histogram(
    "carlien_kafka_producer_delivery_seconds", "From send to the broker's acknowledgement.", ("topic",), buckets=LATENCY_BUCKETS_S
)
KAFKA_IN_FLIGHT: Final = Gauge("carlien_kafka_producer_in_flight_records", "Records sent and not yet acknowledged.")

_CONSUMER: Final = ("group", "topic")
KAFKA_CONSUMED: Final = Counter(
    "carlien_kafka_consumer_records_total", "Records dealt with: applied, duplicate or poison.", (*_CONSUMER, "outcome")
)
KAFKA_BATCH_SECONDS: Final = Histogram(
    "carlien_kafka_consumer_batch_seconds", "One batch, transaction and retries included.", ("group",), buckets=LATENCY_BUCKETS_S
)
KAFKA_RETRIES: Final = Counter("carlien_kafka_consumer_retries_total", "Batches tried again after a transient error.", ("group",))
KAFKA_LAG: Final = Gauge(
    "carlien_kafka_consumer_lag_records", "Records in the partition after the last committed one.", (*_CONSUMER, "partition")
)

OUTBOX_PENDING: Final = Gauge("carlien_outbox_pending_records", "Events stored and not yet published.")
OUTBOX_AGE_SECONDS: Final = Gauge("carlien_outbox_oldest_pending_seconds", "Age of the oldest event not yet published; 0 without any.")
OUTBOX_PUBLISHED: Final = Counter("carlien_outbox_published_records_total", "Events published by the relay.", ("topic",))
OUTBOX_FAILURES: Final = Counter("carlien_outbox_failures_total", "Rounds of the relay that failed and are tried again.")
OUTBOX_LEADER: Final = Gauge("carlien_outbox_relay_leader", "1 while this process publishes, 0 while another one does.")

POOL_CONNECTIONS: Final = Gauge("carlien_postgres_pool_connections", "Connections of the pool.", ("state",))


def at_zero(metric: Counter | Histogram, *values: Iterable[str]) -> None:
    """Make the series of every combination of label values (one iterable a label) exist before anything happens.

    `increase` and `rate` don't see a series' first value: without this the first event of a kind is missing on dashboards and
    doesn't fire an alert.
    """
    for labels in itertools.product(*values):
        metric.labels(*labels)
