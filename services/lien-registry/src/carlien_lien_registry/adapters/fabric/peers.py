"""Own-organisation peers: one channel each, calls in flight bounded, failover to the next one when a peer is down."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
from fabric_protos.gateway.gateway_pb2_grpc import GatewayStub
from fabric_protos.peer.events_pb2_grpc import DeliverStub

from carlien_lien_registry.adapters.fabric.errors import GatewayBusy

# The peer itself refuses the 501st concurrent gateway call, waiting ones included; beyond 200 only latency grows.
MAX_IN_FLIGHT = 200
MAX_WAITING = 2_000
_COOL_OFF_SECONDS = 1.0
_MAX_MESSAGE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True)
class TlsOptions:
    """How to trust a peer; `name_override` is the name its certificate carries, where that isn't its address."""

    ca_pem: bytes
    name_override: str | None = None


class Peer:
    """One peer and its stubs."""

    def __init__(self, address: str, tls: TlsOptions, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        """Open the channel lazily; must run inside the event loop."""
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 0),
            # A peer that restarts is back within seconds; don't sit out gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if tls.name_override:
            options.append(("grpc.ssl_target_name_override", tls.name_override))
        self.address = address
        self._channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(tls.ca_pem), options)
        self.gateway = GatewayStub(self._channel)
        self.deliver = DeliverStub(self._channel)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._waiting = 0
        self._down_until = 0.0

    @property
    def is_down(self) -> bool:
        """True for a moment after a call couldn't reach it."""
        return time.monotonic() < self._down_until

    def failed(self) -> None:
        """Prefer other peers for a moment."""
        self._down_until = time.monotonic() + _COOL_OFF_SECONDS

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the calls in flight; GatewayBusy where too many wait already."""
        if self._waiting >= MAX_WAITING:
            raise GatewayBusy(self._waiting)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class PeerPool:
    """Peers of one organisation in order of preference."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """Take at least one peer."""
        if not peers:
            raise ValueError("a peer pool needs a peer")
        self._peers = tuple(peers)

    def in_order(self) -> list[Peer]:
        """Peers to try: those not known to be down first, each once."""
        return sorted(self._peers, key=lambda peer: peer.is_down)

    async def close(self) -> None:
        """Close every channel."""
        for peer in self._peers:
            await peer.close()
