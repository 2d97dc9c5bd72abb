"""`carlien-lien audit`."""

import argparse
import json
import sys
from typing import Any

from carlien_common.domain.errors import unavailable
from carlien_lien_registry.adapters.postgres.audit import audit
from carlien_lien_registry.cli import operating
from carlien_lien_registry.service.ports import OutcomeUnknown

_EVERY_BLOCKS = 1_000
_SHOWN = 100


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "audit",
        help="compare every row of the read model with the ledger (exit code 1: something differs)",
        epilog="example: carlien-lien audit --json",
    )
    operating.add_arguments(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Compare, print what differs."""
    async with operating.operation(arguments) as operation:
        try:
            result = await audit(operation.pool, operation.access.ledger, _progress)
        except OutcomeUnknown as error:
            raise unavailable("LEDGER_UNAVAILABLE", "The peer stopped answering; run it again.") from error
    findings = [{"kind": one.kind, "table": one.table, "key": list(one.key)} for one in result.findings]
    if arguments.json:
        print(json.dumps({"as_of_block": result.as_of_block, "rows": result.rows, "findings": findings}))
    else:
        print(f"{result.rows} rows as of block {result.as_of_block}: {len(findings)} differ from the ledger")
        for finding in findings[:_SHOWN]:
            print(f"  {finding['kind']:8} {finding['table']} {finding['key']}")
    return 1 if findings else 0


def _progress(block: int) -> None:
    if block and block % _EVERY_BLOCKS == 0:
        print(f"block {block}", file=sys.stderr)
