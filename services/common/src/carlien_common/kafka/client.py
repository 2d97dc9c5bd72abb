"""Connection options that producers, consumers and tools share."""

from __future__ import annotations

from typing import Any

from carlien_common.config import ServiceSettings

METADATA_MAX_AGE_MS = 30_000
"""New partitions and moved leaders are noticed within half a minute instead of five."""
RECONNECT_BACKOFF_MAX_MS = 2_000
"""After an outage of the broker be back in seconds, not in the default half minute."""


def options(settings: ServiceSettings, client_id: str) -> dict[str, Any]:
    """For consumers and admin tools: kafka-python."""
    common: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.kafka_bootstrap.split(",")],
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
        # Topics are made by whoever operates the broker, with the retention and partitions they need.
        "allow_auto_create_topics": False,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        # One attempt to reach a broker. Whoever makes a client tries again, and may be asked to stop in between.
        "bootstrap_timeout_ms": 5_000,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        common |= {
            "ssl_cafile": str(settings.kafka_ssl_ca_file) if settings.kafka_ssl_ca_file else None,
            "ssl_certfile": str(settings.kafka_ssl_cert_file) if settings.kafka_ssl_cert_file else None,
            "ssl_keyfile": str(settings.kafka_ssl_key_file) if settings.kafka_ssl_key_file else None,
        }
    if settings.kafka_security_protocol.startswith("SASL"):
        common |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else None,
        }
    return common


def producer_options(settings: ServiceSettings, client_id: str, *, delivery_timeout_s: float, linger_ms: int) -> dict[str, Any]:
    """For producers: librdkafka. acks=all and idempotent: what is acknowledged is on every in-sync replica, once and in order per key."""
    chosen: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": client_id,
        "security.protocol": settings.kafka_security_protocol,
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": METADATA_MAX_AGE_MS,
        "topic.metadata.propagation.max.ms": 5_000,
        "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MAX_MS,
        "acks": "all",
        "enable.idempotence": True,
        # Where every other client of Kafka puts a key.
        "partitioner": "murmur2_random",
        "linger.ms": linger_ms,
        "message.timeout.ms": int(delivery_timeout_s * 1000),
        # Critical ones only; error_cb tells the rest.
        "log_level": 2,
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
