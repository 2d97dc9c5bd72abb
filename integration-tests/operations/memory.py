"""Resident memory of the services over time, by process."""

import asyncio
import statistics
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from operations.faults import SERVICES, pid_of

EVERY_S = 5.0


@dataclass(frozen=True)
class Growth:
    """One process after its warm-up: the median of its first fifth, and how much more its last fifth is."""

    service: str
    lived_s: float
    began_mb: float
    growth: float


class Memory:
    """Samples until cancelled."""

    def __init__(self, warm_up_s: float) -> None:
        self._warm_up_s = warm_up_s
        self._samples: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)

    async def run(self) -> None:
        """Look at every service's process."""
        while True:
            for service in SERVICES:
                pid = pid_of(service)
                with suppress(OSError):
                    self._samples[service, pid or 0].append((time.monotonic(), _resident_mb(pid)))
            await asyncio.sleep(EVERY_S)

    def growths(self) -> list[Growth]:
        """Of every process that lived at least twice its warm-up."""
        found = []
        for (service, _), samples in self._samples.items():
            began = samples[0][0]
            warm = [megabytes for at, megabytes in samples if at - began >= self._warm_up_s]
            if len(warm) < 10 or samples[-1][0] - began < 2 * self._warm_up_s:
                continue
            fifth = max(1, len(warm) // 5)
            first, last = statistics.median(warm[:fifth]), statistics.median(warm[-fifth:])
            found.append(Growth(service, samples[-1][0] - began, first, last / first - 1))
        return found


def _resident_mb(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
