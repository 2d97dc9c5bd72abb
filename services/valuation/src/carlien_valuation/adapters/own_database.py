"""The service's database as a command line reaches it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carlien_common.config import DatabaseSettings, load
from carlien_common.domain.errors import unavailable
from carlien_common.postgres.pool import NOT_YET, Connection, connect


@asynccontextmanager
async def own_database(application: str, settings: DatabaseSettings | None = None) -> AsyncIterator[Connection]:
    """A connection to CARLIEN_POSTGRES_DSN. UNAVAILABLE POSTGRES_UNAVAILABLE where the database doesn't answer."""
    try:
        connection = await connect(settings or load(DatabaseSettings), application)
    except NOT_YET as error:
        raise unavailable("POSTGRES_UNAVAILABLE", f"the database doesn't answer: {type(error).__name__}") from error
    try:
        yield connection
    finally:
        await connection.close()
