"""`carlien-lien register`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToJson, ParseDict, ParseError

from carlien.lien.v1 import lien_service_pb2, lien_service_pb2_grpc
from carlien_common.domain.errors import invalid
from carlien_common.grpc import calling

_EPILOG = """example: carlien-lien register lien.json
where lien.json is a RegisterLienRequest, for example
{"vin": "LSVAA4182E2184847", "lien_class": "LIEN_CLASS_MORTGAGE", "secured_amount": {"currency_code": "CNY", "units": "30000"},
 "debtor": {"id_type": "USCC", "id_number": "91310000MA1FL0000X", "name": "..."}, "contract_hash": "<64 hexadecimal digits>",
 "require_first_rank": true, "idempotency_key": "loan-17"}"""


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "register", help="register a lien from a file", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="F", type=Path, help="a RegisterLienRequest in JSON, - for standard input")
    calling.add_arguments(parser, "lien-registry", "originator")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Register, print the registration."""
    request = read(arguments.file)
    async with calling.channel(arguments) as channel:
        stub = lien_service_pb2_grpc.LienServiceStub(channel)
        lien = (await stub.RegisterLien(request, timeout=calling.TIMEOUT_S)).lien
    if arguments.json:
        print(MessageToJson(lien, preserving_proto_field_name=True))
    else:
        print(f"{lien.registration_number} in block {lien.block_number}, index {lien.tx_index}, transaction {lien.tx_id}")
    return 0


def read(file: Path) -> lien_service_pb2.RegisterLienRequest:
    """The request in a file, INVALID FILE where it isn't one. The text isn't repeated: it names a person."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    request = lien_service_pb2.RegisterLienRequest()
    try:
        ParseDict(json.loads(text), request)
    except (ValueError, ParseError) as error:
        raise invalid(str(file), "FILE", "This isn't a RegisterLienRequest in JSON.") from error
    return request
