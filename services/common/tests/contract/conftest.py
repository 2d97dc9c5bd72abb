"""Settings, database and producer of a service that consumes; tests with needs of their own define their own."""

from collections.abc import AsyncIterator

import pytest
from consuming import MakeSettings

from carlien_common import kafka
from carlien_common.config import ServiceSettings
from carlien_common.kafka import Producer
from carlien_common.postgres import Pool, migrate, pool
from carlien_common.postgres.migrations import COMMON


@pytest.fixture(scope="module")
def settings(postgres_dsn: str, kafka_bootstrap: str, make_settings: MakeSettings) -> ServiceSettings:
    return make_settings(postgres_dsn=postgres_dsn, kafka_bootstrap=kafka_bootstrap)


@pytest.fixture
async def database(postgres_dsn: str, settings: ServiceSettings) -> AsyncIterator[Pool]:
    await migrate(postgres_dsn, COMMON)
    async with pool(settings) as made:
        await made.execute("CREATE TABLE IF NOT EXISTS applied (text text, topic text, partition int)")
        await made.execute("TRUNCATE applied")
        yield made


@pytest.fixture
async def producer(settings: ServiceSettings) -> AsyncIterator[Producer]:
    async with kafka.producer(settings) as made:
        yield made
