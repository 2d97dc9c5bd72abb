"""`carlien-lien rotate-key`: own registrations rewritten under a new consortium key, so that the old one can go."""

import argparse
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from carlien.lien.v1 import lien_pb2, lien_service_pb2, lien_service_pb2_grpc
from carlien_common.domain.errors import DomainError, ErrorKind, precondition
from carlien_common.grpc import calling
from carlien_lien_registry.adapters.mortgage_asset import MortgageAssetQueries
from carlien_lien_registry.cli import operating


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "rotate-key",
        help="rewrite own registrations' debtor hashes under a new consortium key",
        description="Reads each debtor from the own organisation's private collection and amends the registration; running it again "
        "goes on where it stopped. First add the key to every member's key file (searches then try both), last remove the old one.",
        epilog="example: carlien-lien rotate-key --to 2",
    )
    parser.add_argument("--to", type=int, required=True, metavar="N", help="number of the new key, which the service must have")
    parser.add_argument("--only", nargs="+", default=(), metavar="NUMBER", help="only these registrations, to try it out")
    calling.add_arguments(parser, "lien-registry", "originator")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Amend one after the other, print how many; 1 where some debtor isn't in the collection."""
    prefix = f"k{arguments.to}:"
    rotated, missing = 0, []
    async with operating.operation(arguments) as operation, calling.channel(arguments) as channel:
        details = MortgageAssetQueries(operation.access.ledger)
        stub = lien_service_pb2_grpc.LienServiceStub(channel)
        async for lien in _in_force(stub):
            if lien.debtor_hash.startswith(prefix) or (arguments.only and lien.registration_number not in arguments.only):
                continue
            try:
                told = json.loads(await details.own_details(lien.registration_number))
            except DomainError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                missing.append(lien.registration_number)
                continue
            change = lien_service_pb2.DebtorChange(debtor=lien_pb2.Debtor(**told["debtor"]), contract_hash=told["contract_hash"])
            request = lien_service_pb2.AmendLienRequest(
                registration_number=lien.registration_number,
                debtor_change=change,
                idempotency_key=f"rotate-{arguments.to}-{lien.registration_number}-{lien.version}",
            )
            amended = (await stub.AmendLien(request, timeout=calling.TIMEOUT_S)).lien
            if not amended.debtor_hash.startswith(prefix):
                raise precondition("KEY_NOT_LIVE", f"The service's newest key isn't number {arguments.to}; add it to its key file first.")
            rotated += 1
    if arguments.json:
        print(json.dumps({"rotated": rotated, "without_details": missing}))
    else:
        print(f"{rotated} registrations stand under key {arguments.to} now")
        for number in missing:
            print(f"  {number}: its debtor isn't in the private collection (yet)", file=sys.stderr)
    return 1 if missing else 0


async def _in_force(stub: "lien_service_pb2_grpc.LienServiceAsyncStub") -> AsyncIterator[lien_pb2.Lien]:
    token = ""
    while True:
        request = lien_service_pb2.ListLiensRequest(status=lien_pb2.LIEN_STATUS_ACTIVE, page_size=500, page_token=token)
        page = await stub.ListLiens(request, timeout=calling.TIMEOUT_S)
        for lien in page.liens:
            yield lien
        token = page.next_page_token
        if not token:
            return
