"""`carlien-lien verify`: needs the certificate and the members' roots, and neither network nor database."""

import argparse
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from google.protobuf.json_format import ParseDict, ParseError

from carlien.lien.v1 import certificate_pb2
from carlien_common.domain.errors import invalid
from carlien_lien_registry import certificates


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check a certificate offline (exit code 1: it doesn't hold)",
        epilog="example: carlien-lien verify certificate.json --root root.json",
    )
    parser.add_argument("certificate", metavar="CERT.json", type=Path)
    parser.add_argument("--root", metavar="ROOT.json", type=Path, required=True, help="from `carlien-lien root`, got by a way you trust")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Check, print the verdict."""
    certificate = read_certificate(arguments.certificate)
    failures = certificates.verify(certificate, read_roots(arguments.root))
    if arguments.json:
        print(json.dumps({"valid": not failures, "failures": failures, "certificate_number": certificate.certificate_number}))
    else:
        print(f"{certificate.certificate_number}: " + ("holds" if not failures else ", ".join(failures)))
    return 1 if failures else 0


def read_certificate(file: Path) -> certificate_pb2.SearchCertificate:
    """The certificate in a file, INVALID FILE where it isn't one."""
    certificate = certificate_pb2.SearchCertificate()
    try:
        ParseDict(json.loads(file.read_text(encoding="utf-8")), certificate)
    except (ValueError, ParseError) as error:
        raise invalid(str(file), "FILE", "This isn't a certificate in JSON.") from error
    return certificate


def read_roots(file: Path) -> dict[str, list[x509.Certificate]]:
    """The members' roots in a file, INVALID FILE where it holds none."""
    try:
        members = json.loads(file.read_text(encoding="utf-8"))["members"]
        return {msp_id: [x509.load_pem_x509_certificate(pem.encode()) for pem in pems] for msp_id, pems in members.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise invalid(str(file), "FILE", "This isn't a file of `carlien-lien root`.") from error
