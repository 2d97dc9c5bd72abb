"""`carlien-lien import`: an extract of an official registry, CSV or JSON, to the running service."""

import argparse
import csv
import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from google.type import date_pb2, money_pb2

from carlien.lien.v1 import lien_pb2, reconciliation_pb2, reconciliation_service_pb2, reconciliation_service_pb2_grpc
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.domain.money import Money
from carlien_common.grpc import calling
from carlien_common.wire import instant_to_proto, money_to_proto

_SOURCES = {"psb": lien_pb2.EXTERNAL_REGISTRY_PSB_VEHICLE, "zhongdeng": lien_pb2.EXTERNAL_REGISTRY_ZHONGDENG}
_TIMEOUT_SECONDS = 300.0
_DESCRIPTION = """Compares an extract with the ledger and opens a case per difference. The file is UTF-8, CSV with a header or a JSON
list of objects, with these columns: external_certificate_number, vin, status (ACTIVE or ENDED), secured_amount (120000.00),
currency (CNY), registered_on (YYYY-MM-DD or empty)."""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "import",
        help="compare an extract of an official registry with the ledger (exit code 1: they differ)",
        description=_DESCRIPTION,
        epilog="example: carlien-lien import --source psb --extracted-at 2026-11-24T08:00:00+08:00 extract.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="F", type=Path)
    parser.add_argument("--source", choices=sorted(_SOURCES), required=True, help="psb: vehicle office (车管所); zhongdeng: 中登网")
    parser.add_argument("--extracted-at", type=dt.datetime.fromisoformat, required=True, help="when it was drawn, with a time zone")
    calling.add_arguments(parser, "lien-registry", "originator")
    parser.set_defaults(run=run, role="registrar")


async def run(arguments: argparse.Namespace) -> int:
    """Send the extract, print what it led to."""
    if arguments.extracted_at.tzinfo is None:
        raise invalid("--extracted-at", "TIME_ZONE_MISSING", "Say the time zone, for example +08:00.")
    raw = arguments.file.read_bytes()
    header = reconciliation_service_pb2.ExtractHeader(
        source=_SOURCES[arguments.source],
        extracted_at=instant_to_proto(arguments.extracted_at),
        # The same file of the same time is the same import.
        idempotency_key=hashlib.sha256(raw + arguments.extracted_at.isoformat().encode()).hexdigest(),
    )
    requests = [reconciliation_service_pb2.ImportRegistryExtractRequest(header=header)]
    requests += [reconciliation_service_pb2.ImportRegistryExtractRequest(record=record) for record in read(arguments.file, raw)]
    async with calling.channel(arguments) as channel:
        stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(channel)
        answer = await stub.ImportRegistryExtract(iter(requests), timeout=_TIMEOUT_SECONDS)
    told = {
        "records": answer.records,
        "rejected": dict(answer.rejected),
        "opened": answer.opened,
        "gone": answer.gone,
        "as_of_block": answer.as_of_block,
    }
    print(json.dumps(told) if arguments.json else "\n".join(f"{name.replace('_', ' '):12} {value}" for name, value in told.items()))
    return 1 if answer.opened else 0


def read(file: Path, raw: bytes) -> Iterator[reconciliation_pb2.ExtractRecord]:
    """The lines of an extract; INVALID FILE names the first line that can't be read at all."""
    try:
        text = raw.decode("utf-8-sig")
        lines: list[Mapping[str, str]] = json.loads(text) if file.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except ValueError as error:
        raise invalid(str(file), "FILE", "This is neither CSV nor JSON in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield _record(line)
        except (KeyError, ValueError, TypeError, InvalidOperation, AttributeError, DomainError) as error:
            raise invalid(str(file), "FILE", f"Record {number} isn't in the form that --help shows.") from error


def _record(line: Mapping[str, str]) -> reconciliation_pb2.ExtractRecord:
    amount: money_pb2.Money = money_to_proto(Money(Decimal(line["secured_amount"]), line["currency"]))
    active = {"ACTIVE": True, "ENDED": False}[line["status"]]
    record = reconciliation_pb2.ExtractRecord(
        external_certificate_number=line["external_certificate_number"], vin=line["vin"], active=active, secured_amount=amount
    )
    if line.get("registered_on"):
        on = dt.date.fromisoformat(line["registered_on"])
        record.registered_on.CopyFrom(date_pb2.Date(year=on.year, month=on.month, day=on.day))
    return record
