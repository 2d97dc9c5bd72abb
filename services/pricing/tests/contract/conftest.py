"""A pricing service per test module, on a fresh database and topics of its own."""

import os
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import grpc
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from pricing_harness import MovableClock, Service, neighbours, running

from carlien.pricing.v1 import collateral_watch_service_pb2_grpc, pricing_service_pb2_grpc
from carlien_common.postgres import migrate
from carlien_pricing.config import PricingSettings


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: start the local stack and source its env file")
    return value


@pytest.fixture(scope="module")
async def database() -> AsyncIterator[str]:
    """The DSN of a fresh database."""
    admin = _required("POSTGRES_ADMIN_DSN")
    name = f"pricing_test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(admin)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(admin)._replace(path=f"/{name}"))
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def service(database: str) -> AsyncIterator[Service]:
    """A running service without TLS; identities and roles are tested where they are implemented, and in the integration tests."""
    bootstrap = _required("KAFKA_BOOTSTRAP")
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    names = {f"{kind}_topic": f"{prefix}.{kind}" for kind in ("appraisal", "lien", "quote", "watch")}
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    topics = [name for topic in names.values() for name in (topic, f"{topic}.dlq")]
    admin.create_topics([NewTopic(name=topic, num_partitions=2, replication_factor=1) for topic in topics])
    await migrate(database, "carlien_pricing")
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    async with neighbours() as (servicer, address):
        settings = PricingSettings(
            org="org1",
            msp_id="Org1MSP",
            grpc_port=0,
            grpc_host="127.0.0.1",
            metrics_port=0,
            grpc_insecure=True,
            postgres_dsn=database,
            kafka_bootstrap=bootstrap,
            valuation_address=address,
            lien_registry_address=address,
            telematics_address=address,
            valuation_timeout_s=1.0,
            lien_registry_timeout_s=1.0,
            telematics_timeout_s=0.3,
            consumer_group=prefix,
            cure_check_s=0.2,
            book_metrics_s=0.5,
            stop_drain_s=0,
            uvloop=False,
            **names,
        )
        clock = MovableClock()
        async with running(settings, clock) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Service(
                servicer,
                clock,
                settings,
                pricing_service_pb2_grpc.PricingServiceStub(channel),
                collateral_watch_service_pb2_grpc.CollateralWatchServiceStub(channel),
                producer,
            )
    producer.close()
    admin.delete_topics(topics)
    admin.close()


@pytest.fixture(autouse=True)
def _sound(request: pytest.FixtureRequest) -> None:
    """Every test begins with neighbours that answer, and the right time."""
    if "service" in request.fixturenames:
        service: Service = request.getfixturevalue("service")
        fresh = type(service.neighbours)()
        for name in ("p50", "p10", "currency", "abstain", "liens", "device_time", "down", "slow", "appraisal_requests"):
            setattr(service.neighbours, name, getattr(fresh, name))
        service.clock.shift *= 0
