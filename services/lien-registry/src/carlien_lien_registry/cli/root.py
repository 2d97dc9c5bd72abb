"""`carlien-lien root`."""

import argparse
import json
from typing import Any

from cryptography.hazmat.primitives import serialization

from carlien_lien_registry.cli import operating


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "root",
        help="what somebody needs to verify certificates offline",
        description="Reads the root certificates of the consortium's members from the ledger's configuration.",
        epilog="example: carlien-lien root > root.json",
    )
    operating.add_arguments(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Print the file that `verify --root` reads."""
    async with operating.operation(arguments) as operation:
        members = {
            msp_id: [root.public_bytes(serialization.Encoding.PEM).decode() for root in roots]
            for msp_id, roots in sorted(operation.access.roots.items())
        }
    print(json.dumps({"schema": "carlien.lien.root.v1", "members": members}, indent=2))
    return 0
