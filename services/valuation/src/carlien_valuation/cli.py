"""`carlien-valuation`: a thin dispatcher; every subcommand is a module of `carlien_valuation.commands`.

A command module has `add_parser(subparsers)`, which sets `run` (a callable taking the parsed
arguments and returning an exit code). Heavy libraries are imported inside `run`, so that `--help` stays quick.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from carlien_common.domain.errors import DomainError, ErrorKind

COMMANDS: tuple[str, ...] = (
    "train", "evaluate", "predict", "sample_data", "panel_evaluate", "index", "nowcast", "battery_evaluate", "outcomes", "calibrate",
    "models",
)  # fmt: skip
"""Modules of `carlien_valuation.commands`, in the order `--help` lists them."""

OK, NEGATIVE, USAGE, UNAVAILABLE = 0, 1, 2, 3
"""Exit codes: done; a negative verdict; wrong usage or input; a dependency is unavailable."""


def parser() -> argparse.ArgumentParser:
    """The command line with all its subcommands."""
    root = argparse.ArgumentParser(
        prog="carlien-valuation",
        description="What a car is worth: train, score and use appraisal models on listings of any market.",
        epilog="Exit codes: 0 ok, 1 a negative verdict, 2 wrong usage or input, 3 a dependency is unavailable.",
    )
    subparsers = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f"carlien_valuation.commands.{name}").add_parser(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a DomainError becomes one line per finding on standard error."""
    # TensorFlow tells of its own workings on standard error, where ours is to be read.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # nothing for networks this small
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except DomainError as error:
        print(f"carlien-valuation: {error.message}", file=sys.stderr)
        for violation in error.violations:
            print(f"  {violation.field}: {violation.description} [{violation.reason}]", file=sys.stderr)
        return UNAVAILABLE if error.kind is ErrorKind.UNAVAILABLE else USAGE
    except KeyboardInterrupt:
        return 130
