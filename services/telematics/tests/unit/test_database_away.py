"""A database that goes away in the middle of anything: told as such, tried again, and no reason for a process to end."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_telematics.adapters.postgres_access import PostgresAccessStore, PostgresPresence
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason, Presence

AWAY = [
    # killed between two packets of one statement
    asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
    asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionRefusedError(111, "refused"),
    OSError("Multiple exceptions: [Errno 111] Connect call failed"),
    TimeoutError(),
]


class Pool:
    """A pool whose every use fails."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.written: list[Any] = []

    async def execute(self, _query: str, *arguments: Any, timeout: float) -> None:
        del timeout
        if self.error is not None:
            raise self.error
        self.written.append(arguments)

    async def fetchval(self, _query: str, *_: Any, timeout: float) -> None:
        del timeout
        if self.error is not None:
            raise self.error

    def acquire(self, *, timeout: float) -> Any:
        del timeout
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
async def test_connection_states_are_kept_until_they_can_be_written(error: Exception) -> None:
    pool: Any = Pool(error)
    presence = PostgresPresence(pool, "gateway")
    presence.note(Presence("D", datetime.now(UTC), True, OnlineReason.LOGIN))
    await presence.flush()
    pool.error = None
    await presence.flush()
    assert pool.written[0][1] == ["D"]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
async def test_a_question_that_can_not_be_asked_is_unavailable(error: Exception) -> None:
    pool: Any = Pool(error)
    store = PostgresAccessStore(pool)
    for question in (store.load("V"), store.vin_of(DeviceProtocol.JT808, "1")):
        with pytest.raises(DomainError) as told:
            await question
        assert told.value.kind is ErrorKind.UNAVAILABLE


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    pool: Any = Pool(asyncpg.UndefinedTableError("relation does not exist"))
    with pytest.raises(asyncpg.UndefinedTableError):
        await PostgresAccessStore(pool).load("V")
