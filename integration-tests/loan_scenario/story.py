"""Runs the scenario and tells it to a person: `python -m loan_scenario.story` (that is what `make demo` does)."""

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
from rich.console import Console

from loan_scenario.clients import Clients, Stack, error_reason
from loan_scenario.drive import Drive
from loan_scenario.steps import STEPS, Loan, StepFailed

REPORT_SCHEMA = "carlien.demo-report/1"


@dataclass(frozen=True)
class StepOutcome:
    """How one step went."""

    name: str
    ok: bool
    seconds: float


async def run(console: Console, seed: int | None) -> tuple[Loan, list[StepOutcome]]:
    """Run every step in order, printing each; stops at the first that fails."""
    stack = Stack.from_environment()
    clients = Clients(stack)
    loan = Loan(stack, clients, random.Random(seed), Drive.find())
    console.print(f"\n[bold]One loan on car {loan.vin}[/bold], telematics from {loan.drive.source}\n")
    outcomes: list[StepOutcome] = []
    try:
        for number, (name, step) in enumerate(STEPS, start=1):
            began = time.perf_counter()
            try:
                sentence, ok = await step(loan), True
            except StepFailed as error:
                sentence, ok = str(error), False
            except grpc.aio.AioRpcError as error:
                sentence, ok = f"{error.code().name} {error_reason(error)[0]}: {error.details()}", False
            seconds = time.perf_counter() - began
            outcomes.append(StepOutcome(name, ok, round(seconds, 4)))
            mark = "[green]ok[/green]  " if ok else "[red]FAIL[/red]"
            console.print(f"{mark} {number:2d}. {name:<38} {seconds:7.3f} s   [dim]{sentence}[/dim]", highlight=False)
            if not ok:
                break
    finally:
        await clients.close()
    return loan, outcomes


def main() -> int:
    """Tell the story; 0 where every step is ok, 1 where one failed, 3 where the stack is not up."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: make demo")
    parser.add_argument("--report", type=Path, help="write the report as JSON to this file")
    parser.add_argument("--data-source", default="unknown", help="what valuation was trained on, for the report")
    parser.add_argument("--seed", type=int, help="make the VIN reproducible")
    arguments = parser.parse_args()
    console = Console(width=200 if not sys.stdout.isatty() else None)
    try:
        began = time.perf_counter()
        loan, outcomes = asyncio.run(run(console, arguments.seed))
    except KeyError as error:
        console.print(f"[red]the stack's address {error} is not in the environment:[/red] run `make up`, then `source .local/env`")
        return 3
    report = {
        "schema": REPORT_SCHEMA,
        "data_source": arguments.data_source,
        "total_s": round(time.perf_counter() - began, 3),
        "steps": [asdict(outcome) for outcome in outcomes],
        "lien_register_s": round(loan.lien_register_seconds, 4),
        "events": loan.events,
    }
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        console.print(f"\nreport: {arguments.report}")
    complete = len(outcomes) == len(STEPS) and all(outcome.ok for outcome in outcomes)
    if complete:
        console.print(
            f"[green]the loan ran from search to discharge in {report['total_s']} s[/green]; the lien took {report['lien_register_s']} s\n"
        )
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
