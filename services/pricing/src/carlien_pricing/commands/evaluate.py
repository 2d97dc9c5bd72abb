"""`carlien-pricing evaluate`: scorecard, challenger and baselines on the same folds of a loan file."""

import argparse
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json, write_text

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
    parser.add_argument("--html", type=Path, metavar="HTML", help="a page with the reliability plot")
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
    if arguments.html:
        write_text(arguments.html, _page(report))
    if arguments.json and arguments.report:
        write_json(None, report)
    others = ", ".join(f"{name} {found['auc']:.4f}" for name, found in report["baselines"].items())
    say(
        f"AUC {report['auc']:.4f} ({others}; challenger {report['challenger']['auc']:.4f}), KS {report['ks']:.3f}, "
        f"calibration slope {report['calibration_slope']:.3f}, monotone {report['monotone']}"
    )
    return 0 if report["passed"] else 1


def _page(report: dict[str, Any]) -> str:
    """The report for people: measures side by side, and how well predicted default rates come true."""
    from carlien_pricing.commands.report import plot, render

    models = {"scorecard": report, "points alone": report["points_alone"], "challenger": report["challenger"], **report["baselines"]}
    header = ["model", "auc", "gini", "ks", "brier", "log_loss", "calibration_slope", "calibration_intercept"]
    measured = {
        "title": "Out of fold",
        "header": header,
        "rows": [[name, *(f"{found[measure]:.4f}" for measure in header[1:])] for name, found in models.items()],
    }
    bins = report["reliability"]

    def draw(axes: Any) -> None:
        predicted, observed = [part["predicted"] for part in bins], [part["observed"] for part in bins]
        # Twice the standard error of a share: what chance alone allows.
        error = [2 * (part["observed"] * (1 - part["observed"]) / part["n"]) ** 0.5 for part in bins]
        top = 1.05 * max(*predicted, *observed)
        axes.plot([0, top], [0, top], color="#9aa7b2", linewidth=1, label="perfect")
        axes.errorbar(predicted, observed, yerr=error, fmt="o", color="#2f6f9f", capsize=3, label="tenths of the loans, ±2 s.e.")
        axes.set_xlabel("predicted probability of default")
        axes.set_ylabel("observed default rate")
        axes.legend(frameon=False)

    without = ", ".join(report["attributes_without_direction"]) or "none"
    note = (
        f"{report['description']}: {report['n']} loans, {report['default_rate']:.1%} defaults, {report['folds']} folds, "
        f"seed {report['seed']}. Refined in {report['refined_folds']} folds; attributes without a direction: {without}. "
        f"PSI in and out of sample {report['psi']:.4f}."
    )
    return render("Borrower model", note, [measured], [plot("Reliability", draw)])
