"""`carlien-lien`: a thin dispatcher; every subcommand is a module of `carlien_lien_registry.cli`.

A command module has `add_parser(subparsers)`, which sets `run` (parsed arguments in, awaitable exit code out).
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module

import grpc

from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.failures import as_domain_error
from carlien_lien_registry.adapters.fabric import GatewayError

COMMANDS: tuple[str, ...] = ("search", "register", "verify", "page", "root", "lag", "audit", "rebuild", "import_", "rotate_key", "scan")
OK, NEGATIVE, USAGE, UNAVAILABLE = 0, 1, 2, 3
_AWAY = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.EXHAUSTED, ErrorKind.CONFLICT})


def parser() -> argparse.ArgumentParser:
    """The command line with all its subcommands."""
    root = argparse.ArgumentParser(
        prog="carlien-lien",
        description="Search, register and check liens; look after the registry's read model.",
        epilog="Exit codes: 0 ok, 1 a negative verdict, 2 wrong usage or input, 3 a dependency is unavailable.",
    )
    subparsers = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"carlien_lien_registry.cli.{name}").add_parser(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    try:
        return asyncio.run(run(parser().parse_args(argv)))
    except KeyboardInterrupt:
        return 130


async def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command; an error becomes one line per finding on standard error."""
    try:
        return int(await arguments.run(arguments))
    except DomainError as error:
        return _told(error)
    except (grpc.aio.AioRpcError, GatewayError) as error:
        known = as_domain_error(error)
        return _told(known) if known else _unavailable(str(error))
    except OSError as error:
        # A file of the caller's, or a connection.
        return _unavailable(str(error)) if error.filename is None else _wrong(f"{error.filename}: {error.strerror}")


def _told(error: DomainError) -> int:
    print(f"carlien-lien: {error.message} [{error.reason}]", file=sys.stderr)
    for violation in error.violations:
        print(f"  {violation.field}: {violation.description} [{violation.reason}]", file=sys.stderr)
    if error.kind in _AWAY:
        return UNAVAILABLE
    return USAGE if error.kind is ErrorKind.INVALID else NEGATIVE


def _unavailable(text: str) -> int:
    print(f"carlien-lien: {text}", file=sys.stderr)
    return UNAVAILABLE


def _wrong(text: str) -> int:
    print(f"carlien-lien: {text}", file=sys.stderr)
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
