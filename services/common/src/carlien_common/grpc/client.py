"""Calls to other services: mTLS, the rest of our caller's deadline, trace context, retries where they can't do harm."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from grpc.aio import AioRpcError

from carlien_common import metrics, tracing
from carlien_common.config import ServiceSettings
from carlien_common.domain.errors import DomainError, unavailable
from carlien_common.grpc import errors
from carlien_common.grpc.context import remaining_deadline
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials

DEFAULT_TIMEOUT_S: Final = 10.0
"""For calls outside of any call of ours (a consumer, a task)."""

MetadataLike = Sequence[tuple[str, str | bytes]]


def to_domain_error(error: AioRpcError) -> DomainError:
    """The domain error the other service raised; a failure that isn't the domain's is UNAVAILABLE to our caller."""
    known = errors.unpack(error.code(), error.details() or "", error.trailing_metadata())
    if known is not None:
        return known
    reason = "DEPENDENCY_TIMEOUT" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else "DEPENDENCY_UNAVAILABLE"
    return unavailable(reason, "A service this one needs doesn't answer as it should.", status=error.code().name)


class _Call:
    """One rpc of a stub. Adds what every call carries, and counts how it ended."""

    def __init__(self, inner: Any, path: str, kind: str, default_timeout_s: float) -> None:
        _, service, method = path.split("/")
        labels = (kind, service, method)
        self._inner = inner
        # A stream may be meant to stay open: only single answers get a default.
        self._default = default_timeout_s if kind == "unary" else None
        self._seconds = metrics.GRPC_CLIENT_SECONDS.labels(*labels)
        self._handled = {code: metrics.GRPC_CLIENT_HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}

    def __call__(
        self,
        *arguments: Any,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        **options: Any,
    ) -> Any:
        started = time.perf_counter()
        limits = [limit for limit in (timeout, remaining_deadline()) if limit is not None]
        traceparent = tracing.current_traceparent() or tracing.new_traceparent()
        call = self._inner(
            *arguments,
            timeout=min(limits) if limits else self._default,
            metadata=grpc.aio.Metadata(*(metadata or ()), (tracing.HEADER, traceparent)),
            **options,
        )

        def ended(finished: Any) -> None:
            self._seconds.observe(time.perf_counter() - started)
            # The status is there already, or the call was cancelled before there was one.
            status = finished._cython_call._status if hasattr(finished, "_cython_call") else None  # noqa: SLF001
            code = grpc.StatusCode.CANCELLED if status is None else _CODES[status.code()]
            self._handled[code].inc()

        call.add_done_callback(ended)
        return call


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class _Channel(grpc.aio.Channel):
    """A channel whose calls carry deadline and trace context. Wraps instead of intercepting: grpc.aio's client interceptors
    start a task per call.
    """

    def __init__(self, inner: grpc.aio.Channel, default_timeout_s: float) -> None:
        self._inner = inner
        self._default = default_timeout_s

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return _Call(self._inner.unary_unary(method, *arguments, **options), method, "unary", self._default)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return _Call(self._inner.unary_stream(method, *arguments, **options), method, "server_stream", self._default)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return _Call(self._inner.stream_unary(method, *arguments, **options), method, "client_stream", self._default)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return _Call(self._inner.stream_stream(method, *arguments, **options), method, "bidi_stream", self._default)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

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
    is idempotent too. A call's timeout is the smaller of its own and what is left of the call being handled.
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
    if settings.grpc_insecure:
        inner = grpc.aio.insecure_channel(address, options)
    else:
        inner = grpc.aio.secure_channel(address, channel_credentials(CertificateFiles.of(settings)), options)
    wrapped = _Channel(inner, default_timeout_s)
    try:
        yield wrapped
    finally:
        await wrapped.close()


def service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    """Retries for these rpcs (https://github.com/grpc/proposal/blob/master/A6-client-retries.md) and a throttle for all."""
    names = []
    for rpc in idempotent:
        service, _, method = rpc.strip("/").partition("/")
        names.append({"service": service, "method": method} if method else {"service": service})
    if not names:
        return {}
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    # Half of the calls failing stops all retries: they'd only keep a struggling service down.
    return {"methodConfig": [{"name": names, "retryPolicy": policy}], "retryThrottling": {"maxTokens": 100, "tokenRatio": 1}}
