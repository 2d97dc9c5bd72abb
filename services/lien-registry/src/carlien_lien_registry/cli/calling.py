"""Calling a running lien-registry from the command line."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from carlien_common.domain.errors import invalid

TIMEOUT_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to call and as whom; the local stack's environment file sets all defaults."""
    parser.add_argument("--address", default=os.environ.get("LIEN_REGISTRY_ADDRESS"), help="host:port (default: $LIEN_REGISTRY_ADDRESS)")
    parser.add_argument(
        "--pki", default=os.environ.get("CARLIEN_PKI"), help="folder with ca.crt and <org>/<role>.{crt,key} (default: $CARLIEN_PKI)"
    )
    parser.add_argument("--org", default=os.environ.get("CARLIEN_ORG", "org1"), help="call as this organisation (default: org1)")
    parser.add_argument("--role", default="originator", help="call in this role (default: originator)")
    parser.add_argument("--json", action="store_true", help="print JSON")


@asynccontextmanager
async def channel(arguments: argparse.Namespace) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with mutual TLS; INVALID ADDRESS_MISSING or PKI_MISSING."""
    if not arguments.address:
        raise invalid("--address", "ADDRESS_MISSING", "Say where the registry listens.")
    if not arguments.pki:
        raise invalid("--pki", "PKI_MISSING", "Say where your certificate is.")
    credentials = _credentials(Path(arguments.pki), arguments.org, arguments.role)
    async with grpc.aio.secure_channel(arguments.address, credentials) as made:
        yield made


def _credentials(pki: Path, org: str, role: str) -> grpc.ChannelCredentials:
    mine = pki / org / role
    return grpc.ssl_channel_credentials(
        (pki / "ca.crt").read_bytes(), mine.with_suffix(".key").read_bytes(), mine.with_suffix(".crt").read_bytes()
    )
