"""`carlien-lien rebuild`."""

import argparse
import json
import sys
import time
from typing import Any

from carlien_common.domain.errors import unavailable
from carlien_common.failures import is_transient
from carlien_lien_registry.adapters.postgres.projection import PostgresProjection
from carlien_lien_registry.cli import operating
from carlien_lien_registry.service.following import LedgerFollower, Progress
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import FollowedBlock, OutcomeUnknown
from carlien_lien_registry.wire import event_to_proto

_REPORT_SECONDS = 1.0


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "rebuild",
        help="build the read model anew from block 0",
        description="Empties the read model and reads the ledger from block 0. Writes, certificates and published events stay. "
        "The running service waits meanwhile and goes on by itself.",
        epilog="example: carlien-lien rebuild --yes",
    )
    parser.add_argument("--yes", action="store_true", help="really do it")
    operating.add_arguments(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Empty and read again, with progress on standard error."""
    if not arguments.yes:
        print("The read model answers with less than the truth until it is rebuilt. Repeat with --yes.", file=sys.stderr)
        return 2
    async with operating.operation(arguments) as operation:
        projection = PostgresProjection(
            operation.pool, event_to_proto, f"/{operation.settings.org}/lien-registry", operation.settings.msp_id
        )
        began = time.perf_counter()
        try:
            height = await operation.access.ledger.height()
            counted = _Counter(height, began)
            follower = LedgerFollower(operation.access.ledger, projection, Outcomes(), Progress(), is_transient, counted.count)
            await projection.reset()
            await follower.follow(until=height)
        except OutcomeUnknown as error:
            raise unavailable("LEDGER_UNAVAILABLE", "The peer stopped answering; run it again.") from error
        seconds = time.perf_counter() - began
        registrations = await operation.pool.fetchval("SELECT count(DISTINCT registration_number) FROM lien_versions")
    told = {
        "blocks": height + 1,
        "registrations": registrations,
        "seconds": round(seconds, 3),
        "registrations_per_second": round(registrations / seconds, 1),
    }
    print(json.dumps(told) if arguments.json else "\n".join(f"{name.replace('_', ' '):26} {value}" for name, value in told.items()))
    return 0


class _Counter:
    def __init__(self, height: int, began: float) -> None:
        self._height = height
        self._told_at = began

    def count(self, blocks: list[FollowedBlock]) -> None:
        if time.perf_counter() - self._told_at >= _REPORT_SECONDS:
            self._told_at = time.perf_counter()
            print(f"block {blocks[-1].number} of {self._height}", file=sys.stderr)
