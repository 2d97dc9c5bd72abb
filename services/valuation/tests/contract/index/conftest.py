import warnings
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from carlien_common.config import DatabaseSettings
from carlien_common.postgres import Pool, migrate, pool

with warnings.catch_warnings():
    # kafka-python reads its schemas by a deprecated function of importlib; warnings are errors here.
    warnings.simplefilter("ignore", DeprecationWarning)
    from carlien_valuation.adapters import index_store  # noqa: F401


@pytest.fixture
async def dsn(make_database: Callable[[], str]) -> str:
    made = make_database()
    await migrate(made, "carlien_valuation")
    return made


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Pool]:
    async with pool(DatabaseSettings(postgres_dsn=SecretStr(dsn))) as made:
        yield made
