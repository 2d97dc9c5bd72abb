"""Faults by chance: parts of the stack killed or frozen, one at a time, again and again."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress

from carlien_local.layout import find_layout
from carlien_local.processes import Processes
from carlien_local.stack import status
from operations.replicas import state

INFRASTRUCTURE = ("postgres", "kafka", "orderer", "peer-org1", "peer-org2", "chaincode-org1", "chaincode-org2")
SERVICES = ("valuation", "telematics", "lien-registry", "lien-registry-org2", "pricing")


def pid_of(part: str) -> int | None:
    """The part's process, or None while there is none."""
    with suppress(FileNotFoundError, ValueError):
        return int((state() / "run" / f"{part}.pid").read_text())
    return None


async def everything_runs(give_up: float) -> None:
    """Until every part of the stack answers, or the moment has come."""
    layout = find_layout(state(), {})
    while time.monotonic() < give_up:
        parts = await asyncio.to_thread(status, Processes(layout), layout)
        if all(part.state == "running" for part in parts):
            return
        await asyncio.sleep(1)


class Faults:
    """Each fault is a kill -9 (the stack's supervisor starts the part again) or a freeze of a few seconds.

    The next one waits until every part is back: how long that takes is the machine's business, not the suite's.
    """

    def __init__(self, rng: random.Random, every_s: tuple[float, float] = (20.0, 40.0), frozen_s: tuple[float, float] = (2.0, 8.0)) -> None:
        self._rng = rng
        self._every_s = every_s
        self._frozen_s = frozen_s
        self.done: Counter[str] = Counter()

    async def run(self, until: float, kill_services_until: float) -> None:
        """Until the moment (time.monotonic). Services are killed only in the first part: what runs on shows whether memory grows."""
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self._rng.uniform(*self._every_s)))
            await everything_runs(until)
            if time.monotonic() < until:
                await self._one(time.monotonic() < kill_services_until)

    async def _one(self, services_too: bool) -> None:
        freeze = self._rng.random() < 0.35
        part = self._rng.choice(INFRASTRUCTURE + SERVICES if services_too or freeze else INFRASTRUCTURE)
        pid = pid_of(part)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            if not freeze:
                os.kill(pid, signal.SIGKILL)
                self.done[f"{part} killed"] += 1
                return
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(self._rng.uniform(*self._frozen_s))
            finally:
                os.kill(pid, signal.SIGCONT)
            self.done[f"{part} frozen"] += 1
