"""`carlien-pricing`: a thin dispatcher; every subcommand is a module of `carlien_pricing.commands`.

A command module has `add_parser(subparsers)`, which sets `run` (parsed arguments in, exit code out). Heavy libraries are
imported inside `run`, so that `--help` stays quick.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from carlien_common.domain.errors import DomainError, ErrorKind

COMMANDS: tuple[str, ...] = ("train", "evaluate", "replay", "portfolio", "readiness", "usage_lift")
OK, NEGATIVE, USAGE, UNAVAILABLE = 0, 1, 2, 3


def parser() -> argparse.ArgumentParser:
    """The command line with all its subcommands."""
    root = argparse.ArgumentParser(
        prog="carlien-pricing",
        description="Borrower models, replays of quotes, and tools for a book of loans.",
        epilog="Exit codes: 0 ok, 1 a negative verdict, 2 wrong usage or input, 3 a dependency is unavailable.",
    )
    subparsers = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"carlien_pricing.commands.{name}").add_parser(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; a DomainError becomes one line per finding on standard error."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except DomainError as error:
        print(f"carlien-pricing: {error.message}", file=sys.stderr)
        for violation in error.violations:
            print(f"  {violation.field}: {violation.description} [{violation.reason}]", file=sys.stderr)
        return UNAVAILABLE if error.kind is ErrorKind.UNAVAILABLE else USAGE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
