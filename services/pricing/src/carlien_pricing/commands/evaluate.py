"""`carlien-pricing evaluate`: scorecard, challenger and baselines on the same folds of a loan file."""

import argparse
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json

EXAMPLE = """example:
  carlien-pricing evaluate --loans CreditScoring.csv --mapping mappings/creditscoring_es.yaml --report report.json

The measures at the top level are the scorecard's, out of fold. Exit code 1 where it isn't monotone, its AUC is below 99 % of the
better baseline's, or its calibration slope is outside 0.9 to 1.1."""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    parser = subparsers.add_parser(
        "evaluate", help="measure the borrower model on a loan file", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loans", type=Path, required=True, metavar="CSV")
    parser.add_argument("--mapping", type=Path, required=True, metavar="YAML")
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.add_argument("--folds", type=int, default=5, choices=range(2, 21), metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the report also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where the scorecard keeps its targets, else 1."""
    from carlien_pricing.training.evaluate import evaluate
    from carlien_pricing.training.loans import read_loans, read_mapping

    mapping = read_mapping(arguments.mapping)
    loans = read_loans(arguments.loans, mapping)
    report = evaluate(loans, mapping.get("ratios", {}), arguments.seed, arguments.folds, say)
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    others = ", ".join(f"{name} {found['auc']:.4f}" for name, found in report["baselines"].items())
    say(
        f"AUC {report['auc']:.4f} ({others}; challenger {report['challenger']['auc']:.4f}), KS {report['ks']:.3f}, "
        f"calibration slope {report['calibration_slope']:.3f}, monotone {report['monotone']}"
    )
    return 0 if report["passed"] else 1
