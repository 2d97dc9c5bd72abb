"""`carlien-valuation train`: listings to a model directory."""

import argparse
import time
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import add_listings, load, peak_memory_mib, progress, quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation train --listings 'uk100k/*.csv' --mapping mappings/uk100k.yaml --out models/uk --seed 1

Writes MODEL.md (the card), model.json and the model's files. An existing model directory is replaced only once the new one is complete.
Exit code 1 where the new model doesn't beat a per-model depreciation line; it is then not put in place (see --force)."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "train", help="train an appraisal model", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_listings(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the model directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few percent worse in a fifth of the time, for demonstrations")
    parser.add_argument("--force", action="store_true", help="put the model in place even if it loses against the depreciation line")
    parser.add_argument("--json", action="store_true", help="print model.json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 where the model is in place."""
    quiet_tensorflow()
    import shutil

    from carlien_common.domain.errors import invalid
    from carlien_valuation.training.stack import FULL, QUICK
    from carlien_valuation.training.train import train

    out: Path = arguments.out
    if out.is_symlink():
        raise invalid("out", "OUT_IS_LINK", f"{out} is what a model store has in service: train beside it, then `models promote`")
    if out.exists() and any(out.iterdir()) and not (out / "model.json").exists():
        raise invalid("out", "OUT_NOT_EMPTY", f"{out} holds something that is not a model; it is left alone")
    started = time.monotonic()
    table, mapping = load(arguments.listings, arguments.mapping)
    say(f"{table.rows_read} rows read, {table.rejections.total} rejected so far")
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    synthetic = mapping.description.startswith("Simulated")
    card = train(
        table, mapping, fresh, seed=arguments.seed, progress=progress, synthetic=synthetic, effort=QUICK if arguments.quick else FULL
    )
    scores, line = card["out_of_fold"], card["depreciation_baseline"]
    better = scores["mape"] < line["mape"]
    if table.rejections.total:
        say(f"{table.rejections.total} rows rejected: {table.rejections.summary()}")
    say(
        f"model {card['model_version']}: {card['data']['rows']} cars, out-of-fold MAPE {scores['mape']:.2f} % "
        f"(depreciation line {line['mape']:.2f}), "
        f"coverage {scores['coverage80']:.1f} %, {time.monotonic() - started:.0f} s, {peak_memory_mib()} MiB"
    )
    if arguments.json:
        write_json(None, card)
    if not better and not arguments.force:
        say(f"it loses against the depreciation line and is left in {fresh}")
        return 1
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return 0
