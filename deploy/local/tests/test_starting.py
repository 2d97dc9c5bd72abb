from __future__ import annotations

import dataclasses
import http.server
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from carlien_local import starting
from carlien_local.errors import Interrupted, PartFailed, StackError
from carlien_local.processes import ProcessSpec, end
from carlien_local.starting import Starter, answers

SLEEP = ProcessSpec("part", ("sleep", "300"))


def script(text: str) -> ProcessSpec:
    return ProcessSpec("part", (sys.executable, "-c", text))


def test_a_second_start_changes_nothing(starter: Starter) -> None:
    assert starter.ensure(SLEEP, lambda: True)
    pid = starter.processes.find("part")
    assert not starter.ensure(SLEEP, lambda: True)
    assert starter.processes.find("part") == pid


def test_a_part_that_died_is_started_again(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    pid = starter.processes.find("part")
    assert pid
    end(pid, signal.SIGKILL, 10.0)
    assert starter.ensure(SLEEP, lambda: True)
    assert starter.processes.find("part") not in (None, pid)


def test_a_part_whose_version_changed_is_restarted(starter: Starter) -> None:
    starter.ensure(SLEEP, lambda: True)
    pid = starter.processes.find("part")
    assert starter.ensure(dataclasses.replace(SLEEP, version="2"), lambda: True)
    assert starter.processes.find("part") != pid


def test_a_part_that_ends_while_starting_fails_at_once_with_its_last_words(starter: Starter) -> None:
    with pytest.raises(PartFailed, match=r"ended while it was starting(.|\n)*cannot bind"):
        starter.ensure(script("import sys; sys.exit('cannot bind')"), lambda: False, timeout_s=60)


def test_a_part_that_never_gets_ready_fails_after_its_time(starter: Starter) -> None:
    with pytest.raises(PartFailed, match=r"not ready after 0 s(.|\n)*part.log"):
        starter.ensure(SLEEP, lambda: False, timeout_s=0.1)


def test_a_part_that_hangs_is_restarted(starter: Starter, messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "HANGING_S", 0.1)
    starter.ensure(SLEEP, lambda: True)
    first = starter.processes.find("part")
    assert starter.ensure(SLEEP, lambda: starter.processes.find("part") != first)
    assert "doesn't answer: restarting it" in messages[0]


def test_a_taken_port_fails_before_anything_is_started(starter: Starter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is taken"):
            starter.ensure(dataclasses.replace(SLEEP, ports=(port,)), lambda: True)
    assert starter.processes.find("part") is None


def test_a_probe_is_a_port_or_a_path_that_answers() -> None:
    assert answers(SLEEP)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(dataclasses.replace(SLEEP, probe=str(port)))
    assert not answers(dataclasses.replace(SLEEP, probe=str(port)))
    assert not answers(dataclasses.replace(SLEEP, probe=f"{port}/readyz"))


@pytest.mark.parametrize(("path", "expected"), [("/readyz", True), ("/other", False)])
def test_a_path_must_answer_with_200(path: str, expected: bool) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert answers(dataclasses.replace(SLEEP, probe=f"{server.server_port}{path}")) is expected
        thread.join()


def test_cancelling_ends_a_wait(starter: Starter) -> None:
    threading.Timer(0.1, starter.cancel).start()
    with pytest.raises(Interrupted):
        starter.ensure(SLEEP, lambda: False, timeout_s=600)


def test_a_failing_command_is_reported_with_what_it_said(starter: Starter) -> None:
    with pytest.raises(StackError, match=r"x: sh failed with status 3:\nwhy"):
        starter.run("x", ["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(StackError, match=r"can't run .*missing.*make setup"):
        starter.run("x", [Path("/missing")])
    with pytest.raises(StackError, match="took longer than 0 s"):
        starter.run("x", ["sleep", "60"], timeout_s=0.05)
