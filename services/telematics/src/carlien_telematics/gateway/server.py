"""Accepts device connections, watches their limits, and tells what became of them."""

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from carlien_telematics.domain.access import Refusal
from carlien_telematics.domain.devices import OnlineReason, Presence
from carlien_telematics.gateway.connection import DeviceConnection
from carlien_telematics.gateway.gb32960 import Gb32960Connection
from carlien_telematics.gateway.jt808 import Jt808Connection
from carlien_telematics.gateway.limits import Limits
from carlien_telematics.metrics import GatewayMetrics
from carlien_telematics.service.access import AccessBook
from carlien_telematics.service.platforms import Platforms
from carlien_telematics.service.publishing import FramePublisher, OutgoingFrame

_BACKLOG = 4_096
_TLS = "_tls"
Connection = DeviceConnection[Any]
CONNECTIONS: dict[str, type[Gb32960Connection] | type[Jt808Connection]] = {"gb32960": Gb32960Connection, "jt808": Jt808Connection}


class PresenceSink(Protocol):
    """Takes changes of connection state; must not block."""

    def note(self, presence: Presence) -> None:
        """Remembers the newest per device until it is written."""


class Gateway:
    """All connections of one process, over every protocol. Lives in one event loop."""

    def __init__(
        self,
        access: AccessBook,
        publisher: FramePublisher,
        presence: PresenceSink,
        metrics: GatewayMetrics,
        limits: Limits,
        platforms: Platforms | None = None,
        jt808_parameters: Mapping[int, bytes] | None = None,
    ) -> None:
        self.access = access
        self.jt808_parameters = dict(jt808_parameters or {})
        """What JT/T 808 terminals are set to, by parameter id; terminals set otherwise are told."""
        self.platforms = platforms or Platforms()
        self.metrics = metrics
        self.limits = limits
        self.now = time.monotonic()
        """Monotonic seconds, refreshed once per second of idleness at worst: precise enough for timeouts."""
        self._publisher = publisher
        self._presence = presence
        self._connections: set[Connection] = set()
        self._by_device: dict[str, Connection] = {}
        self._waiting: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- called by connections

    def opened(self, connection: Connection) -> bool:
        """False where there is no room for another connection."""
        if len(self._connections) >= self.limits.connections:
            self.metrics.rejected_connections.inc()
            return False
        self._connections.add(connection)
        self.metrics.connections.set(len(self._connections))
        return True

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        self._waiting.discard(connection)
        self.metrics.connections.set(len(self._connections))
        self.logged_out(connection, OnlineReason.CONNECTION_LOST)

    def logged_in(self, connection: Connection, device_id: str) -> None:
        """A device speaks on one connection: the newer ends the older, which a broken network leaves half open."""
        older = self._by_device.get(device_id)
        self._by_device[device_id] = connection
        if older is not None and older is not connection:
            older.device_id = None
            older.close(OnlineReason.REPLACED)
        self._note(device_id, True, OnlineReason.LOGIN)

    def logged_out(self, connection: Connection, reason: OnlineReason) -> None:
        """The connection's device is offline now, with the reason; nothing where none was logged in."""
        device_id = connection.device_id
        if device_id is None or self._by_device.get(device_id) is not connection:
            return
        del self._by_device[device_id]
        self.metrics.closed(reason)
        self._note(device_id, False, reason)

    def heard(self, device_id: str) -> None:
        """A device is alive."""
        self._note(device_id, True, OnlineReason.LOGIN)

    def forwarded(self, device_id: str, online: bool, reason: OnlineReason) -> None:
        """A platform speaks for a device, or no longer; one that is connected by itself is left alone."""
        if device_id not in self._by_device:
            self._note(device_id, online, reason)

    def refused(self, reason: Refusal) -> None:
        """A well-formed message was not taken."""
        self.metrics.refused(reason)

    def publish(self, frame: OutgoingFrame, connection: Connection) -> None:
        """Hands a record over; above the global bound its connection is not read until half of it is durable."""
        self._publisher.publish(frame)
        if self._publisher.in_flight >= self.limits.frames_in_flight:
            connection.pause("broker")
            self._waiting.add(connection)

    def drained(self) -> None:
        """Called by the publisher when records became durable."""
        if self._waiting and self._publisher.in_flight * 2 < self.limits.frames_in_flight:
            waiting, self._waiting = self._waiting, set()
            for connection in waiting:
                connection.resume("broker")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a connection's own work; at most one a connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note(self, device_id: str, online: bool, reason: OnlineReason) -> None:
        self._presence.note(Presence(device_id, datetime.now(UTC), online, reason))

    # -- life

    @asynccontextmanager
    async def listening(self, host: str, ports: Mapping[str, int], tls: ssl.SSLContext | None = None) -> AsyncIterator[dict[str, int]]:
        """Serves each of `CONNECTIONS` on its port (0: any free one) and yields the ports; closes every connection at the end.

        Names that end in `_tls` need `tls`. Raises ValueError where it is missing.
        """
        loop = asyncio.get_running_loop()
        servers: dict[str, asyncio.Server] = {}
        sweeper = loop.create_task(self._sweep())
        try:
            for protocol, port in ports.items():
                secured = protocol.endswith(_TLS)
                if secured and tls is None:
                    raise ValueError(f"{protocol} needs a certificate")
                welcome = functools.partial(CONNECTIONS[protocol.removesuffix(_TLS)], self)
                servers[protocol] = await loop.create_server(
                    welcome,
                    host,
                    port,
                    backlog=_BACKLOG,
                    family=socket.AF_INET,
                    ssl=tls if secured else None,
                    ssl_handshake_timeout=self.limits.login_timeout_s if secured else None,
                )
            yield {protocol: int(server.sockets[0].getsockname()[1]) for protocol, server in servers.items()}
        finally:
            for server in servers.values():
                server.close()
            sweeper.cancel()
            for connection in list(self._connections):
                connection.close(OnlineReason.GATEWAY_STOPPED)
            await asyncio.gather(sweeper, *self._tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        """One timer for all connections: ten thousand timers would cost more than this loop."""
        while True:
            await asyncio.sleep(1.0)
            self.now = time.monotonic()
            self.metrics.in_flight.set(self._publisher.in_flight)
            for connection in list(self._connections):
                reason = connection.tick(self.now)
                if reason is not None:
                    self.metrics.ended(reason)
                    connection.close(reason)
