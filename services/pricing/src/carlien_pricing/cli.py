"""`carlien-pricing`: every subcommand is a module of `carlien_pricing.commands`."""

import sys
from collections.abc import Sequence

from carlien_common import command_line

COMMANDS: tuple[str, ...] = ("train", "evaluate", "replay", "portfolio", "readiness", "usage_lift")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    description = "Borrower models, replays of quotes, and tools for a book of loans."
    arguments = command_line.parser("carlien-pricing", description, "carlien_pricing.commands", COMMANDS).parse_args(argv)
    return command_line.exit_code("carlien-pricing", lambda: int(arguments.run(arguments)))


if __name__ == "__main__":
    sys.exit(main())
