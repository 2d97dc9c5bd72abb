"""Calling a running telematics service from the command line, and exit codes."""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from carlien_common.domain.errors import DomainError, ErrorKind, invalid
from carlien_common.grpc.client import to_domain_error

OK, NEGATIVE, USAGE, UNAVAILABLE = 0, 1, 2, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to call and as whom; the local stack's environment file sets the defaults."""
    parser.add_argument("--address", default=os.environ.get("TELEMATICS_ADDRESS"), help="host:port (default: $TELEMATICS_ADDRESS)")
    parser.add_argument("--pki", default=os.environ.get("CARLIEN_PKI"), help="folder with ca.crt and <org>/<role>.{crt,key} ($CARLIEN_PKI)")
    parser.add_argument("--org", default=os.environ.get("CARLIEN_ORG", "org1"), help="call as this organisation (default: org1)")


@asynccontextmanager
async def channel(arguments: argparse.Namespace, role: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with mutual TLS; INVALID ADDRESS_MISSING or PKI_MISSING."""
    if not arguments.address:
        raise invalid("--address", "ADDRESS_MISSING", "Say where telematics listens.")
    if not arguments.pki:
        raise invalid("--pki", "PKI_MISSING", "Say where your certificate is.")
    pki = Path(arguments.pki)
    mine = pki / arguments.org / role
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.crt").read_bytes(), mine.with_suffix(".key").read_bytes(), mine.with_suffix(".crt").read_bytes()
    )
    async with grpc.aio.secure_channel(arguments.address, credentials) as made:
        yield made


async def exit_code(work: Callable[[], Awaitable[int]]) -> int:
    """Runs a command; says on standard error what is wrong and answers the exit code of interfaces.md."""
    try:
        return await work()
    except grpc.aio.AioRpcError as error:
        failure = to_domain_error(error)
    except DomainError as error:
        failure = error
    except BrokenPipeError:  # the reader has had enough
        return OK
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    sys.stderr.write(f"{failure.reason}: {failure.message}\n")
    return UNAVAILABLE if failure.kind is ErrorKind.UNAVAILABLE else USAGE if failure.kind is ErrorKind.INVALID else NEGATIVE
