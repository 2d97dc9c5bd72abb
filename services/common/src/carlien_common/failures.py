"""Exceptions of libraries as domain errors, in one place for the gRPC interceptor and the consumer loop."""

from __future__ import annotations

import asyncpg
import grpc

from carlien_common.domain.errors import DomainError, ErrorKind, conflict, unavailable
from carlien_common.grpc.client import to_domain_error

# The database is away, starting, stopping, full or too slow.
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    ConnectionError,
    TimeoutError,
)


def _no_connection(error: BaseException) -> bool:
    """A plain OSError is what a host of several addresses that all refuse is told by; one about a file is a mistake of ours."""
    return type(error) is OSError and error.filename is None


_LOST_RACE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
# asyncpg says so when a connection breaks between two statements; the last one when the server's farewell is already in the buffer.
_CLOSED = (
    "connection is closed",
    "connection was closed",
    "pool is closing",
    "connection has been released",
    "cannot switch to state",
)
_TRANSIENT_KINDS = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.CONFLICT, ErrorKind.EXHAUSTED})
_TRANSIENT_STATUSES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)


def as_domain_error(error: BaseException) -> DomainError | None:
    """The domain error that this exception is, or None when it is a programming error."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, _LOST_RACE):
        return conflict("CONCURRENT_CHANGE", "Another change got in between; a repeat may succeed.")
    if (
        isinstance(error, _AWAY)
        or _no_connection(error)
        or (isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and any(text in str(error) for text in _CLOSED))
    ):
        return unavailable("DEPENDENCY_UNAVAILABLE", "Something this service needs doesn't answer.")
    if isinstance(error, grpc.aio.AioRpcError):
        return to_domain_error(error)
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later without anyone changing it."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _TRANSIENT_STATUSES
    known = as_domain_error(error)
    return known is not None and known.kind in _TRANSIENT_KINDS
