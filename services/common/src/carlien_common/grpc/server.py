"""The gRPC server every service runs: mTLS, the one interceptor, limits, health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from carlien_common.config import ServiceSettings
from carlien_common.grpc.credentials import CertificateFiles, server_credentials
from carlien_common.grpc.interceptor import Access, CallInterceptor
from carlien_common.grpc.policy import Policy
from carlien_common.health import Health
from carlien_common.logs import get_logger

log = get_logger(__name__)

Registration = tuple[Callable[[Any, grpc.aio.Server], None], Any, str]
"""add_XServicer_to_server, the servicer, the service's full name."""

# After max_connection_age calls get this long to end before the connection is cut.
AGE_GRACE_S = 60.0
KEEPALIVE_S = 60.0


class _Health(grpc_health.aio.HealthServicer):  # type: ignore[misc]  # grpc ships no types for it
    """grpc.health.v1, whose watchers (every client that balances by health) don't hold up the server's stop."""

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends all watches."""
        self._stopping.set()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the rpc's name
        """Until the client leaves or the server stops."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
        finally:
            stop.cancel()
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


class GrpcServer:
    """A running server. `port` is the bound one, also when 0 was asked for."""

    def __init__(self, server: grpc.aio.Server, port: int, health: _Health, names: Sequence[str]) -> None:
        self.server = server
        self.port = port
        self._health = health
        self._names = ("", *names)

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 answers for every service and for ""."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)


@asynccontextmanager
async def grpc_server(
    settings: ServiceSettings,
    services: Sequence[Registration],
    *,
    policy: Policy | None = None,
    health: Health | None = None,
) -> AsyncIterator[GrpcServer]:
    """Serves inside the block; leaving it lets running calls finish for stop_grace_s.

    `policy` is needed unless GRPC_INSECURE (Policy.load("carlien_x", settings.policy_file)). With `health` (the Application's)
    grpc.health.v1 follows it, without one the server is SERVING at once.
    """
    access = _access(settings, policy)
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.grpc_max_concurrent_rpcs)
    intercepted: Any = CallInterceptor(access, settings.grpc_default_deadline_s)
    server.add_generic_rpc_handlers((intercepted,))
    names = [name for _, _, name in services]
    for register, servicer, _ in services:
        register(servicer, intercepted)
    health_servicer = _Health()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, intercepted)
    if settings.reflection:
        known = (*names, grpc_health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(known), intercepted)
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    if settings.grpc_insecure:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, server_credentials(CertificateFiles.of(settings)))
    running = GrpcServer(server, port, health_servicer, names)
    await running.set_serving(health is None)
    if health is not None:
        health.on_change(running.set_serving)
    await server.start()
    log.info("grpc_listening", port=port, tls=not settings.grpc_insecure, services=names)
    try:
        yield running
    finally:
        await running.set_serving(False)
        health_servicer.stop()
        await server.stop(settings.stop_grace_s)


def _access(settings: ServiceSettings, policy: Policy | None) -> Access:
    if settings.grpc_insecure:
        log.warning("grpc_insecure", consequence="no caller identity, every rpc is open to everyone who reaches the port")
        return Access(settings.org, None)
    if policy is None:
        raise ValueError("A server with mTLS needs a policy.")
    return Access(settings.org, policy, settings.grpc_max_calls_per_second)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_connection_age_ms", int(settings.grpc_max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(AGE_GRACE_S * 1000)),
        ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1000)),
        # Our clients ping every 30 s, also between calls; without this the server ends them with too_many_pings.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Two processes must not share a port unnoticed, which SO_REUSEPORT lets them.
        ("grpc.so_reuseport", 0),
    ]
