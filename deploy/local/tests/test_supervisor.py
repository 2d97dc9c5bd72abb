"""A real supervisor over real processes."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from carlien_local import stack, supervisor
from carlien_local.processes import ProcessSpec, end
from carlien_local.starting import Starter, answers

T = TypeVar("T")
SLEEP = ProcessSpec("part", ("sleep", "300"))


def until(condition: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def kill(starter: Starter, name: str) -> int:
    pid = starter.processes.find(name)
    assert pid
    end(pid, signal.SIGKILL, 10.0)
    return pid


def successor(starter: Starter, name: str, old: int) -> int:
    def other() -> int | None:
        pid = starter.processes.find(name)
        return None if pid == old else pid

    return until(other)


def test_a_killed_part_comes_back_although_the_supervisor_did_not_start_it(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    stack.supervise(starter)
    old = kill(starter, "part")
    new = successor(starter, "part", old)
    assert int(starter.processes.pid_file("part").read_text()) == new
    # And again, now as the supervisor's own child.
    successor(starter, "part", kill(starter, "part"))
    rows = {row.name: row for row in stack.status(starter.processes, starter.layout)}
    until(lambda: (starter.layout.run / "part.restarts").read_text().strip() == "2")
    assert rows["part"].state == "running"


def test_a_part_that_was_stopped_by_hand_stays_down_until_it_is_started(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    starter.ensure(ProcessSpec("other", ("sleep", "300")), lambda: True)
    stack.supervise(starter)
    starter.processes.hold("part").touch()
    starter.processes.stop("part", kill=True)
    successor(starter, "other", kill(starter, "other"))  # the supervisor has looked at both since
    assert starter.processes.find("part") is None
    assert next(row.state for row in stack.status(starter.processes, starter.layout) if row.name == "part") == "stopped"
    stack.start_again(starter, "part")
    successor(starter, "part", kill(starter, "part"))


def test_a_start_by_hand_and_the_supervisor_never_both_start_a_part(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    stack.supervise(starter)
    for version in range(8):
        # Dead at this moment, so that both want to start it.
        kill(starter, "part")
        starter.ensure(dataclasses.replace(SLEEP, version=str(version)), lambda: True)
        assert len([part for _, part in starter.processes.sweep() if part == "part"]) == 1
    # And the supervisor still watches what it didn't start.
    successor(starter, "part", kill(starter, "part"))


def test_the_parts_outlive_the_supervisor(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    pid = starter.processes.find("part")
    stack.supervise(starter)
    kill(starter, supervisor.NAME)
    until(lambda: starter.processes.find(supervisor.NAME) is None)
    assert starter.processes.find("part") == pid
    stack.supervise(starter)
    successor(starter, "part", kill(starter, "part"))


def test_a_part_that_cannot_be_started_does_not_end_the_supervisor(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    starter.processes.save(ProcessSpec("broken", ("/missing",)))
    stack.supervise(starter)
    log = starter.layout.log(supervisor.NAME)
    until(lambda: "broken can't be started" in log.read_text())
    successor(starter, "part", kill(starter, "part"))


TELLS = """
import http.server, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f'other 0\\nleader{{channel="c"}} {pathlib.Path("gauge").read_text()}\\n'.encode())
http.server.HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"""


def test_a_part_that_runs_but_tells_that_it_hangs_is_restarted(starter: Starter, tmp_path: Path) -> None:
    port = starter.layout.port("prometheus")
    gauge = tmp_path / "gauge"
    gauge.write_text("1")
    program = (sys.executable, "-c", TELLS.replace("PORT", str(port)))
    spec = ProcessSpec("part", program, cwd=str(tmp_path), probe=str(port), gauge=f"{port}/metrics leader", hanging_s=3.0)
    starter.ensure(spec, lambda: answers(spec))
    stack.supervise(starter)
    old = starter.processes.find("part")
    assert old
    time.sleep(2 * supervisor.GAUGE_LOOK_S + spec.hanging_s)
    assert starter.processes.find("part") == old
    gauge.write_text("0")
    successor(starter, "part", old)
    gauge.write_text("1")
    assert "leader has been 0 for" in starter.layout.log(supervisor.NAME).read_text()


def test_a_part_that_dies_at_once_is_restarted_with_growing_delays(starter: Starter) -> None:
    starter.processes.save(ProcessSpec("part", ("false",)))
    stack.supervise(starter)
    log = starter.layout.log(supervisor.NAME)
    until(lambda: log.read_text().count("ended with status 1") >= 3)
    delays = [line.rpartition("in ")[2] for line in log.read_text().splitlines() if "ended with" in line]
    assert delays[:3] == ["0.5 s", "1.0 s", "2.0 s"]
