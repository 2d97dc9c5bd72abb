"""`carlien-valuation calibrate`: the model in service, and those that would replace it, against realised prices."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid
from carlien_valuation.commands.options import quiet_tensorflow, say, write_json

EXAMPLE = """example:
  carlien-valuation calibrate --model models/current --challenger models/candidate --from 2026-07-01 --to 2026-09-30 --report q3.json
  carlien-valuation calibrate --model models/current --sales auctions.csv --mapping auctions.yaml --report q3.json --out models/recalibrated

Sales come from the database (CARLIEN_POSTGRES_DSN; see `outcomes import`), where the report is stored too, or from a file. Only cars
sold after a model's data cutoff judge it. --out writes the model with recalibrated intervals; `models promote` puts one in service. The
rule that decides is written down in docs/model-risk.md. Exit code 1 where a light is red."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "calibrate", help="judge models by realised prices", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="DIR", help="the model in service")
    add("--challenger", action="append", default=[], type=Path, metavar="DIR", help="a model that would replace it; may be repeated")
    add("--from", dest="first", metavar="YYYY-MM-DD", help="first day of sales (default: the day after the model's cutoff)")
    add("--to", dest="last", metavar="YYYY-MM-DD", help="last day of sales (default today, UTC)")
    add("--sales", nargs="+", metavar="FILE", help="a file of sales instead of the database's")
    add("--mapping", type=Path, metavar="YAML", help="its mapping")
    add("--region", default="all", help="region of the published index that values move with (default all)")
    add("--policy", type=Path, metavar="YAML", help="appraisal policy instead of the shipped one")
    add("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    add("--out", type=Path, metavar="DIR", help="write the model with recalibrated intervals, where the report advises it")
    add("--json", action="store_true", help="print the report also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate; 1 where a light is red."""
    quiet_tensorflow()
    from carlien_valuation.calibration.run import Task, calibrate

    if bool(arguments.sales) != bool(arguments.mapping):
        raise invalid("mapping", "MAPPING_NEEDED", "--sales and --mapping go together")
    task = Task(
        model=arguments.model,
        challengers=tuple(arguments.challenger),
        first=_day(arguments.first, "from"),
        last=_day(arguments.last, "to"),
        sales=tuple(arguments.sales or ()),
        mapping=arguments.mapping,
        region=arguments.region,
        policy=arguments.policy,
        out=arguments.out,
    )
    done = calibrate(task)
    write_json(arguments.report, done.report)
    if arguments.json and arguments.report:
        write_json(None, done.report)
    report = done.report
    say(f"{report['model_version']}: {report['sales']} of {report['outcomes']} sales, light {report['light']}, verdict {report['verdict']}")
    if report["measures"]:
        found = report["measures"]
        say(f"  MAPE {100 * found['mape']:.2f} %, bias {100 * found['bias']:+.2f} %, coverage {100 * found['coverage80']:.1f} %")
    for one in report["challengers"]:
        verdict = "better" if one["promoted"] else f"refused: {', '.join(one['reasons'])}"
        say(f"  challenger {one['model_version']}: {one['sales']} sales, {verdict}")
    if done.recalibrated:
        say(f"  recalibrated as {done.recalibrated} in {arguments.out}")
    say(f"  report {done.sha256}{' stored' if done.stored else ''}")
    return 1 if report["light"] == "RED" else 0


def _day(text: str | None, field: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise invalid(field, "DATE_FORMAT", f"{text!r} is no day such as 2026-09-30") from None
