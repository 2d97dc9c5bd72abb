"""`carlien-lien verify`: needs the certificate and the anchored roots, and neither network nor database."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from google.protobuf.json_format import ParseDict, ParseError

from carlien.lien.v1 import certificate_pb2
from carlien_common.domain.errors import invalid
from carlien_lien_registry import certificates, proofs


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
    trusted = read_roots(arguments.root)
    failures = certificates.verify(certificate, trusted.members) + proofs.verify_proof(certificate, trusted.anchors)
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


@dataclass(frozen=True)
class Trusted:
    """What the verifier relies on: the members' root certificates, and the roots of the registry they posted."""

    members: dict[str, list[x509.Certificate]]
    anchors: proofs.PostedRoots


def read_roots(file: Path) -> Trusted:
    """The file of `carlien-lien root`, INVALID FILE where it isn't one."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        members = {msp_id: [x509.load_pem_x509_certificate(pem.encode()) for pem in pems] for msp_id, pems in told["members"].items()}
        posted: dict[int, dict[bytes, list[str]]] = {}
        for one in told["anchors"]:
            posted.setdefault(int(one["block_number"]), {})[bytes.fromhex(one["root"])] = [str(msp_id) for msp_id in one["msp_ids"]]
        return Trusted(members, proofs.PostedRoots(frozenset(told["required"]) or frozenset(members), posted))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise invalid(str(file), "FILE", "This isn't a file of `carlien-lien root`.") from error
