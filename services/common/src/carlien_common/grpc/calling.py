"""Calling a running service from the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc

from carlien_common.domain.errors import invalid

TIMEOUT_S: Final = 30.0
"""Of an ordinary call."""


def add_arguments(parser: argparse.ArgumentParser, service: str, role: str) -> None:
    """Where to call and as whom; the local stack's environment file sets all defaults. `service` as in $TELEMATICS_ADDRESS."""
    variable = f"{service.upper().replace('-', '_')}_ADDRESS"
    parser.add_argument("--address", default=os.environ.get(variable), help=f"host:port of {service} (default: ${variable})")
    parser.add_argument(
        "--pki", default=os.environ.get("CARLIEN_PKI"), help="folder with ca.crt and <org>/<role>.{crt,key} (default: $CARLIEN_PKI)"
    )
    parser.add_argument("--org", default=os.environ.get("CARLIEN_ORG", "org1"), help="call as this organisation (default: org1)")
    parser.add_argument("--role", default=role, help=f"call in this role (default: {role})")
    parser.add_argument("--json", action="store_true", help="print JSON")


@asynccontextmanager
async def channel(arguments: argparse.Namespace, role: str | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with mutual TLS, in the role given or asked for; INVALID ADDRESS_MISSING or PKI_MISSING."""
    if not arguments.address:
        raise invalid("--address", "ADDRESS_MISSING", "Say where the service listens.")
    if not arguments.pki:
        raise invalid("--pki", "PKI_MISSING", "Say where your certificate is.")
    pki = Path(arguments.pki)
    mine = pki / arguments.org / (role or arguments.role)
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.crt").read_bytes(), mine.with_suffix(".key").read_bytes(), mine.with_suffix(".crt").read_bytes()
    )
    async with grpc.aio.secure_channel(arguments.address, credentials) as made:
        yield made
