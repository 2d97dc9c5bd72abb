"""`carlien-lien scan`: the quarterly code scan of the chaincode, the same as `make scan`."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid, unavailable

# services/lien-registry/chaincode beside this package's src/, in a checkout.
_CHAINCODE = Path(__file__).resolve().parents[3] / "chaincode"


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "scan",
        help="scan the chaincode's source: staticcheck, gosec, determinism (exit code 1: findings)",
        description="Needs Go and the source of the chaincode. The scanners are built at fixed versions at the first run.",
        epilog="example: carlien-lien scan --out reports",
    )
    parser.add_argument("--chaincode", type=Path, default=_CHAINCODE, help="folder of the chaincode's module (default: the checkout's)")
    parser.add_argument("--out", type=Path, help="folder for the dated report")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Run the scanner, print its report."""
    scanner = arguments.chaincode / "scan"
    if not (scanner / "main.go").is_file():
        raise invalid("--chaincode", "CHAINCODE_MISSING", f"There is no chaincode with its scanner in {arguments.chaincode}.")
    with tempfile.TemporaryDirectory() as folder:
        # Built, not `go run`: that tells every failure as 1.
        binary = Path(folder) / "scan"
        await _go(scanner, "build", "-o", str(binary), ".")
        command = [str(binary), "-chaincode", str(arguments.chaincode.resolve())]
        if arguments.out is not None:
            command += ["-out", str(arguments.out.resolve())]
        process = await asyncio.create_subprocess_exec(*command, cwd=scanner, stdout=asyncio.subprocess.PIPE)
        report = (await process.communicate())[0].decode()
    verdict = process.returncode or 0
    if arguments.json:
        print(json.dumps({"clean": verdict == 0, "report": report}))
    else:
        sys.stdout.write(report)
    return verdict


async def _go(folder: Path, *arguments: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec("go", *arguments, cwd=folder)
    except FileNotFoundError as error:
        raise unavailable("GO_MISSING", "Go isn't installed.") from error
    if await process.wait():
        raise unavailable("GO_FAILED", "The scanner couldn't be built.")
