"""`carlien-valuation predict`: one appraisal per listing."""

import argparse
import csv
from datetime import date
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import add_listings, load, quiet_tensorflow, say

EXAMPLE = """example:
  carlien-valuation predict --model models/uk --listings new.csv --mapping mappings/uk100k.yaml --out values.csv

Columns: row (file:line), p10, p50, p90 in the model's currency, abstained (true or false), reason. Rows that can't be read are
abstained from with their reason; so are makes the model doesn't know. UNKNOWN_MODEL beside a value: valued from its make and text,
with a wider interval."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "predict", help="value listings with a trained model", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    add_listings(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="CSV")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict; 0 also where some rows are abstained from."""
    quiet_tensorflow()
    from carlien_valuation.training.predict import predict_table
    from carlien_valuation.training.store import load_model

    model = load_model(arguments.model)
    table, _ = load(arguments.listings, arguments.mapping)
    answers = predict_table(model, table, date.fromisoformat(model.card["data"]["cutoff"]))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "p10", "p50", "p90", "abstained", "reason"])
        for answer in answers:
            writer.writerow([answer.row, *(("", "", "") if answer.values is None else (f"{value:.2f}" for value in answer.values)),
                             "true" if answer.values is None else "false", answer.reason])  # fmt: skip
    abstained = sum(answer.values is None for answer in answers)
    say(f"{len(answers)} listings, {abstained} abstained; written to {arguments.out}")
    return 0
