"""Options and steps that several subcommands share."""

import argparse
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from carlien_valuation.listings.mapping import Mapping, load_mapping
from carlien_valuation.listings.read import Table, expand, read_listings


def add_listings(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """--listings and --mapping."""
    parser.add_argument("--listings", required=True, nargs="+" if several else None, metavar="FILE", help="CSV files or globs (also .gz)")
    parser.add_argument(
        "--mapping",
        required=True,
        type=Path,
        metavar="YAML",
        help="where each field is and how it is written (see schemas/mapping.schema.json)",
    )


def load(listings: list[str], mapping_path: Path) -> tuple[Table, Mapping]:
    """Read the listings of a command."""
    mapping = load_mapping(mapping_path)
    return read_listings(expand(listings), mapping), mapping


def say(message: str) -> None:
    """Progress for people, on standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def progress(what: str, done: int, of: int) -> None:
    """Progress of a fit."""
    say(f"  {what} {done + 1}/{of}" if of > 1 else f"  {what}")


def peak_memory_mib() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # Linux counts in KiB


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    """Write a report to a file, or to standard output where path is None."""
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    if path is None:
        sys.stdout.write(text + "\n")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


def quiet_tensorflow() -> None:
    """TensorFlow's start-up chatter is of no use to a person at a terminal; must run before its first import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
