"""`carlien-lien search`."""

import argparse
import sys
from typing import Any

from google.protobuf.json_format import MessageToJson

from carlien.lien.v1 import certificate_pb2, lien_pb2, search_service_pb2, search_service_pb2_grpc
from carlien_common.grpc import calling

_MATCHES = {"exact": certificate_pb2.MATCH_TYPE_EXACT, "similar": certificate_pb2.MATCH_TYPE_SIMILAR}


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "search",
        help="search a car and get a signed certificate",
        epilog="example: carlien-lien search LSVAA4182E2184847 --json > certificate.json",
    )
    parser.add_argument("vin", metavar="VIN")
    parser.add_argument("--match", choices=sorted(_MATCHES), default="exact")
    parser.add_argument("--min-block", type=int, default=0, help="the answer must take this block into account")
    calling.add_arguments(parser, "lien-registry", "originator")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Search, print the certificate."""
    request = search_service_pb2.SearchLiensRequest(vin=arguments.vin, match=_MATCHES[arguments.match], min_block=arguments.min_block)
    async with calling.channel(arguments) as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        certificate = (await stub.SearchLiens(request, timeout=calling.TIMEOUT_S)).certificate
    sys.stdout.write(as_json(certificate) if arguments.json else as_text(certificate))
    return 0


def as_json(certificate: certificate_pb2.SearchCertificate) -> str:
    """The certificate as a file that `verify` reads."""
    return MessageToJson(certificate, preserving_proto_field_name=True) + "\n"


def as_text(certificate: certificate_pb2.SearchCertificate) -> str:
    """The certificate in a few lines for a reader."""
    made_at = f"{certificate.searched_at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    blocks = f"as of block {certificate.known_to_block} of {certificate.ledger_height}"
    lines = [f"certificate {certificate.certificate_number} of {made_at}, {blocks}"]
    lines += [f"  {place}. {_line(hit.lien)}" for place, hit in enumerate(certificate.hits, start=1)] or ["  nothing is registered"]
    if certificate.anchored_by:
        lines.append(f"  proven as of block {certificate.as_of_block}, whose root {', '.join(certificate.anchored_by)} posted")
    else:
        lines.append("  not proven: not all organisations that CARLIEN_ANCHOR_MSP_IDS of the registry names have posted a root yet")
    lines += [f"  since then: {one.change} {one.registration_number} in block {one.block_number}" for one in certificate.known_since]
    return "\n".join(lines) + "\n"


def _line(lien: lien_pb2.Lien) -> str:
    kind = lien_pb2.LienClass.Name(lien.lien_class).removeprefix("LIEN_CLASS_").lower().replace("_", " ")
    status = lien_pb2.LienStatus.Name(lien.status).removeprefix("LIEN_STATUS_").lower()
    amount = f"{lien.secured_amount.units:,}.{lien.secured_amount.nanos // 10_000_000:02d} {lien.secured_amount.currency_code}"
    rank = ", first rank claimed" if lien.first_rank else ""
    return f"{lien.registration_number}  {lien.vin}  {kind} over {amount} for {lien.secured_party_msp_id}, {status}{rank}"
