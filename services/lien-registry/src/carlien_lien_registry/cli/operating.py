"""Settings of commands that work on the registry's own database and peers.

In a deployment they run with the service's environment. On the local stack `source .local/env` is enough: what the service
would get as CARLIEN_* is then read from the stack's variables of the organisation chosen with --org.
"""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from carlien_common import postgres
from carlien_common.config import load
from carlien_common.postgres import Pool
from carlien_lien_registry.bootstrap import PACKAGE, LedgerAccess, ledger_access
from carlien_lien_registry.config import OperatorSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose registry, and how to print."""
    parser.add_argument("--org", default="org1", help="on a local stack: whose registry (default: org1)")
    parser.add_argument("--json", action="store_true", help="print JSON")


@dataclass(frozen=True)
class Operation:
    """What such a command works on."""

    pool: Pool
    access: LedgerAccess
    settings: OperatorSettings


@asynccontextmanager
async def operation(arguments: argparse.Namespace) -> AsyncIterator[Operation]:
    """Open the database (its schema checked) and the ledger."""
    _from_stack(arguments.org)
    settings = load(OperatorSettings)
    async with postgres.pool(settings) as pool:
        await postgres.verify_schema(pool, PACKAGE)
        async with ledger_access(settings) as access:
            yield Operation(pool, access, settings)


def _from_stack(org: str) -> None:
    prefix = f"FABRIC_{org.upper()}_"
    database = "LIEN_REGISTRY" if org == "org1" else f"LIEN_REGISTRY_{org.upper()}"
    names = {
        "POSTGRES_DSN": f"{database}_POSTGRES_DSN",
        "MSP_ID": f"{prefix}MSP_ID",
        "FABRIC_PEER_ADDRESSES": f"{prefix}PEER_ADDRESS",
        "FABRIC_TLS_CA_FILE": f"{prefix}TLS_CA_FILE",
        "FABRIC_CERT_FILE": f"{prefix}CERT_FILE",
        "FABRIC_KEY_FILE": f"{prefix}KEY_FILE",
        "FABRIC_CHANNEL": "FABRIC_CHANNEL",
        "FABRIC_CHAINCODE": "FABRIC_CHAINCODE",
    }
    for name, source in names.items():
        if source in os.environ:
            os.environ.setdefault(f"CARLIEN_{name}", os.environ[source])
    os.environ.setdefault("CARLIEN_ORG", org)
    # Commands print their result; what the parts below log stays out of it.
    os.environ.setdefault("CARLIEN_LOG_LEVEL", "error")
