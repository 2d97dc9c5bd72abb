"""`carlien-valuation outcomes import`: realised sales of a file into the database."""

import argparse
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import say, write_json

EXAMPLE = """example:
  carlien-valuation outcomes import sales.csv --mapping sales.yaml

The mapping is that of listings (`price` is what was paid, `as_of` the day of the sale) with a section that makes the rows sales:
  outcomes: {source: Auction house A, price_type: WHOLESALE, vin: VIN, reference: lot}
Needs CARLIEN_POSTGRES_DSN. Importing a file again changes nothing. Exit code 1 where a reference names another sale than before."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser("outcomes", help="realised sales")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    importing = actions.add_parser(
        "import", help="store realised sales of a file", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    importing.add_argument("sales", nargs="+", metavar="FILE", help="CSV files or globs (also .gz)")
    importing.add_argument("--mapping", required=True, type=Path, metavar="YAML")
    importing.add_argument("--json", action="store_true", help="print what was done as JSON")
    importing.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import; 1 where some references conflict."""
    import asyncio
    from datetime import UTC, datetime

    from carlien_valuation.adapters.own_database import own_database
    from carlien_valuation.adapters.postgres_outcomes import Imported, import_all
    from carlien_valuation.calibration.sales_file import load_outcome_mapping, read_sales
    from carlien_valuation.listings.read import expand

    sales = read_sales(expand(arguments.sales), load_outcome_mapping(arguments.mapping))

    async def store() -> Imported:
        async with own_database("carlien-outcomes") as connection:
            return await import_all(connection, sales.outcomes, datetime.now(UTC))

    done = asyncio.run(store())
    say(f"{sales.rows_read} rows: {done.stored} stored, {done.known} known already, {len(done.conflicting)} conflicting")
    for reason, count in sales.rejected.most_common():
        say(f"  {reason}: {count}")
    if arguments.json:
        report = {"rows_read": sales.rows_read, "stored": done.stored, "known": done.known,
                  "conflicting": list(done.conflicting[:100]), "rejected": dict(sales.rejected)}  # fmt: skip
        write_json(None, report)
    return 1 if done.conflicting else 0
