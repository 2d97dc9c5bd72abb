"""`carlien-valuation index`: estimate the collateral value index from a price file, and publish it."""

import argparse
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_valuation.commands.options import say, write_json

EXAMPLE = """example:
  carlien-valuation index --prices panel.csv --mapping mappings/fipe_monthly_panel.yaml --region BR --by make --report index.json

With --publish the indices are stored in the database of CARLIEN_POSTGRES_DSN, from where the service answers and emits them. A vintage
is frozen: publishing it again from the same data changes nothing, from other data is refused."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "index",
        help="estimate and publish the collateral value index",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prices", required=True, nargs="+", metavar="FILE", help="CSV files or globs (also .gz) of listings or of a panel")
    add("--mapping", required=True, type=Path, metavar="YAML", help="mapping of listings, or with a `panel` section")
    add("--region", default="all", help="region the prices are of (default all)")
    add("--by", default="", metavar="COLUMN[,…]", help="segments besides the whole market: make, fuel_type, body_type, seller_type")
    add("--vintage", metavar="YYYY-MM", help="use prices up to this month only (default all)")
    add("--base", metavar="YYYY-MM", help="month of level 100 (default the first)")
    add("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    add("--publish", action="store_true", help="store and emit (needs CARLIEN_POSTGRES_DSN)")
    add("--json", action="store_true", help="print the report as JSON also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Estimate, report, publish."""
    from carlien_valuation.listings.read import expand, read_listings
    from carlien_valuation.series.index_build import build, priced_rows, summary
    from carlien_valuation.series.read import load_panel_mapping

    mapping = load_panel_mapping(arguments.mapping)
    table = read_listings(expand(arguments.prices), mapping.rows)
    priced = priced_rows(table.frame, new_model_year=mapping.new_model_year, panel=mapping.is_panel)
    by = tuple(column for column in arguments.by.split(",") if column)
    publications = build(
        priced, region=arguments.region, by=by, vintage=_month(arguments.vintage, "vintage"), base=_month(arguments.base, "base")
    )
    if not publications:
        raise invalid("prices", "INDEX_TOO_THIN", "no segment has two months with enough prices")
    report = {"rows_read": table.rows_read, "rejected_rows": dict(table.rejections.counts), "indices": [summary(p) for p in publications]}
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    for publication in publications:
        last = publication.points[-1]
        level = f"{last.level:.2f} (s.e. {100 * last.standard_error:.2f} %)"
        say(f"{publication.key.event_key} {publication.key.method}: {len(publication.points)} months, {last.month:%Y-%m} {level}")
    if arguments.publish:
        import asyncio

        from carlien_valuation.adapters.index_publisher import publish_from_environment

        say(f"{len(asyncio.run(publish_from_environment(publications)))} new publications of {len(publications)}")
    return 0


def _month(text: str | None, field: str) -> int | None:
    from carlien_valuation.series.panel import parse_month

    if text is None:
        return None
    try:
        return parse_month(text)
    except ValueError:
        raise invalid(field, "MONTH_FORMAT", f"{text!r} is no month such as 2024-06") from None
