"""Bringing one part up: idempotent, watched while it starts, never waiting without an end."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from carlien_local import ports
from carlien_local.errors import Interrupted, PartFailed, StackError
from carlien_local.layout import Layout
from carlien_local.processes import Processes, ProcessSpec

POLL_S = 0.05
# A part that runs but doesn't answer for this long is taken to hang, and is restarted.
HANGING_S = 20.0


class Starter:
    """What every part's module gets: the layout, the processes, and waits that Ctrl-C ends."""

    def __init__(self, layout: Layout, report: Callable[[str], None]) -> None:
        self.layout = layout
        self.processes = Processes(layout)
        self.report = report
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ends every wait of every thread with Interrupted."""
        self._cancelled.set()

    def ensure(self, spec: ProcessSpec, ready: Callable[[], bool], timeout_s: float = 60.0, *, attempts: int = 1) -> bool:
        """Has the part running as specified and ready. False when it already was; raises PartFailed or StackError.

        A part that ends while it starts is tried `attempts` times, a second apart.
        """
        processes = self.processes
        hold = processes.hold(spec.name)
        pid = processes.find(spec.name)
        if pid is not None and processes.saved(spec.name) == spec:
            try:
                self._wait_ready(spec, pid, ready, HANGING_S)
            except PartFailed:
                self.report(f"{spec.name} (pid {pid}) runs but doesn't answer: restarting it")
            else:
                hold.unlink(missing_ok=True)
                return False
        with processes.exclusive(spec.name):
            hold.touch()
        try:
            processes.stop(spec.name)
            ports.require_free(spec.name, spec.ports)
            processes.save(spec)
            self._start(spec, ready, timeout_s, attempts)
        finally:
            hold.unlink(missing_ok=True)
        return True

    def _start(self, spec: ProcessSpec, ready: Callable[[], bool], timeout_s: float, attempts: int) -> None:
        for attempt in range(1, attempts + 1):
            try:
                self._wait_ready(spec, self.processes.spawn(spec), ready, timeout_s)
            except PartFailed:
                if attempt == attempts or self.processes.find(spec.name) is not None:
                    raise
                self.pause(1.0)
            else:
                return

    def _wait_ready(self, spec: ProcessSpec, pid: int, ready: Callable[[], bool], timeout_s: float) -> None:
        log = self.layout.log(spec.name)
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.processes.exit_status(pid) is not None or self.processes.find(spec.name) is None:
                raise PartFailed(spec.name, "ended while it was starting", log)
            if time.monotonic() > deadline:
                raise PartFailed(spec.name, f"not ready after {timeout_s:.0f} s", log)
            self.pause()

    def pause(self, seconds: float = POLL_S) -> None:
        """One step of a waiting loop; raises Interrupted once the whole start was cancelled."""
        if self._cancelled.wait(seconds):
            raise Interrupted("interrupted")

    def run(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout_s: float = 60.0,
    ) -> str:
        """Runs a short command and returns its standard output; raises StackError with what it said when it fails."""
        if self._cancelled.is_set():
            raise Interrupted("interrupted")
        try:
            result = subprocess.run(
                [str(part) for part in argv],
                env=dict(env) if env is not None else None,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=cwd,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{name}: {argv[0]} took longer than {timeout_s:.0f} s") from error
        except OSError as error:
            raise StackError(f"{name}: can't run {argv[0]}: {error.strerror}. `make setup` installs it.") from error
        if result.returncode:
            said = (result.stderr.strip() or result.stdout.strip())[-2000:]
            raise StackError(f"{name}: {Path(argv[0]).name} failed with status {result.returncode}:\n{said}")
        return result.stdout


def answers(spec: ProcessSpec) -> bool:
    """Asks a part's probes; True where it has none."""
    return all(_answers(probe) for probe in spec.probe.split())


def _answers(probe: str) -> bool:
    port, slash, path = probe.partition("/")
    return http_get(int(port), slash + path) is not None if slash else accepts(int(port))


def http_get(port: int, path: str) -> bytes | None:
    """The body when GET answers 200 on loopback within 5 s, else None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def gauges(port: int, path: str, metric: str) -> list[float]:
    """The values a part now tells of one of its Prometheus metrics, one per label set; none when it doesn't answer."""
    text = (http_get(port, path) or b"").decode()
    return [float(value) for value in re.findall(rf"^{re.escape(metric)}(?:{{[^\n]*}})? (\S+)$", text, re.MULTILINE)]


def accepts(port: int) -> bool:
    """True when something accepts a TCP connection on loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
