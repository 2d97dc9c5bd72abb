"""A pricing service per test module, on a fresh database and topics of its own, with mTLS on both sides."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from kafka import KafkaProducer
from pricing_harness import MovableClock, Neighbours, Service, neighbours, running, serving

from carlien.pricing.v1 import collateral_watch_service_pb2_grpc, pricing_service_pb2_grpc
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials, server_credentials
from carlien_common.postgres import migrate
from carlien_common.testing.pki import Credentials, Pki
from carlien_pricing.config import PricingSettings

Surroundings = tuple[Neighbours, PricingSettings, KafkaProducer]


def _files(credentials: Credentials) -> CertificateFiles:
    return CertificateFiles(credentials.certificate, credentials.key, credentials.authorities)


TOPICS = ("appraisal", "index", "lien", "alert", "profile", "quote", "watch")


@pytest.fixture(scope="module")
async def surroundings(
    postgres_dsn: str,
    kafka_bootstrap: str,
    make_topic: Callable[..., str],
    make_settings: Callable[..., PricingSettings],
    pki: Pki,
) -> AsyncIterator[Surroundings]:
    """Neighbours, and the settings of a service beside them."""
    await migrate(postgres_dsn, "carlien_pricing")
    topics = {f"{kind}_topic": make_topic(kind, partitions=2) for kind in TOPICS}
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all")
    async with neighbours(server_credentials(_files(pki.certificate("org1", "service")))) as (servicer, address):
        settings = make_settings(
            PricingSettings,
            postgres_dsn=postgres_dsn,
            kafka_bootstrap=kafka_bootstrap,
            valuation_address=address,
            lien_registry_address=address,
            telematics_address=address,
            valuation_timeout_s=2.0,
            lien_registry_timeout_s=2.0,
            telematics_timeout_s=1.0,
            consumer_group=topics["watch_topic"],
            cure_check_s=0.2,
            index_check_s=0.1,
            audit_check_s=0.2,
            book_metrics_s=0.5,
            **topics,
        )
        yield servicer, settings, producer
    producer.close()


@asynccontextmanager
async def called(surroundings: Surroundings, clock: MovableClock, port: int, pki: Pki) -> AsyncIterator[Service]:
    """The service at this port, as an originator of its own org calls it."""
    servicer, settings, producer = surroundings
    credentials = channel_credentials(_files(pki.certificate("org1", "originator")))
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        await serving(channel)
        yield Service(
            servicer,
            clock,
            settings,
            f"127.0.0.1:{port}",
            pricing_service_pb2_grpc.PricingServiceStub(channel),
            collateral_watch_service_pb2_grpc.CollateralWatchServiceStub(channel),
            producer,
        )


@pytest.fixture(scope="module")
async def service(surroundings: Surroundings, pki: Pki) -> AsyncIterator[Service]:
    """A running service, called as an originator of its own org."""
    clock = MovableClock()
    async with running(surroundings[1], clock) as port, called(surroundings, clock, port, pki) as made:
        yield made


@pytest.fixture(autouse=True)
def _sound(request: pytest.FixtureRequest) -> None:
    """Every test begins with neighbours that answer, and the right time."""
    if "service" in request.fixturenames:
        service: Service = request.getfixturevalue("service")
        fresh = type(service.neighbours)()
        for name in fresh.__dataclass_fields__:
            setattr(service.neighbours, name, getattr(fresh, name))
        service.clock.shift *= 0
