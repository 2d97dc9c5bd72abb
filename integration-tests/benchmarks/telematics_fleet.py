"""Ten thousand devices at once: what a connection costs, and how long a record waits for its acknowledgement."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from faults.telematics_fleet import Telematics

from benchmarks.measure import Figure
from benchmarks.telematics_load import Sender, same
from carlien_telematics.codecs.gb32960 import Response
from carlien_telematics.simulator.fleet import vin_of

DEVICES, INTERVAL_S, SECONDS = 10_000, 10.0, 60.0
_CONNECTING_AT_ONCE = 250


def resident_kib(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def ten_thousand(service: Telematics, mix: list[bytes]) -> list[Figure]:
    """Connects the devices, lets them be idle, then has each send a record every ten seconds."""
    assert service.gateway.process is not None
    pid = service.gateway.process.pid
    vins = [vin_of(10, number) for number in range(DEVICES)]
    await service.admit(vins)
    # one device first: what the gateway loads once is not what a connection costs
    senders = [Sender(vin, mix[number % len(mix)]) for number, vin in enumerate(vins)]
    await _connect(senders[0], service.port)
    before = resident_kib(pid)
    room = asyncio.Semaphore(_CONNECTING_AT_ONCE)

    async def one(sender: Sender) -> None:
        async with room:
            await _connect(sender, service.port)

    began = time.perf_counter()
    await asyncio.gather(*(one(sender) for sender in senders[1:]))
    connected_per_s = (DEVICES - 1) / (time.perf_counter() - began)
    per_connection = (resident_kib(pid) - before) / (DEVICES - 1)
    await _drive(senders)
    latencies = sorted(latency for sender in senders for latency in sender.latencies)
    for sender in senders:
        sender.transport.close()
    p99 = latencies[int(len(latencies) * 0.99)]
    load = f"{DEVICES:,} devices, 1 frame in {INTERVAL_S:.0f} s"
    return [
        Figure("logins of devices, each on a connection of its own", connected_per_s, "1/s"),
        Figure("memory of an idle connection, plain", per_connection, "KiB", target="< 20", met=per_connection < 20),
        Figure(f"acknowledgement, {load}, p99", p99, "s", target="< 0.5", met=p99 < 0.5),
    ]


async def _connect(sender: Sender, port: int) -> None:
    await asyncio.get_running_loop().create_connection(partial(same, sender), "127.0.0.1", port)
    assert await sender.ready == Response.SUCCESS


async def _drive(senders: list[Sender]) -> None:
    """Each sends every INTERVAL_S, evenly spread; returns when all is acknowledged."""
    rate = len(senders) / INTERVAL_S
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        while sent < elapsed * rate:
            senders[sent % len(senders)].send(start + timedelta(seconds=sent // len(senders) * INTERVAL_S))
            sent += 1
        await asyncio.sleep(0.002)
    async with asyncio.timeout(60):
        while sum(sender.acknowledged for sender in senders) < sent:  # noqa: ASYNC110 - other tasks' state
            await asyncio.sleep(0.05)
