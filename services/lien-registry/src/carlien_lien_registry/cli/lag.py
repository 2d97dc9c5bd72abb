"""`carlien-lien lag`."""

import argparse
import json
from typing import Any

from carlien_common.domain.errors import unavailable
from carlien_lien_registry.cli import operating
from carlien_lien_registry.service.ports import OutcomeUnknown


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "lag", help="how far the read model is behind the ledger", epilog="example: carlien-lien lag --json (exit code 1 when behind)"
    )
    parser.add_argument("--allowed-blocks", type=int, default=20, help="exit with 1 when further behind (default: 20)")
    operating.add_arguments(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Compare the peer's height with the checkpoint."""
    async with operating.operation(arguments) as operation:
        try:
            height = await operation.access.ledger.height()
        except OutcomeUnknown as error:
            raise unavailable("LEDGER_UNAVAILABLE", "The peer doesn't answer.") from error
        row = await operation.pool.fetchrow(
            "SELECT block_number, (SELECT count(*) FROM ledger_writes WHERE state = 'PENDING') AS envelopes, "
            "(SELECT count(*) FROM private_details) AS details, (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS events "
            "FROM ledger_checkpoint"
        )
    if row is None:
        raise unavailable("CHECKPOINT_MISSING", "The database has no checkpoint.")
    told = {
        "ledger_height": height,
        "read_model_height": row["block_number"],
        "blocks_behind": max(0, height - row["block_number"]),
        "pending_envelopes": row["envelopes"],
        "pending_details": row["details"],
        "unpublished_events": row["events"],
    }
    print(json.dumps(told) if arguments.json else "\n".join(f"{name.replace('_', ' '):20} {value}" for name, value in told.items()))
    return 1 if told["blocks_behind"] > arguments.allowed_blocks else 0
