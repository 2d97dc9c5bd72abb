"""`carlien-lien`: every subcommand is a module of `carlien_lien_registry.cli`."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from carlien_common import command_line
from carlien_common.domain.errors import unavailable
from carlien_lien_registry.adapters.fabric import GatewayError

COMMANDS: tuple[str, ...] = ("search", "register", "verify", "page", "root", "lag", "audit", "rebuild", "import_", "rotate_key", "scan")


def parser() -> argparse.ArgumentParser:
    """The command line with all its subcommands."""
    description = "Search, register and check liens; look after the registry's read model."
    return command_line.parser("carlien-lien", description, "carlien_lien_registry.cli", COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return command_line.exit_code("carlien-lien", lambda: asyncio.run(run(arguments)))


async def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command."""

    async def work() -> int:
        try:
            return int(await arguments.run(arguments))
        except GatewayError as error:
            raise unavailable("LEDGER_UNAVAILABLE", str(error)) from error

    return await command_line.calling_exit_code("carlien-lien", work)


if __name__ == "__main__":
    sys.exit(main())
