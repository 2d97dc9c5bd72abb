"""`carlien-valuation sample-data`: listings of an invented market, for where there are no real ones."""

import argparse
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import say, write_json

EXAMPLE = """example:
  carlien-valuation sample-data --out sample --rows 6000 --seed 1
  carlien-valuation train --listings sample/listings.csv --mapping sample/mapping.yaml --out model

The market is invented; a model trained on it says so on its card and in every appraisal."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "sample-data", help="write simulated listings", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="gets listings.csv and mapping.yaml")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="last day of the market; today without it")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the files."""
    from carlien_common.domain.errors import invalid
    from carlien_valuation.simulation.market import write_sample

    if not 1 <= arguments.rows <= 1_000_000:
        raise invalid("rows", "ROWS_RANGE", "--rows must be between 1 and 1,000,000")
    until = arguments.until or datetime.now(UTC).date()
    listings, mapping = write_sample(arguments.out, arguments.rows, arguments.seed, until)
    say(f"{arguments.rows} simulated listings up to {until}: {listings}, {mapping}")
    if arguments.json:
        write_json(
            None,
            {
                "listings": str(listings),
                "mapping": str(mapping),
                "rows": arguments.rows,
                "seed": arguments.seed,
                "until": until.isoformat(),
            },
        )
    return 0
