"""Calls to other services: mTLS, the rest of our caller's deadline, trace context, retries where they can't do harm."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
from grpc.aio import AioRpcError

from carlien_common import metrics, spans, tracing
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, unavailable
from carlien_common.grpc import errors
from carlien_common.grpc.context import remaining_deadline
from carlien_common.grpc.credentials import CertificateFiles, credentials_of

DEFAULT_TIMEOUT_S: Final = 10.0
"""For calls outside of any call of ours (a consumer, a task)."""
LOOK_EVERY_S: Final = 1.0
"""How often the certificate files are looked at, at most."""

PemFiles: TypeAlias = tuple[bytes, bytes, bytes]
MetadataLike = Sequence[tuple[str, str | bytes]]


def to_domain_error(error: AioRpcError) -> DomainError:
    """The domain error the other service raised; a failure that isn't the domain's is UNAVAILABLE to our caller."""
    known = errors.unpack(error.code(), error.details() or "", error.trailing_metadata())
    if known is not None:
        return known
    reason = "DEPENDENCY_TIMEOUT" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else "DEPENDENCY_UNAVAILABLE"
    return unavailable(reason, "A service this one needs doesn't answer as it should.", status=error.code().name)


class _Connection:
    """A channel and how many calls are under way on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls = 0


class _Connections:
    """The channel underneath, made anew when the certificate files change. The old one is closed when its last call has ended."""

    def __init__(self, make: Callable[[PemFiles | None], grpc.aio.Channel], files: CertificateFiles | None) -> None:
        self._make = make
        self._files = files
        self._look_at = 0.0
        self._old: set[_Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.latest = _Connection(make(files.read() if files is not None else None))

    def current(self) -> _Connection:
        """The one for a call that begins now."""
        if self._files is not None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            fresh = self._files.changed()
            if fresh is not None:
                old, self.latest = self.latest, _Connection(self._make(fresh))
                self._old.add(old)
                self._close_unused(old)
        return self.latest

    def ended(self, connection: _Connection) -> None:
        """A call on it has ended."""
        connection.calls -= 1
        self._close_unused(connection)

    def _close_unused(self, connection: _Connection) -> None:
        if connection.calls or connection not in self._old:
            return
        self._old.remove(connection)
        task = asyncio.create_task(connection.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, grace: float | None) -> None:
        """Closes them all."""
        old, self._old = self._old, set()
        await asyncio.gather(*self._closing, *(connection.channel.close(grace) for connection in (*old, self.latest)))


class _Call:
    """One rpc of a stub. Adds what every call carries, counts how it ended, and records its span."""

    def __init__(self, connections: _Connections, make: Callable[[grpc.aio.Channel], Any], path: str, kind: str, default_s: float) -> None:
        _, service, method = path.split("/")
        labels = (kind, service, method)
        self._connections = connections
        self._make = make
        self._on = connections.latest
        self._inner = make(self._on.channel)
        self._name = path[1:]
        self._attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        # A stream may be meant to stay open: only single answers get a default.
        self._default = default_s if kind == "unary" else None
        self._seconds = metrics.GRPC_CLIENT_SECONDS.labels(*labels)
        self._handled = {code: metrics.GRPC_CLIENT_HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}

    def __call__(
        self,
        *arguments: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        **options: Any,
    ) -> Any:
        on = self._connections.current()
        if on is not self._on:
            self._on, self._inner = on, self._make(on.channel)
        started = time.perf_counter()
        limits = [limit for limit in (timeout, remaining_deadline()) if limit is not None]
        traceparent = tracing.current_traceparent()
        span, tracer = None, spans.tracer()
        if tracer is not None:
            span = tracer.start(self._name, "client", traceparent, self._attributes)
            traceparent = span.traceparent
        call = self._inner(
            *arguments,
            timeout=min(limits) if limits else self._default,
            metadata=grpc.aio.Metadata(*(metadata or ()), (tracing.HEADER, traceparent or tracing.new_traceparent())),
            **options,
        )

        on.calls += 1

        def ended(finished: Any) -> None:
            self._connections.ended(on)
            self._seconds.observe(time.perf_counter() - started)
            # The status is there already, or the call was cancelled before there was one.
            status = finished._cython_call._status if hasattr(finished, "_cython_call") else None  # noqa: SLF001
            code = grpc.StatusCode.CANCELLED if status is None else _CODES[status.code()]
            self._handled[code].inc()
            if span is not None:
                failure = "" if code is grpc.StatusCode.OK else code.name
                span.end(failure, {"rpc.grpc.status_code": code.value[0]})

        call.add_done_callback(ended)
        return call


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class _Channel(grpc.aio.Channel):
    """A channel whose calls carry deadline and trace context. Wraps instead of intercepting: grpc.aio's client interceptors
    start a task per call.
    """

    def __init__(self, connections: _Connections, default_timeout_s: float) -> None:
        self._connections = connections
        self._default = default_timeout_s

    def _call(self, kind: str, make: Callable[[grpc.aio.Channel], Any], method: str) -> Any:
        return _Call(self._connections, make, method, kind, self._default)

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._call("unary", lambda channel: channel.unary_unary(method, *arguments, **options), method)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._call("server_stream", lambda channel: channel.unary_stream(method, *arguments, **options), method)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._call("client_stream", lambda channel: channel.stream_unary(method, *arguments, **options), method)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._call("bidi_stream", lambda channel: channel.stream_stream(method, *arguments, **options), method)

    async def close(self, grace: float | None = None) -> None:
        await self._connections.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._connections.latest.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._connections.latest.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._connections.current().channel.channel_ready()

    async def __aenter__(self) -> _Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@asynccontextmanager
async def channel(
    settings: ServiceSettings,
    address: str,
    *,
    idempotent: Iterable[str] = (),
    default_timeout_s: float = DEFAULT_TIMEOUT_S,
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel for the life of the process, to make stubs on.

    `idempotent` names rpcs ("carlien.lien.v1.LienService/GetLien", or a whole "carlien.lien.v1.SearchService") that gRPC may
    repeat, at most 3 times, when the answer is UNAVAILABLE; no other call is repeated. A mutating rpc with an idempotency key
    is idempotent too. A call's timeout is the smaller of its own and what is left of the call being handled. New certificate
    files are used from the next call on.
    """
    options = [
        ("grpc.service_config", json.dumps(service_config(idempotent))),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # After an outage of a dependency be back in seconds, not in the default two minutes.
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]

    def make(pem: PemFiles | None) -> grpc.aio.Channel:
        if pem is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, credentials_of(*pem), options)

    connections = _Connections(make, None if settings.grpc_insecure else CertificateFiles.of(settings))
    wrapped = _Channel(connections, default_timeout_s)
    try:
        yield wrapped
    finally:
        await wrapped.close()


def service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    """Calls go round all healthy addresses of the name (grpc's default stays with one); these rpcs are retried, with a throttle for all.

    Health is asked by gRPC itself (grpc.health.v1 Watch): a server that is about to stop says NOT_SERVING first, and gets no new
    calls while it finishes its own. https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md,
    A6-client-retries.md there. It's the documented way for other clients too: docs/operate.md.
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    names = []
    for rpc in idempotent:
        service, _, method = rpc.strip("/").partition("/")
        names.append({"service": service, "method": method} if method else {"service": service})
    if names:
        policy = {
            "maxAttempts": 4,
            "initialBackoff": "0.1s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        # Half of the calls failing stops all retries: they'd only keep a struggling service down.
        config |= {"methodConfig": [{"name": names, "retryPolicy": policy}], "retryThrottling": {"maxTokens": 100, "tokenRatio": 1}}
    return config
