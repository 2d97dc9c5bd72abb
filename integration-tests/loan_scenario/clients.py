"""gRPC clients of the running stack, one channel per (service, role), from the addresses in the environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """Where the running stack listens, as `STATE/env` says."""

    valuation: str
    lien_registry: str
    lien_registry_org2: str
    telematics: str
    pricing: str
    gb32960: str
    kafka: str
    pki: Path

    @classmethod
    def from_environment(cls) -> "Stack":
        """Read the addresses; KeyError names what is missing (source the stack's env file first)."""
        env = os.environ
        return cls(
            valuation=env["VALUATION_ADDRESS"],
            lien_registry=env["LIEN_REGISTRY_ADDRESS"],
            lien_registry_org2=env["LIEN_REGISTRY_ORG2_ADDRESS"],
            telematics=env["TELEMATICS_ADDRESS"],
            pricing=env["PRICING_ADDRESS"],
            gb32960=env["GB32960_ADDRESS"],
            kafka=env["KAFKA_BOOTSTRAP"],
            pki=Path(env["CARLIEN_PKI"]),
        )


@dataclass
class Clients:
    """Stubs by role; channels live as long as this object."""

    stack: Stack
    _channels: dict[tuple[str, str, str], grpc.aio.Channel] = field(default_factory=dict)

    def stub(self, stub: Callable[[grpc.aio.Channel], T], address: str, role: str, org: str = "org1") -> T:
        """Return a stub that calls `address` with the certificate of `org`/`role`."""
        return stub(self.channel(address, role, org))

    def channel(self, address: str, role: str, org: str = "org1") -> grpc.aio.Channel:
        """Return the channel to `address` with the certificate of `org`/`role`."""
        key = (address, org, role)
        if key not in self._channels:
            folder = self.stack.pki / org
            credentials = grpc.ssl_channel_credentials(
                root_certificates=(self.stack.pki / "ca.crt").read_bytes(),
                private_key=(folder / f"{role}.key").read_bytes(),
                certificate_chain=(folder / f"{role}.crt").read_bytes(),
            )
            self._channels[key] = grpc.aio.secure_channel(address, credentials)
        return self._channels[key]

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()


def error_reason(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Return the ErrorInfo reason and metadata of a refused call; empty where it carries none."""
    status: Any = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason, dict(info.metadata)
    return "", {}
