"""The connection pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from carlien_common import metrics
from carlien_common.config import DatabaseSettings
from carlien_common.logs import get_logger

log = get_logger(__name__)

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool, Connection = asyncpg.Pool, asyncpg.Connection

# What a database that is starting, or isn't there yet, answers.
NOT_YET = (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.TooManyConnectionsError)


async def connect(settings: DatabaseSettings, application: str, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """One connection of its own, for what can't come from the pool (LISTEN, session locks)."""
    return await asyncpg.connect(
        settings.postgres_dsn.get_secret_value(),
        timeout=settings.postgres_connect_timeout_s,
        command_timeout=settings.postgres_command_timeout_s,
        server_settings={"application_name": application, "timezone": "UTC"},
        **options,
    )


@asynccontextmanager
async def pool(settings: DatabaseSettings, application: str = "carlien") -> AsyncIterator[Pool]:
    """A pool whose connections run in UTC. Waits at start up to postgres_connect_timeout_s for the database to be there."""
    give_up = time.monotonic() + settings.postgres_connect_timeout_s
    while True:
        try:
            made = await asyncpg.create_pool(
                settings.postgres_dsn.get_secret_value(),
                min_size=min(settings.postgres_pool_min, settings.postgres_pool_max),
                max_size=settings.postgres_pool_max,
                command_timeout=settings.postgres_command_timeout_s,
                server_settings={"application_name": application, "timezone": "UTC"},
                reset=_leave_session,
            )
            break
        except NOT_YET as error:
            if time.monotonic() > give_up:
                raise
            log.warning("postgres_not_ready", error=type(error).__name__)
            await asyncio.sleep(0.5)
    metrics.POOL_CONNECTIONS.labels("open").set_function(made.get_size)
    metrics.POOL_CONNECTIONS.labels("idle").set_function(made.get_idle_size)
    try:
        yield made
    finally:
        try:
            async with asyncio.timeout(settings.postgres_command_timeout_s):
                await made.close()
        except TimeoutError:
            log.warning("postgres_pool_terminated")
            made.terminate()


async def _leave_session(_: object) -> None:
    """In the place of asyncpg's reset query, a round trip at each release (an open transaction is rolled back all the same).

    So nobody changes the session of a pool's connection: connect() is for that.
    """


async def ping(pool: Pool) -> None:
    """The readiness check."""
    await pool.fetchval("SELECT 1")
