from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carlien_local import processes as module
from carlien_local.layout import Layout
from carlien_local.processes import Processes, ProcessSpec

SLEEP = ProcessSpec("part", ("sleep", "300"))
STUBBORN = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
time.sleep(300)
"""


def test_the_pid_file_holds_the_pid_of_the_process_itself(processes: Processes) -> None:
    pid = processes.spawn(SLEEP)
    assert int(processes.pid_file("part").read_text()) == pid == processes.find("part")
    assert os.readlink(f"/proc/{pid}/exe").endswith("sleep")


def test_a_recycled_pid_is_not_mistaken_for_the_part(processes: Processes) -> None:
    processes.pid_file("part").write_text(f"{os.getpid()}\n")
    assert processes.find("part") is None
    assert not processes.stop("part")


def test_a_part_is_found_without_its_pid_file(processes: Processes) -> None:
    pid = processes.spawn(SLEEP)
    processes.pid_file("part").unlink()
    assert processes.find("part") == pid
    assert int(processes.pid_file("part").read_text()) == pid


def test_an_ended_part_is_not_found_even_before_it_is_reaped(processes: Processes) -> None:
    pid = processes.spawn(SLEEP)
    os.kill(pid, signal.SIGKILL)
    handle = os.pidfd_open(pid)
    os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
    os.close(handle)
    assert processes.find("part") is None
    assert processes.exit_status(pid) == -signal.SIGKILL


def test_a_part_of_another_state_directory_is_not_ours(processes: Processes, layout: Layout) -> None:
    other = Processes(Layout(layout.root, layout.state / "other", layout.port_base, layout.cache))
    other._layout.create()
    other.spawn(SLEEP)
    try:
        assert processes.find("part") is None
    finally:
        other.stop("part", kill=True)


def test_variables_of_the_caller_do_not_reach_a_part(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "of another stack")
    pid = processes.spawn(ProcessSpec("part", ("sleep", "300"), env={"CARLIEN_ORG": "org1"}))
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
    assert b"CARLIEN_ORG" in names
    assert b"KAFKA_BOOTSTRAP" not in names


def test_a_part_that_ignores_the_request_is_killed_with_its_children(processes: Processes) -> None:
    spec = ProcessSpec("part", (sys.executable, "-c", STUBBORN), stop_timeout_s=0.2)
    processes.save(spec)
    processes.spawn(spec)
    log = processes._layout.log("part")
    _until(lambda: log.read_text().strip())
    assert processes.stop("part")
    child = int(log.read_text())
    _until(lambda: not _alive(child))
    assert processes.find("part") is None
    assert not processes.pid_file("part").exists()


def test_children_that_outlive_a_killed_part_are_neither_taken_for_it_nor_left(processes: Processes) -> None:
    spec = ProcessSpec("part", (sys.executable, "-c", STUBBORN))
    pid = processes.spawn(spec)
    log = processes._layout.log("part")
    _until(lambda: log.read_text().strip())
    child = int(log.read_text())
    module.end(pid, signal.SIGKILL, 10.0)
    processes.pid_file("part").unlink()
    assert processes.find("part") is None
    assert _alive(child)
    processes.spawn(SLEEP)
    _until(lambda: not _alive(child))


def test_a_spec_is_read_back_as_it_was_saved_and_only_by_its_owner(processes: Processes, layout: Layout) -> None:
    spec = ProcessSpec("part", ("a", "b"), {"K": "v"}, "/tmp", None, (1, 2), "1/x", signal.SIGINT, 3.0, "v1")
    processes.save(spec)
    assert processes.saved("part") == spec
    assert (layout.run / "part.json").stat().st_mode & 0o777 == 0o600
    assert processes.saved("none") is None


def test_a_spec_of_another_version_can_be_read(processes: Processes, layout: Layout) -> None:
    (layout.run / "part.json").write_text('{"name": "part", "argv": ["sleep", "300"], "ports": [], "of_the_future": 1}')
    assert processes.saved("part") == SLEEP


def test_a_huge_log_is_set_aside_at_the_next_start(processes: Processes, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT_BYTES", 10)
    layout.log("part").write_text("more than ten bytes")
    processes.spawn(SLEEP)
    assert layout.log("part").with_suffix(".log.1").read_text() == "more than ten bytes"
    assert layout.log("part").read_text() == ""


def test_ending_what_is_gone_already_is_no_error() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    module.end(gone.pid, signal.SIGTERM, 1.0)


def _alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
