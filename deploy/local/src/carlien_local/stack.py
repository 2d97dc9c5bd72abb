"""The whole stack: which parts there are, in what order they start, how they are ended and described."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from carlien_local import chaincode, fabric, graph, kafka, pki, postgres, prometheus, services, supervisor
from carlien_local.errors import StackError
from carlien_local.layout import Layout
from carlien_local.processes import Processes, ProcessSpec, end
from carlien_local.starting import Starter, answers

# Ended in this order: who needs something to finish its work goes before it. The services can end side by side: what they
# have accepted is in their own databases.
TIERS: tuple[tuple[str, ...], ...] = (
    ("valuation", "telematics", "lien-registry", "lien-registry-org2", "pricing", "prometheus"),
    ("chaincode-org1", "chaincode-org2"),
    ("peer-org1", "peer-org2"),
    ("postgres", "kafka", "orderer"),
)
LOCK_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class PartStatus:
    """One row of `status`. `state` is running, not ready (it runs, but doesn't answer), stopped (by hand) or dead."""

    name: str
    state: str
    pid: int | None
    ports: tuple[int, ...]
    uptime_s: float | None
    restarts: int
    log: str


def infrastructure(starter: Starter) -> list[graph.Step]:
    """Certificates, database, broker, ledger and chaincode."""

    def certificates() -> bool:
        pki.ensure(starter.layout.pki)
        return False

    def deployed() -> bool:
        changed = chaincode.up(starter)
        fabric.wait_for_gossip(starter)
        return changed

    def built() -> bool:
        chaincode.build(starter)
        return False

    return [
        graph.Step("certificates", certificates),
        graph.Step("postgres", lambda: postgres.up(starter)),
        graph.Step("kafka", lambda: kafka.up(starter)),
        graph.Step("fabric", lambda: fabric.up(starter)),
        graph.Step("chaincode-build", built),
        graph.Step("chaincode", deployed, after=("fabric", "chaincode-build")),
    ]


def everything(starter: Starter) -> list[graph.Step]:
    """The infrastructure, carlien's services, and Prometheus."""
    return [
        *infrastructure(starter),
        *services.steps(starter),
        graph.Step("prometheus", lambda: prometheus.up(starter)),
    ]


# -- one at a time -----------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def locked(layout: Layout, starter: Starter) -> Iterator[None]:
    """Holds the state directory against another up, down, start or stop; waits for it and says so."""
    layout.state.mkdir(parents=True, exist_ok=True)
    with (layout.state / "lock").open("a+") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        announced = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another carlien-local"
                if time.monotonic() > deadline:
                    raise StackError(f"Gave up waiting for {holder}, which works on {layout.state}.") from None
                if not announced:
                    starter.report(f"waiting for {holder}, which works on {layout.state} …")
                    announced = True
                starter.pause(0.2)
        file.seek(0)
        file.truncate()
        file.write(f"`carlien-local {' '.join(sys.argv[1:])}` (pid {os.getpid()})\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


# -- verbs -------------------------------------------------------------------------------------------------------------
def down(starter: Starter) -> int:
    """Ends every process of this stack, tier by tier; the number of parts that ran. Works on a half-dead stack."""
    processes = starter.processes
    processes.stop(supervisor.NAME, kill=True)
    known = {name for tier in TIERS for name in tier}
    others = tuple(sorted({part for _, part in processes.sweep()} - known))
    ended = 0
    with ThreadPoolExecutor() as pool:
        for tier in (others, *TIERS):
            ended += sum(pool.map(processes.stop, tier))
    # Whatever is left: children of parts that outlived them.
    for pid, _ in list(processes.sweep()):
        end(pid, signal.SIGKILL, 5.0)
    for name in processes.names():
        processes.hold(name).unlink(missing_ok=True)
        (starter.layout.run / f"{name}.restarts").unlink(missing_ok=True)
        (starter.layout.run / f"{name}.json").unlink(missing_ok=True)
    shutil.rmtree(postgres.socket_folder(starter.layout), ignore_errors=True)
    return ended


def reset(starter: Starter) -> None:
    """Ends everything and deletes the state directory with all data, keys and logs."""
    down(starter)
    layout = starter.layout
    shutil.rmtree((layout.state / "postgres").resolve(), ignore_errors=True)
    for entry in layout.state.iterdir():
        if entry.name in ("lock", "test"):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def supervise(starter: Starter) -> None:
    """Starts the supervisor anew, so that it takes over what runs now and is of the present version."""
    processes = starter.processes
    processes.stop(supervisor.NAME)
    argv = (sys.executable, "-m", "carlien_local.supervisor", str(starter.layout.state))
    spec = ProcessSpec(supervisor.NAME, argv)
    processes.save(spec)
    processes.spawn(spec)


def nudge(processes: Processes) -> bool:
    """Has the supervisor look at once; False when it doesn't run."""
    pid = processes.find(supervisor.NAME)
    if pid is None:
        return False
    os.kill(pid, signal.SIGHUP)
    return True


def start_again(starter: Starter, name: str) -> None:
    """Starts a part as it was last started, and waits until it answers."""
    spec = starter.processes.saved(name)
    if spec is None:
        raise StackError(f"{name} was never started; run `make up`.")
    starter.ensure(spec, lambda: answers(spec), services.READY_TIMEOUT_S)
    nudge(starter.processes)


def status(processes: Processes, layout: Layout) -> list[PartStatus]:
    """One row per part that was ever started, in starting order, the supervisor last."""
    names = set(processes.names())
    order = [name for tier in reversed(TIERS) for name in tier if name in names]
    rows = []
    for name in (*order, *sorted(names - set(order))):
        pid = processes.find(name)
        spec = processes.saved(name)
        if pid:
            state = "running" if spec is None or answers(spec) else "not ready"
        else:
            state = "stopped" if processes.hold(name).exists() else "dead"
        try:
            restarts = int((layout.run / f"{name}.restarts").read_text())
        except (FileNotFoundError, ValueError):
            restarts = 0
        rows.append(
            PartStatus(
                name=name,
                state=state,
                pid=pid,
                ports=spec.ports if spec else (),
                uptime_s=_uptime(pid) if pid else None,
                restarts=restarts,
                log=str(layout.log(name)),
            )
        )
    return rows


def _uptime(pid: int) -> float | None:
    try:
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
