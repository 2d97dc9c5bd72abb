"""A real supervisor over real processes."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable
from typing import TypeVar

from carlien_local import stack, supervisor
from carlien_local.processes import ProcessSpec, end
from carlien_local.starting import Starter

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


def test_a_part_that_dies_at_once_is_restarted_with_growing_delays(starter: Starter) -> None:
    starter.processes.save(ProcessSpec("part", ("false",)))
    stack.supervise(starter)
    log = starter.layout.log(supervisor.NAME)
    until(lambda: log.read_text().count("ended with status 1") >= 3)
    delays = [line.rpartition("in ")[2] for line in log.read_text().splitlines() if "ended with" in line]
    assert delays[:3] == ["0.5 s", "1.0 s", "2.0 s"]
