"""`carlien-local`: the stack on one machine. Exit codes: 0 ok, 1 something isn't running or failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from carlien_local import environment, graph, stack
from carlien_local.errors import Interrupted, StackError
from carlien_local.layout import find_layout
from carlien_local.starting import Starter

# A pipe or a log file has no width to fit into.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)


def main() -> None:
    """The console script."""
    arguments = _parser().parse_args()
    # A `kill` of `up` is treated like Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        layout = find_layout(arguments.state)
        code = arguments.verb(Starter(layout, lambda text: console.print(f"  {text}")), arguments)
    except Interrupted:
        code = 130
    except BrokenPipeError:  # the reader of our output has gone
        code = 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. What was started goes on running; `make down` ends it.")
        code = 130
    except (StackError, OSError) as error:
        _complain(error)
        code = 1
    sys.exit(code)


def up(starter: Starter, arguments: argparse.Namespace) -> int:
    """Start what isn't running, in order; the supervisor takes over whatever came of it."""
    layout = starter.layout
    begin = time.monotonic()
    with stack.locked(layout, starter):
        layout.create()
        layout.require_space()
        steps = stack.infrastructure(starter) if arguments.only == "infra" else stack.everything(starter)
        try:
            environment.write(layout)
            outcomes = graph.run(steps, done=_report, cancel=starter.cancel, waiting=_waiting)
        finally:
            stack.supervise(starter)
    failed = [outcome for outcome in outcomes if outcome.error]
    skipped = {step.name for step in steps} - {outcome.name for outcome in outcomes}
    if failed:
        also = f" Not tried: {', '.join(sorted(skipped))}." if skipped else ""
        console.print(f"[red]Not everything is up.[/red]{also} Mend the cause and run `make up` again.")
        return 1
    seconds = time.monotonic() - begin
    if any(outcome.changed for outcome in outcomes):
        console.print(f"The stack is up after {seconds:.1f} s. Addresses: {layout.env_file}")
    else:
        console.print(f"The stack was up already ({seconds:.1f} s to check). Addresses: {layout.env_file}")
    return 0


def down(starter: Starter, _arguments: argparse.Namespace) -> int:
    """End every process."""
    if not starter.layout.state.is_dir():
        console.print(f"Nothing to end: there is no {starter.layout.state}.")
        return 0
    begin = time.monotonic()
    with stack.locked(starter.layout, starter):
        ended = stack.down(starter)
    console.print(f"{ended} parts ended in {time.monotonic() - begin:.1f} s." if ended else "Nothing was running.")
    return 0


def reset(starter: Starter, _arguments: argparse.Namespace) -> int:
    """End every process and delete the state."""
    if starter.layout.state.is_dir():
        with stack.locked(starter.layout, starter):
            stack.reset(starter)
    console.print(f"{starter.layout.state} is empty: data, keys and logs are gone.")
    return 0


def status(starter: Starter, arguments: argparse.Namespace) -> int:
    """A table of the parts, or JSON."""
    rows = stack.status(starter.processes, starter.layout)
    healthy = bool(rows) and all(row.state == "running" for row in rows)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0 if healthy else 1
    if not rows:
        console.print("The stack is down. `make up` starts it.")
        return 1
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("part", "state", "pid", "ports", "up", "restarts"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        color = {"running": "green", "not ready": "yellow", "stopped": "yellow"}.get(row.state, "red")
        uptime = "" if row.uptime_s is None else _duration(row.uptime_s)
        ports = " ".join(map(str, row.ports))
        table.add_row(row.name, f"[{color}]{row.state}[/{color}]", str(row.pid or ""), ports, uptime, str(row.restarts or ""))
    console.print(table)
    return 0 if healthy else 1


def logs(starter: Starter, arguments: argparse.Namespace) -> int:
    """The end of a part's log, by tail(1)."""
    log = starter.layout.log(arguments.name)
    if not log.exists():
        present = ", ".join(sorted(path.stem for path in log.parent.glob("*.log"))) or "none yet"
        raise StackError(f"There is no log of {arguments.name!r}. Logs: {present}.")
    follow = ["-f"] if arguments.follow else []
    os.execvp("tail", ["tail", "-n", str(arguments.lines), *follow, str(log)])  # noqa: S606 - no shell is wanted


def stop(starter: Starter, arguments: argparse.Namespace) -> int:
    """Ends parts and keeps the supervisor from starting them again (fault tests: a broker that is gone for 20 s)."""
    with stack.locked(starter.layout, starter):
        for name in _known(starter, arguments.names):
            starter.processes.hold(name).touch()
            was = starter.processes.stop(name, kill=arguments.kill)
            console.print(f"{name} {'ended' if was else 'was not running'}")
    return 0


def start(starter: Starter, arguments: argparse.Namespace) -> int:
    """Start parts that were stopped, and wait until they accept connections."""
    with stack.locked(starter.layout, starter):
        for name in _known(starter, arguments.names):
            stack.start_again(starter, name)
            console.print(f"{name} runs as pid {starter.processes.find(name)}")
    return 0


def restart(starter: Starter, arguments: argparse.Namespace) -> int:
    """Stop and start parts."""
    arguments.kill = False
    return stop(starter, arguments) or start(starter, arguments)


def _known(starter: Starter, names: list[str]) -> list[str]:
    known = [name for name in starter.processes.names() if name != "supervisor"]
    for name in names:
        if name not in known:
            raise StackError(f"There is no part {name!r}. Parts: {', '.join(known) or 'none; run `make up`'}.")
    return names


def _report(outcome: graph.Outcome) -> None:
    if outcome.error is None:
        what = "ready" if outcome.changed else "ready, nothing to do"
        console.print(f"[green]✓[/green] {outcome.name:<18} {what} ({outcome.seconds:.1f} s)")
    elif not isinstance(outcome.error, Interrupted):
        _complain(outcome.error)


def _complain(error: Exception) -> None:
    # A log's last lines may look like markup.
    console.print(f"[red]✗[/red] {escape(str(error))}")


def _waiting(names: list[str], seconds: float) -> None:
    console.print(f"[dim]  … {', '.join(names)} ({seconds:.0f} s)[/dim]")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carlien-local",
        description="The whole carlien stack on one machine, from native processes.",
        epilog="Example: CARLIEN_PORT_BASE=22000 carlien-local --state /tmp/second up",
    )
    parser.add_argument("--state", type=Path, help="state directory (default: .local in the checkout)")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(verb: Callable[[Starter, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(verb.__name__, help=text, description=text)
        command.set_defaults(verb=verb)
        return command

    command = add(up, "start what isn't running, in order, and wait until it is ready")
    command.add_argument("--only", choices=("infra", "all"), default="all", help="infra: without carlien's services")
    add(down, "end every process; data are kept")
    add(reset, "end every process and delete all data, keys and logs")
    command = add(status, "what runs where; exit code 1 when something doesn't")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command = add(logs, "the end of a part's log")
    command.add_argument("name")
    command.add_argument("-f", "--follow", action="store_true", help="and what is appended")
    command.add_argument("-n", "--lines", type=int, default=50)
    command = add(stop, "end parts and keep them down")
    command.add_argument("names", nargs="+", metavar="NAME")
    command.add_argument("--kill", action="store_true", help="kill -9 instead of a request to end")
    for verb, text in ((start, "start parts that were stopped"), (restart, "stop and start parts")):
        add(verb, text).add_argument("names", nargs="+", metavar="NAME")
    return parser


if __name__ == "__main__":
    main()
