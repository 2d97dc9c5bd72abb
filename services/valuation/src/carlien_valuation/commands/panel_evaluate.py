"""`carlien-valuation panel-evaluate`: residual forecasts at past origins, scored on what came after."""

import argparse
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_valuation.commands.options import quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation panel-evaluate --panel panel.csv --mapping mappings/fipe_monthly_panel.yaml \\
      --origin 2024-06,2024-09 --horizons 6,12 --report report.json

Every method is fitted on what is known at the end of the origin's month. Scores are percentages; pinball is the mean
quantile loss of log price at P10, P50, P90, in percent. `champion` is what carlien would have answered. Exit code 1
where it is no better than the static curve per make."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "panel-evaluate",
        help="score residual forecasts on a panel of repeated prices",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--panel", required=True, nargs="+", metavar="FILE", help="CSV files or globs (also .gz): a price per series and month")
    add("--mapping", required=True, type=Path, metavar="YAML", help="mapping with a `panel` section (see schemas/panel.schema.json)")
    add("--origin", required=True, metavar="YYYY-MM[,…]", help="months at whose end a forecast is made; A..B: every month with prices")
    add("--horizons", default="6,12", metavar="MONTHS[,…]", help="months ahead (default 6,12)")
    add("--seeds", type=int, default=3, metavar="N", help="networks and boosters averaged per fit (default 3)")
    add("--mark-sample", type=int, default=200, metavar="N", help="current prices a mark-to-market learns from (default 200)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; 0 where the champion beats the static curve per make on average over origins, at every horizon, else 1."""
    quiet_tensorflow()
    from carlien_valuation.listings.read import expand
    from carlien_valuation.series.evaluate import Question, evaluate_panel
    from carlien_valuation.series.read import load_panel_mapping, read_panel

    horizons = _horizons(arguments.horizons)
    mapping = load_panel_mapping(arguments.mapping)
    read = read_panel(expand(arguments.panel), mapping)
    panel = read.panel
    say(f"{read.rows_read} rows, {panel.n_series} series, {len(panel.observed)} months")
    say(f"{read.duplicates} duplicates, {read.rejections.total} rows rejected")
    origins = _origins(arguments.origin, [panel.first_month + int(column) for column in panel.observed])
    question = Question(origins, horizons, tuple(range(1, arguments.seeds + 1)), mark_sample=arguments.mark_sample)
    report = evaluate_panel(panel, mapping, question, say)
    report |= {
        "rows_read": read.rows_read,
        "duplicates": read.duplicates,
        "rejected_rows": dict(read.rejections.counts),
        "rejected_examples": read.rejections.examples,
    }
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    return 0 if all(_wins(overall) for overall in report["overall"]) else 1


def _wins(overall: dict[str, Any]) -> bool:
    methods = overall["methods"]
    ordered = sorted(((name, scores) for name, scores in methods.items() if name != "champion"), key=lambda item: item[1]["mape"])
    say(
        f"{overall['horizon_months']} months, {overall['origins']} origins: champion MAPE {methods['champion']['mape']:.3f} %, coverage "
        f"{methods['champion']['coverage80']:.1f} %, pinball {methods['champion']['pinball']:.3f}; "
        + ", ".join(f"{name} {scores['mape']:.3f}" for name, scores in ordered)
    )
    return bool(methods["champion"]["mape"] < methods["static_per_make"]["mape"])


def _horizons(text: str) -> tuple[int, ...]:
    try:
        horizons = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise invalid("horizons", "HORIZON_FORMAT", f"{text!r} is no list of whole months such as 6,12") from None
    if horizons[0] < 1 or horizons[-1] > 120:
        raise invalid("horizons", "HORIZON_RANGE", f"horizons lie between 1 and 120 months, not {text}")
    return horizons


def _origins(text: str, months: list[int]) -> tuple[int, ...]:
    from carlien_valuation.series.panel import parse_month

    chosen: list[int] = []
    for part in text.split(","):
        try:
            ends = [parse_month(end.strip()) for end in part.split("..")]
        except ValueError:
            raise invalid("origin", "ORIGIN_FORMAT", f"{part!r} is no month such as 2024-06, nor a range of them") from None
        chosen += ends if len(ends) == 1 else [month for month in months if ends[0] <= month <= ends[-1]]
    return tuple(chosen)
