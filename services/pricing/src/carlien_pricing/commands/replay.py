"""`carlien-pricing replay`: computes stored quotes again and compares them byte for byte."""

import argparse
import asyncio
from typing import Any

from carlien_pricing.commands.options import say, write_json

EXAMPLE = """example:
  CARLIEN_POSTGRES_DSN=postgresql://... carlien-pricing replay 0190b2c4-...
  CARLIEN_POSTGRES_DSN=postgresql://... carlien-pricing replay --newest 100 --json

The quote is priced again from its stored inputs, with the policy files stored with it and the engine version it names. Exit code 1
where any byte differs."""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    parser = subparsers.add_parser(
        "replay", help="price stored quotes again, bit for bit", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("quote_id", nargs="*", metavar="QUOTE_ID")
    parser.add_argument("--newest", type=int, default=0, metavar="N", help="also the N newest quotes")
    parser.add_argument("--json", action="store_true", help="print what was compared as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where all are the same, 1 where one differs."""
    from carlien_common.config import DatabaseSettings, load

    if not arguments.quote_id and not arguments.newest:
        say("carlien-pricing replay: name a quote, or --newest N")
        return 2
    return asyncio.run(_replay(load(DatabaseSettings), arguments.quote_id, arguments.newest, arguments.json))


async def _replay(settings: Any, quote_ids: list[str], newest: int, as_json: bool) -> int:
    from carlien_common import postgres
    from carlien_common.domain.errors import unavailable
    from carlien_common.postgres.pool import NOT_YET
    from carlien_pricing.adapters.codec import JsonCodec
    from carlien_pricing.adapters.outlet import Outlet
    from carlien_pricing.adapters.postgres import PostgresStore
    from carlien_pricing.service.replaying import replay_by_id

    found = []
    try:
        async with postgres.pool(settings, "carlien-pricing-replay") as pool:
            store = PostgresStore(pool, Outlet("", "", ""))
            for quote_id in dict.fromkeys([*quote_ids, *(await store.newest_quotes(newest) if newest else [])]):
                replay = await replay_by_id(store, JsonCodec(), quote_id)
                found.append(replay)
                if not as_json:
                    verdict = "same" if replay.same else "inputs differ" if not replay.same_inputs else "result differs"
                    say(f"{quote_id}: {verdict} (engine {replay.engine_version}, policies {replay.policies_version})")
    except NOT_YET as error:
        raise unavailable("DEPENDENCY_UNAVAILABLE", f"the database does not answer: {type(error).__name__}") from error
    differing = [replay for replay in found if not replay.same]
    if as_json:
        write_json(
            None,
            {
                "replayed": len(found),
                "differing": [
                    {"quote_id": replay.quote_id, "same_inputs": replay.same_inputs, "computed": replay.computed} for replay in differing
                ],
            },
        )
    return 1 if differing else 0
