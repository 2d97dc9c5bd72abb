"""A whole telematics service on a real database and broker."""

import asyncio
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carlien_common.postgres import migrate
from carlien_common.testing.pki import Pki

with warnings.catch_warnings():
    # kafka-python reads its schemas with a function that Python 3.11 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from carlien_telematics.bootstrap import PACKAGE, running
from carlien_telematics.config import TelematicsSettings
from carlien_telematics.testing.service import Service

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


async def serving_at(port: int, pki: Pki) -> None:
    """Waits until grpc.health.v1 says SERVING, which is when the consumer has joined its group."""
    mine = pki.certificate("org1", "admin")
    credentials = grpc.ssl_channel_credentials(mine.authorities.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes())
    async with asyncio.timeout(60), grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        async for health in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if health.status == health_pb2.HealthCheckResponse.SERVING:
                return


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(
    postgres_dsn: str, make_topic: Callable[..., str], make_settings: Callable[..., TelematicsSettings], pki: Pki
) -> AsyncIterator[Service]:
    await migrate(postgres_dsn, PACKAGE)
    settings = make_settings(
        TelematicsSettings,
        postgres_dsn=postgres_dsn,
        gb32960_host="127.0.0.1",
        gb32960_port=0,
        jt808_port=0,
        frame_topic=make_topic("frames", partitions=3),
        consumer_group=f"test-{uuid.uuid4().hex}",
        deletion_grace_s=0.0,
        insight_interval_s=0.2,
        silence_grace_s=0.0,
        silence_interval_s=0.5,
        upkeep_interval_s=0.5,
    )
    async with running(settings) as started:
        serving = asyncio.create_task(started.app.serve())
        await serving_at(started.grpc_port, pki)
        service = Service(started, settings, postgres_dsn, pki)
        yield service
        await service.close()
        started.app.stop()
        await serving


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(service: Service) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(service.dsn)
    yield connection
    await connection.close()


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex
