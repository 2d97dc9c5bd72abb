"""Restarts what dies, and what hangs and says so: `python -m carlien_local.supervisor STATE`, one per state directory, started by `up`.

It knows a part only by its saved spec and pid, and watches it by pidfd. So it needn't be its parent: it takes over what
`up` or an earlier supervisor started, and its own death ends nothing. A part with a hold file (`carlien-local stop`)
is left alone. Of a part whose spec names a gauge it asks that too: one that runs and tells 0 for too long is ended.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from carlien_local.layout import find_layout
from carlien_local.processes import Processes, end
from carlien_local.starting import gauges

NAME = "supervisor"
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
# How often a held part is looked at: whoever holds it lets go without telling.
HELD_LOOK_S = 1.0
# How often a part's gauge is asked.
GAUGE_LOOK_S = 2.0
# From SIGUSR1, by which Fabric's programs log what each goroutine does, to the end of a hanging part.
LAST_WORDS_S = 1.0
# A part that ran this long has recovered: its next death is restarted at once again.
STEADY_S = 60.0


@dataclass
class Watch:
    """What the supervisor remembers of one part."""

    pid: int = 0
    handle: int = -1
    since: float = 0.0
    failures: int = 0
    due: float = 0.0
    restarts: int = 0
    # When the part's gauge was last other than 0, or unknown.
    well: float = 0.0


class Supervisor:
    """The loop over one state directory."""

    def __init__(self, state: Path) -> None:
        self._processes = Processes(find_layout(state, {}))
        self._run_folder = self._processes.hold("x").parent
        self._watches: dict[str, Watch] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self) -> None:
        """Until SIGTERM. SIGHUP looks at once whether specs or holds have changed."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ)
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        say("watching")
        while not self._stopping:
            try:
                wait_s = self._reconcile()
            except Exception as error:  # noqa: BLE001 - the supervisor is what must survive; it says so and goes on
                say(f"can't look after the parts now: {error!r}")
                wait_s = LONGEST_DELAY_S
            for key, _ in self._selector.select(wait_s):
                if key.fd == reader:
                    os.read(reader, 4096)
        say("ending; the parts go on")

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _reconcile(self) -> float:
        """Starts what is due and watches what runs; the seconds until something is due again."""
        now = time.monotonic()
        next_due = now + 60.0
        for name in self._processes.names():
            if name == NAME:
                continue
            watch = self._watches.setdefault(name, Watch())
            if watch.pid:
                if self._processes.find(name) == watch.pid:
                    if self._asks_gauge(name, watch):
                        next_due = min(next_due, now + GAUGE_LOOK_S)
                    continue
                self._ended(name, watch, now)
            if self._processes.hold(name).exists():
                watch.failures, watch.due = 0, 0.0
                next_due = min(next_due, now + HELD_LOOK_S)
                continue
            pid = self._processes.find(name)
            if pid is None and now >= watch.due:
                pid = self._start(name, watch, now)
            if pid is not None:
                self._watch(watch, pid, now)
                next_due = min(next_due, now + GAUGE_LOOK_S)
            elif watch.due > now:
                next_due = min(next_due, watch.due)
        return max(0.0, next_due - time.monotonic())

    def _watch(self, watch: Watch, pid: int, now: float) -> None:
        try:
            watch.handle = os.pidfd_open(pid)
        except ProcessLookupError:
            watch.due = now
            return
        watch.pid, watch.since, watch.well = pid, now, now
        self._selector.register(watch.handle, selectors.EVENT_READ)

    def _asks_gauge(self, name: str, watch: Watch) -> bool:
        """Ends a part that hangs; whether the part has a gauge at all. No answer says nothing: a paused part gives none."""
        spec = self._processes.saved(name)
        if spec is None or not spec.gauge:
            return False
        address, _, metric = spec.gauge.partition(" ")
        port, _, path = address.partition("/")
        values = gauges(int(port), f"/{path}", metric)
        now = time.monotonic()
        if not values or all(values):
            watch.well = now
        elif now - watch.well > spec.hanging_s and not self._processes.hold(name).exists():
            say(f"{name} (pid {watch.pid}) runs, but {metric} has been 0 for {now - watch.well:.0f} s: ending it")
            end(watch.pid, signal.SIGUSR1, LAST_WORDS_S)
        return True

    def _ended(self, name: str, watch: Watch, now: float) -> None:
        self._selector.unregister(watch.handle)
        os.close(watch.handle)
        status = self._processes.exit_status(watch.pid)
        watch.failures = 0 if now - watch.since > STEADY_S else watch.failures + 1
        delay = min(FIRST_DELAY_S * 2 ** max(0, watch.failures - 1), LONGEST_DELAY_S)
        watch.due = now + delay
        meaning = "" if status is None else f" with status {status}"
        say(f"{name} (pid {watch.pid}) ended{meaning} after {now - watch.since:.0f} s; next look in {delay:.1f} s")
        watch.pid = 0

    def _start(self, name: str, watch: Watch, now: float) -> int | None:
        spec = self._processes.saved(name)
        if spec is None:  # removed just now
            return None
        try:
            with self._processes.exclusive(name):
                if self._processes.hold(name).exists() or self._processes.find(name) is not None:
                    watch.due = now + FIRST_DELAY_S  # `up` was quicker: look again
                    return None
                pid = self._processes.spawn(spec)
        except OSError as error:
            watch.failures += 1
            watch.due = now + LONGEST_DELAY_S
            say(f"{name} can't be started: {error}")
            return None
        watch.restarts += 1
        (self._run_folder / f"{name}.restarts").write_text(f"{watch.restarts}\n")
        say(f"{name} started again as pid {pid} (restart {watch.restarts})")
        return pid


def say(text: str) -> None:
    """One line in the log."""
    print(datetime.now(UTC).isoformat(timespec="milliseconds"), text, flush=True)


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).run()
