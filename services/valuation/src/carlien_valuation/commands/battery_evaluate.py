"""`carlien-valuation battery-evaluate`: forecasts of battery health on cells left out of training."""

import argparse
from pathlib import Path
from typing import Any

from carlien_valuation.commands.options import say, write_json

EXAMPLE = """example:
  carlien-valuation battery-evaluate --cells capacity_by_cycle.csv.gz --mapping mappings/cell_ageing.yaml --report battery.json

Errors are percentage points of state of health. Exit code 1 where a baseline (last value, linear, linear over the recent half, square
root) has a smaller mean error on the same forecasts."""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "battery-evaluate",
        help="score battery health forecasts on cells left out",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cells", required=True, nargs="+", metavar="FILE", help="CSV files or globs (also .gz) of capacity by cycle")
    add(
        "--mapping",
        required=True,
        type=Path,
        metavar="YAML",
        help="which columns are cell, cycle, capacity, group (schemas/cells.schema.json)",
    )
    add("--folds", type=int, default=5, help="parts the cells are dealt to (default 5)")
    add("--seed", type=int, default=1)
    add("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    add("--json", action="store_true", help="print the report as JSON also where --report is given")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; 0 where the model beats all baselines."""
    from carlien_valuation.battery.cells import load_cell_mapping, read_cells
    from carlien_valuation.battery.evaluate import evaluate
    from carlien_valuation.listings.read import expand

    mapping = load_cell_mapping(arguments.mapping)
    read = read_cells(expand(arguments.cells), mapping)
    say(f"{read.rows_read} rows, {len(read.cells)} cells, {read.too_short} too short, {read.rejections.total} rows rejected")
    report = evaluate(read.cells, folds=arguments.folds, seed=arguments.seed, say=say)
    report |= {"rows_read": read.rows_read, "cells_too_short": read.too_short, "rejected_rows": dict(read.rejections.counts)}
    write_json(arguments.report, report)
    if arguments.json and arguments.report:
        write_json(None, report)
    for name in ("cells_left_out", "leave_group_out"):
        if name in report:
            overall = report[name]["overall"]
            lines = ", ".join(f"{method} {mae:.2f}" for method, mae in overall["baselines_mae"].items())
            say(f"{name}: MAE {overall['mae']:.2f} pp ({lines}), coverage {overall['coverage80']:.1f} %, width {overall['width80']:.2f} pp")
    best = report["cells_left_out"]["overall"]
    return 0 if best["mae"] < min(best["baselines_mae"].values()) else 1
