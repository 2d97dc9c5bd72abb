"""`carlien-lien root`."""

import argparse
import json
from typing import Any

from cryptography.hazmat.primitives import serialization

from carlien_lien_registry.adapters.mortgage_asset import MortgageAssetAnchors
from carlien_lien_registry.adapters.postgres.tree import PostgresTree
from carlien_lien_registry.cli import operating

_NEWEST = 1_000


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "root",
        help="what somebody needs to verify certificates offline",
        description="The root certificates of the consortium's members, from the ledger's configuration, and the roots of the "
        "registry that the organisations posted: of the newest blocks as the read model has them, or of one block as the peer has them.",
        epilog="example: carlien-lien root > root.json",
    )
    parser.add_argument("--block", type=int, help="ask the peer for the roots of this block (a certificate's as_of_block)")
    operating.add_arguments(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Print the file that `verify --root` reads."""
    async with operating.operation(arguments) as operation:
        access = operation.access
        members = {
            msp_id: [root.public_bytes(serialization.Encoding.PEM).decode() for root in roots]
            for msp_id, roots in sorted(access.roots.items())
        }
        if arguments.block is None:
            store = PostgresTree(operation.pool, access.anchoring_msp_ids, operation.settings.msp_id)
            anchors = [
                {"block_number": one.block_number, "root": one.root.hex(), "msp_ids": list(one.msp_ids)}
                for one in await store.agreements(_NEWEST)
            ]
        else:
            posted: dict[bytes, list[str]] = {}
            for one in await MortgageAssetAnchors(access.ledger).posted(arguments.block):
                posted.setdefault(one.root, []).append(one.msp_id)
            anchors = [{"block_number": arguments.block, "root": root.hex(), "msp_ids": msp_ids} for root, msp_ids in posted.items()]
    told = {"schema": "carlien.lien.root.v1", "members": members, "required": list(access.anchoring_msp_ids), "anchors": anchors}
    print(json.dumps(told, indent=2))
    return 0
