"""`carlien-insight`: how good the detectors and the battery estimate are, done again by anyone."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from carlien_common import command_line
from carlien_telematics.commands.baticm import evaluate, read_packs
from carlien_telematics.domain.alerts.signals import FALSE_ALARM_BUDGET, AlertKind
from carlien_telematics.simulator.scenario import Scenario, read_scenario
from carlien_telematics.simulator.validation import MEASURED, Outcome, run_car

CHOSEN_ON = (1, 2, 3, 101, 102, 301, 302)
"""Seeds that thresholds were chosen on, or mended after; a report on them is refused."""
TARGET_RECALL = 0.98
TARGETED = (AlertKind.TOW, AlertKind.DEVICE_REMOVED, AlertKind.ODOMETER_ROLLBACK)
TARGET_NATURE = 0.95
_EXAMPLE = """examples:
  carlien-insight battery --data ../shared/data/battery/baticm_10ev
  carlien-insight detection --seeds 401,402 --cars 100 --days 30 --report detection.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where every target is met, 1 where one is missed, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="carlien-insight", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    battery = commands.add_parser("battery", help="state of health against packs whose capacity was measured")
    data = Path(os.environ.get("CARLIEN_DATA", "../shared/data")) / "battery" / "baticm_10ev"
    battery.add_argument("--data", type=Path, default=data, help="folder with vehicles.csv and vehicle_NN.csv")
    detection = commands.add_parser("detection", help="alerts and nature of use against what the simulator knows")
    detection.add_argument("--scenario", type=Path, help="scenario file (default: the one that is shipped)")
    detection.add_argument("--seeds", default="401,402", help="comma-separated; not those that thresholds were chosen on")
    detection.add_argument("--cars", type=int, default=100, help="cars of each seed")
    detection.add_argument("--days", type=float, default=30.0)
    detection.add_argument("--workers", type=int, default=2, help="processes")
    for command in (battery, detection):
        command.add_argument("--report", type=Path, help="write the figures there, JSON")
        command.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    return asyncio.run(command_line.calling_exit_code("carlien-insight", lambda: _run(arguments, parser)))


async def _run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if arguments.command == "battery":
        report = evaluate(read_packs(arguments.data))
        report["met"] = report["coverage80_stretches"] >= 0.75 and report["mae_whole_charge"] <= 3.0
    else:
        try:
            seeds = [int(seed) for seed in arguments.seeds.split(",")]
        except ValueError:
            parser.error("--seeds are numbers, separated by commas")
        if set(seeds) & set(CHOSEN_ON):
            parser.error(f"thresholds were chosen on seeds {CHOSEN_ON}: report on others")
        if min(arguments.cars, arguments.days, arguments.workers) <= 0:
            parser.error("--cars, --days and --workers must be positive")
        path = arguments.scenario or Path(str(files("carlien_telematics").joinpath("simulator/scenarios/detection.yaml")))
        report = figures(measured(read_scenario(path), seeds, arguments.cars, arguments.days, arguments.workers))
    text = json.dumps(report, indent=2)
    if arguments.report:
        arguments.report.write_text(text + "\n")
    sys.stdout.write((text if arguments.json else _table(report)) + "\n")
    return command_line.OK if report["met"] else command_line.NEGATIVE


def measured(scenario: Scenario, seeds: Sequence[int], cars: int, days: float, workers: int) -> Outcome:
    """All cars of all seeds."""
    outcome = Outcome()
    tasks = [(seed, car) for seed in seeds for car in range(cars)]
    with ProcessPoolExecutor(workers) as pool:
        for one in pool.map(partial(_one, scenario, days), tasks, chunksize=4):
            outcome.add(one)
    return outcome


def _one(scenario: Scenario, days: float, task: tuple[int, int]) -> Outcome:
    return run_car(scenario, *task, days)


def figures(outcome: Outcome) -> dict[str, Any]:
    """Figures of an outcome, and whether the targets are met."""
    kinds: dict[str, dict[str, Any]] = {}
    for kind in MEASURED:
        recall = outcome.recall(kind)
        kinds[kind.value] = {
            "expected": outcome.expected[kind],
            "recall": None if recall is None else round(recall, 4),
            "false": outcome.false[kind],
            "false_per_100_car_months": round(outcome.false_per_100(kind), 2),
            "budget_per_100_car_months": FALSE_ALARM_BUDGET[kind],
        }
    nature = outcome.balanced_accuracy() if outcome.nature else None
    hit = all(kinds[kind.value]["recall"] is None or kinds[kind.value]["recall"] >= TARGET_RECALL for kind in TARGETED)
    quiet = all(entry["false_per_100_car_months"] <= entry["budget_per_100_car_months"] for entry in kinds.values())
    return {
        "car_months": round(outcome.car_months, 1),
        "records": outcome.records,
        "kinds": kinds,
        "confusion": {f"{true} -> {found}": count for (true, found), count in sorted(outcome.confusion.items())},
        "usage_nature_balanced_accuracy": None if nature is None else round(nature, 4),
        "usage_nature_confusion": {f"{true} -> {found}": count for (true, found), count in sorted(outcome.nature.items())},
        "met": hit and quiet and (nature is None or nature >= TARGET_NATURE),
    }


def _table(report: dict[str, Any]) -> str:
    lines = []
    for name, value in report.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            for key, entry in value.items():
                shown = "  ".join(f"{k}={v}" for k, v in entry.items()) if isinstance(entry, dict) else entry
                lines.append(f"  {key:34} {shown}")
        elif isinstance(value, list):
            lines.append(f"{name}:")
            lines += ["  " + "  ".join(f"{k}={v}" for k, v in entry.items()) for entry in value]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
