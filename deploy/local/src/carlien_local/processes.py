"""Starting, finding and ending the stack's processes.

Every process carries its state directory and name in the environment variable MARKER. So it can be found in /proc even
when its pid file is stale or missing, a recycled pid is never mistaken for it, and `down` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from carlien_local.layout import Layout

MARKER = "CARLIEN_LOCAL_PART"
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
LOG_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ProcessSpec:
    """How to run one part. Saved beside its pid file, so that the supervisor starts exactly the same thing again.

    `env` is all the process sees besides INHERITED: a variable left over from another stack can't leak in. `version`
    changes when the part must be restarted although its command is the same (another binary, other source files).
    `probe` is how to ask whether it's ready: `PORT` for "accepts connections", `PORT/path` for "GET answers 200", several with spaces.
    `gauge` is `PORT/path METRIC` of a Prometheus gauge that is 0 while the part can't do its work. The supervisor restarts a
    part that tells 0 for `hanging_s`.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str | None = None
    ports: tuple[int, ...] = ()
    probe: str = ""
    gauge: str = ""
    hanging_s: float = 20.0
    stop_signal: int = signal.SIGTERM
    stop_timeout_s: float = 20.0
    version: str = ""


class Processes:
    """The processes of one stack. Safe to use from several threads for different names."""

    # Held for as long as this program runs, so that an ended child can be reaped (a dropped Popen can't).
    _children: ClassVar[dict[int, subprocess.Popen[bytes]]] = {}

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    # -- what is declared ------------------------------------------------------------------------------------------
    def save(self, spec: ProcessSpec) -> None:
        target = self._layout.run / f"{spec.name}.json"
        draft = target.with_suffix(".json.new")
        # The environment holds database passwords.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(spec), file, indent=1)
        draft.replace(target)

    def saved(self, name: str) -> ProcessSpec | None:
        try:
            value = json.loads((self._layout.run / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        # A file of another version of this module may have other fields: then it differs from what is wanted, no more.
        value = {key: value[key] for key in ProcessSpec.__dataclass_fields__ if key in value}
        return ProcessSpec(**{**value, "argv": tuple(value["argv"]), "ports": tuple(value["ports"])})

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._layout.run.glob("*.json"))

    def pid_file(self, name: str) -> Path:
        return self._layout.run / f"{name}.pid"

    def hold(self, name: str) -> Path:
        """A file that tells the supervisor to leave an ended part alone: it's stopped by hand, or being started."""
        return self._layout.run / f"{name}.stopped"

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Between a look at the hold file and what follows from it: the supervisor and `up` take turns."""
        with (self._layout.run / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # -- what runs -------------------------------------------------------------------------------------------------
    def find(self, name: str) -> int | None:
        """The pid of a running part, or None. Mends its pid file when that was stale."""
        try:
            pid = int(self.pid_file(name).read_text())
        except (FileNotFoundError, ValueError):
            pid = 0
        if pid and self._is_ours(pid, name):
            return pid
        for pid, part in self.sweep():
            # A part leads a session of its own; its children, which may outlive it, don't.
            if part == name and _leads_session(pid):
                self._write_pid(name, pid)
                return pid
        return None

    def sweep(self) -> Iterator[tuple[int, str]]:
        """(pid, part) of every live process of this stack, children of parts included."""
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (part := self._part_of(int(entry))) is not None:
                yield int(entry), part

    def _is_ours(self, pid: int, name: str) -> bool:
        return self._part_of(pid) == name

    def _part_of(self, pid: int) -> str | None:
        prefix = f"{MARKER}={self._layout.state}|".encode()
        try:
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(prefix):
                    return None if _is_zombie(pid) else variable.removeprefix(prefix).decode()
        except OSError:  # gone, or another user's
            pass
        return None

    # -- starting and ending ---------------------------------------------------------------------------------------
    def spawn(self, spec: ProcessSpec) -> int:
        """Starts a part in a session of its own, so that Ctrl-C in the terminal doesn't reach it.

        Children that a killed predecessor left behind are ended: they may hold its ports.
        """
        for orphan, part in list(self.sweep()):
            if part == spec.name:
                end(orphan, signal.SIGKILL, 5.0)
        log = self._layout.log(spec.name)
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        account = pwd.getpwnam(spec.user) if spec.user else None
        with log.open("ab") as output:
            process = subprocess.Popen(
                spec.argv,
                env={**inherited, **spec.env, MARKER: f"{self._layout.state}|{spec.name}"},
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        self._children[process.pid] = process
        # Popen returns a moment before the kernel shows the new program's environment, by which `find` knows it.
        while self._part_of(process.pid) is None and process.poll() is None:
            os.sched_yield()
        self._write_pid(spec.name, process.pid)
        return process.pid

    def exit_status(self, pid: int) -> int | None:
        """Reaps an ended child; its exit status where it was a child of ours (negative: killed by that signal)."""
        child = self._children.get(pid)
        if child is None:
            return None
        status = child.poll()
        if status is not None:
            del self._children[pid]
        return status

    def stop(self, name: str, *, kill: bool = False) -> bool:
        """Ends a part and its process group; True when it ran. Waits, and kills when the grace period is over."""
        pid = self.find(name)
        if pid is not None:
            spec = self.saved(name) or ProcessSpec(name, ())
            end(pid, signal.SIGKILL if kill else spec.stop_signal, spec.stop_timeout_s)
            self.exit_status(pid)
        self.pid_file(name).unlink(missing_ok=True)
        return pid is not None

    def _write_pid(self, name: str, pid: int) -> None:
        draft = self._layout.run / f"{name}.pid.new"
        draft.write_text(f"{pid}\n")
        draft.replace(self.pid_file(name))


def end(pid: int, first_signal: int, timeout_s: float) -> None:
    """Signals a process and waits until it's gone; kills its whole group after `timeout_s`. No error when it's gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, first_signal)
        if not select.select([handle], [], [], timeout_s)[0]:
            os.killpg(pid, signal.SIGKILL)
            select.select([handle], [], [], 10.0)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _is_zombie(pid: int) -> bool:
    # The command name (in brackets) may hold spaces; the state is the first field behind it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
