"""`carlien-valuation evaluate`: train and score on one split, beside the baselines on the same split."""

import argparse
import time
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import add_listings, load, peak_memory_mib, progress, quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation evaluate --listings 'uk100k/*.csv' --mapping mappings/uk100k.yaml --split group --seed 1 --report report.json

All measures are percentages (mape 6.2 means 6.2 %): mape, mdape, p90ape, bias, ppe10, ppe20, fsd, coverage80 (share of prices
in [p10, p90]), rel_width80 (mean of (p90 - p10) / p50); makes_off_coverage are makes of 200 cars or more whose coverage is further
from 80 % than three standard errors. Exit code 1 where the model doesn't beat the depreciation baseline."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "evaluate", help="train and score on one split", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_listings(parser)
    parser.add_argument(
        "--split",
        choices=("auto", "time", "group"),
        default="auto",
        help="auto: by time where dates spread over 60 days, else grouped by fingerprint",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--splits", type=int, default=1, metavar="N", help="the mean over N splits, of seeds from --seed on")
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.add_argument("--sample", type=int, metavar="N", help="use N random rows only")
    parser.add_argument("--free", action="store_true", help="also without the monotone guarantee, to measure what it costs")
    parser.add_argument("--json", action="store_true", help="print the report as JSON also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; 0 where the model beats the depreciation baseline, else 1."""
    quiet_tensorflow()
    from carlien_valuation.training.evaluate import evaluate

    started = time.monotonic()
    table, _ = load(arguments.listings, arguments.mapping)
    say(f"{table.rows_read} rows read in {time.monotonic() - started:.0f} s")
    report = evaluate(
        table,
        split_kind=arguments.split,
        seeds=range(arguments.seed, arguments.seed + max(arguments.splits, 1)),
        sample=arguments.sample,
        compare_free=arguments.free,
        progress=progress,
    )
    report["seconds"] = round(time.monotonic() - started, 1)
    report["peak_memory_mib"] = peak_memory_mib()
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    boosted, line = report["baselines"]["lightgbm"], report["baselines"]["depreciation"]
    say(
        f"{report['split']} split: MAPE {report['mape']:.2f} % (LightGBM {boosted['mape']:.2f}, depreciation {line['mape']:.2f}), "
        f"coverage {report['coverage80']:.1f} %, width {report['rel_width80']:.1f} % (LightGBM {boosted['rel_width80']:.1f}), "
        f"{report['seconds']:.0f} s, {report['peak_memory_mib']} MiB"
        + (f"; without the guarantee MAPE {report['free']['mape']:.2f} %" if "free" in report else "")
    )
    return 0 if report["mape"] < line["mape"] else 1
