"""`carlien-valuation nowcast`: where the market stands, from a few fresh listings, before the next vintage of its index."""

import argparse
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_valuation.commands.options import add_listings, load, quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation nowcast --model models/current --listings this-month.csv --mapping listings.yaml --region CN --publish

Each price of the last month of the listings is compared with what the model says the car was worth at its cutoff; the median ratio,
shrunk by how far a market usually moves in that time, moves the last published level. With --publish it is stored (CARLIEN_POSTGRES_DSN)
and told by GetIndex beside the latest vintage; without, the level at the model's cutoff is 100. Appraisals move with vintages only."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "nowcast",
        help="the market's level from fresh listings",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    add_listings(parser)
    parser.add_argument("--segment", default="all", help="all, or make:NAME (default all)")
    parser.add_argument("--region", default="all", help="region of the index (default all)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.add_argument("--publish", action="store_true", help="on the published index, and stored beside it (needs CARLIEN_POSTGRES_DSN)")
    parser.add_argument("--json", action="store_true", help="print the report also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Nowcast; 0 also where it hardly moves."""
    quiet_tensorflow()
    import asyncio
    from datetime import UTC, date, datetime

    from carlien_valuation.adapters.index_store import PostgresIndexStore, store_nowcast
    from carlien_valuation.adapters.own_database import own_database
    from carlien_valuation.adapters.residual_policy_file import load_residual_policies
    from carlien_valuation.domain.index_publication import IndexKey, MarketNowcast
    from carlien_valuation.domain.residual import in_force
    from carlien_valuation.series.nowcast import fresh_market, market_nowcast
    from carlien_valuation.training.store import load_model

    model = load_model(arguments.model.resolve())
    table, _ = load(arguments.listings, arguments.mapping)
    fresh = fresh_market(model, table, make=_make(arguments.segment))
    cutoff = date.fromisoformat(model.card["data"]["cutoff"])
    level_sd = in_force(load_residual_policies(), fresh.month).level_sd

    async def made() -> tuple[MarketNowcast, bool]:
        now = datetime.now(UTC)

        def result(index: Any) -> MarketNowcast:
            found = market_nowcast(fresh, index, cutoff, level_sd)
            return MarketNowcast(
                arguments.segment, arguments.region, fresh.month, found.level, found.standard_error, found.n, found.weight,
                fresh.input_hash, model.version, now,
            )  # fmt: skip

        if not arguments.publish:
            return result(None), False
        async with own_database("carlien-nowcast") as connection:
            index = await PostgresIndexStore(connection).find(IndexKey(arguments.segment, arguments.region), None)
            if index is None:
                raise invalid("segment", "INDEX_UNKNOWN", f"no index is published for {arguments.segment}/{arguments.region}")
            made_now = result(index)
            return made_now, await store_nowcast(connection, made_now)

    nowcast, stored = asyncio.run(made())
    report = {
        "segment": nowcast.segment, "region": nowcast.region, "month": f"{nowcast.month:%Y-%m}", "level": round(nowcast.level, 4),
        "standard_error": round(nowcast.standard_error, 6), "n": nowcast.sample_size, "weight": round(nowcast.weight, 4),
        "left_out": fresh.left_out, "model_version": nowcast.model_version, "input_hash": nowcast.input_hash, "stored": stored,
    }  # fmt: skip
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    say(
        f"{nowcast.segment}/{nowcast.region} {nowcast.month:%Y-%m}: level {nowcast.level:.2f} (s.e. {100 * nowcast.standard_error:.2f} %) "
        f"from {nowcast.sample_size} listings"
    )
    return 0


def _make(segment: str) -> str:
    if segment == "all":
        return ""
    kind, _, name = segment.partition(":")
    if kind != "make" or not name.strip():
        raise invalid("segment", "INDEX_SEGMENT", f"{segment!r} is neither all nor make:NAME")
    return name.strip().casefold()
