"""Runs the benchmarks of one area or of all against the running stack: `make bench [B=area]`."""

import argparse
import asyncio
import importlib
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure, Session
from loan_scenario.clients import Clients, Stack

AREAS = ("valuation", "lien-registry", "lien-scale", "telematics", "pricing", "platform")


async def measured(areas: list[str], console: Console) -> list[Figure]:
    """Run each area's benchmark and return its figures."""
    stack = Stack.from_environment()
    clients = Clients(stack)
    figures: list[Figure] = []
    try:
        for area in areas:
            console.print(f"measuring {area} …")
            module = importlib.import_module(f"benchmarks.{area.replace('-', '_')}")
            figures += await module.run(Session(stack, clients, random.Random(1)))
    finally:
        await clients.close()
    return figures


def main() -> int:
    """Measure, print a table, write the file; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: make bench B=pricing")
    parser.add_argument("--area", choices=AREAS, help="only this one")
    parser.add_argument("--report", type=Path, default=Path(".local/bench.json"))
    arguments = parser.parse_args()
    console = Console(width=150 if not sys.stdout.isatty() else None)
    figures = asyncio.run(measured([arguments.area] if arguments.area else list(AREAS), console))
    table = Table("figure", "value", "reference", "ratio", "target", "met")
    for figure in figures:
        reference = "" if figure.reference is None else f"{figure.reference:,.4g}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
        met = "" if figure.met is None else ("yes" if figure.met else "NO")
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", reference, ratio, figure.target, met)
    console.print(table)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps([asdict(figure) for figure in figures], indent=2, ensure_ascii=False) + "\n")
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
