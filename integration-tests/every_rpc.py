"""Every rpc of the running stack: where it is served and who may call it."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

from carlien_common.grpc.policy import Policy
from carlien_common.testing import rpcs
from carlien_common.testing.hostile import path
from carlien_common.testing.pki import Credentials

SERVICES = {
    "lien": ("carlien_lien_registry", "LIEN_REGISTRY_ADDRESS"),
    "pricing": ("carlien_pricing", "PRICING_ADDRESS"),
    "telematics": ("carlien_telematics", "TELEMATICS_ADDRESS"),
    "valuation": ("carlien_valuation", "VALUATION_ADDRESS"),
}


@dataclass(frozen=True)
class Rpc:
    """One rpc of one service."""

    area: str
    method: MethodDescriptor

    def __str__(self) -> str:
        return path(self.method)[1:]

    @property
    def address(self) -> str:
        return os.environ[SERVICES[self.area][1]]

    @property
    def roles(self) -> frozenset[str]:
        """Who may call it, as the service's own policy file says."""
        return _policy(self.area).roles(path(self.method))


@cache
def _policy(area: str) -> Policy:
    return Policy.load(SERVICES[area][0])


def every() -> list[Rpc]:
    return [Rpc(area, method) for area in rpcs.areas() for service in rpcs.services(area) for method in service.methods]


def certificate(org: str, role: str) -> Credentials:
    """The stack's certificate of this caller."""
    pki = Path(os.environ["CARLIEN_PKI"])
    return Credentials(pki / org / f"{role}.crt", pki / org / f"{role}.key", pki / "ca.crt")
