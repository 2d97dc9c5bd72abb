"""Connection options that producer, consumer and tools share."""

from __future__ import annotations

from typing import Any

from carlien_common.config import ServiceSettings


def options(settings: ServiceSettings, client_id: str) -> dict[str, Any]:
    """For every client of kafka-python."""
    common: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.kafka_bootstrap.split(",")],
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
        # Topics are made by whoever operates the broker, with the retention and partitions they need.
        "allow_auto_create_topics": False,
        # New partitions and moved leaders are noticed within half a minute instead of five.
        "metadata_max_age_ms": 30_000,
        # After an outage of the broker be back in seconds, not in the default half minute.
        "reconnect_backoff_max_ms": 2_000,
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
