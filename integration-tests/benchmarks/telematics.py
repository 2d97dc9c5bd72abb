"""Frames from a socket to a committed row: the simulator offers more than the path takes, and what is stored is counted."""

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.measure import Figure, Session

_DEVICES, _RATE, _SECONDS = 100, 60.0, 20
_STORED = "carlien_telematics_consumer_stored_total"
_CATCH_UP_SECONDS = 60.0


def _stored(metrics_port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_STORED))


def _caught_up(port: int, before: float, acknowledged: int) -> float:
    """Return how many rows were stored since `before`, once all that was acknowledged is, or a minute is over."""
    deadline = time.monotonic() + _CATCH_UP_SECONDS
    while (stored := _stored(port) - before) < acknowledged and time.monotonic() < deadline:
        time.sleep(0.1)
    return stored


async def run(session: Session) -> list[Figure]:
    """Measure the path from socket to row, and that nothing acknowledged is missing."""
    port = int(session.stack.telematics.rsplit(":", 1)[1]) + 100
    before = await asyncio.to_thread(_stored, port)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [str(Path(sys.executable).parent / "carlien-device-sim"), "--protocol", "gb32960", "--register"]
        command += [
            "--devices",
            str(_DEVICES),
            "--rate",
            str(_RATE),
            "--duration",
            str(_SECONDS),
            "--seed",
            str(session.rng.randrange(10**6)),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, "--report", str(report), env=dict(os.environ), stdout=asyncio.subprocess.DEVNULL
        )
        # 1: under more load than it takes, not every record is acknowledged when the time is up.
        if await process.wait() not in (0, 1):
            raise RuntimeError("the simulator failed")
        figures = json.loads(report.read_text())
    acknowledged = figures["acknowledged"]
    ended = time.perf_counter()
    stored = await asyncio.to_thread(_caught_up, port, before, acknowledged)
    rate = stored / (figures["duration_s"] + time.perf_counter() - ended)
    return [
        Figure("frames from socket to committed row", rate, "1/s", target=">= 5000/s", met=rate >= 5000),
        Figure("frames acknowledged and not stored", max(0.0, acknowledged - stored), "frames", target="0", met=acknowledged <= stored),
        Figure("frame acknowledgement, p99, overloaded", figures["ack_p99_ms"] / 1000, "s"),
    ]
