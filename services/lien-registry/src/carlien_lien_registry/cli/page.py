"""`carlien-lien page`: a certificate to read and print."""

import argparse
import sys
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_lien_registry import pages
from carlien_lien_registry.cli.verify import read_certificate


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "page", help="a certificate as a page to read and print", epilog="example: carlien-lien page certificate.json --out certificate.pdf"
    )
    parser.add_argument("certificate", metavar="CERT.json", type=Path)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="ending in .html or .pdf")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    certificate, out = read_certificate(arguments.certificate), arguments.out
    match out.suffix:
        case ".html":
            out.write_text(pages.as_html(certificate), encoding="utf-8")
        case ".pdf":
            out.write_bytes(pages.as_pdf(certificate))
        case _:
            raise invalid("--out", "OUT", "The file must end in .html or .pdf.")
    print(out, file=sys.stderr)
    return 0
