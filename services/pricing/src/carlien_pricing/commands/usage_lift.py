"""`carlien-pricing usage-lift`: what usage data could add to a borrower model, on a simulated market of known truth."""

import argparse
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json, write_text

EXAMPLE = """example:
  carlien-pricing usage-lift --effects 0,0.5,1 --report lift.json
  carlien-pricing usage-lift --effects 0.5 --out usage-model.json     # for CARLIEN_USAGE_MODEL_FILE

This is a measurement on our own simulator, not evidence about drivers: nobody has shown in public that driving predicts credit default.
Quote uses a model only where its file is configured and its validation is not older than a quarter."""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    parser = subparsers.add_parser(
        "usage-lift",
        help="lift of usage data, on a simulator",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--loans", type=int, default=20_000, metavar="N")
    parser.add_argument("--effects", default="0,0.5,1", metavar="LIST", help="scales of the true effect of usage; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the model fitted for the last of the effects")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures; 1 where a lift is found though there is none to find."""
    from carlien_common.domain.clock import utc_now
    from carlien_common.domain.errors import invalid
    from carlien_pricing.adapters.codec import to_json
    from carlien_pricing.training.usage import SOURCE, measure_lift

    try:
        effects = [float(text) for text in arguments.effects.split(",")]
    except ValueError as error:
        raise invalid("effects", "NUMBER_INVALID", "--effects takes numbers, comma-separated") from error
    if not 2000 <= arguments.loans <= 1_000_000:
        raise invalid("loans", "NUMBER_OUT_OF_RANGE", "--loans must be 2,000 to 1,000,000")
    found = [measure_lift(arguments.loans, effect, arguments.seed, utc_now().date()) for effect in effects]
    rows = [report for report, _ in found]
    write_json(arguments.report, {"data_source": SOURCE, "effects": rows})
    if arguments.out:
        write_text(arguments.out, to_json(found[-1][1]) + "\n")
    for row in rows:
        low, high = row["auc_lift_95"]
        say(
            f"true effect {row['usage_effect']}: AUC {row['without_usage']['auc']:.4f} -> {row['with_usage']['auc']:.4f} "
            f"(lift {row['auc_lift']:+.4f}, 95 % {low:+.4f} to {high:+.4f}; the truth itself {row['truth']['auc']:.4f})"
        )
    return 1 if any(row["usage_effect"] == 0 and row["found"] for row in rows) else 0
