"""Load of GB/T 32960 devices for the benchmarks: frames, senders, a database of their own, and what each process costs."""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from faults.telematics_fleet import ICCID, Telematics

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.gb32960 import Command, Frame, Login, Response, StreamParser, Version
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.simulator.terminals import synthetic_drive

DEVICES, RATE = 500, 8_000.0
SECONDS = float(os.environ.get("BENCH_TELEMATICS_SECONDS", "20"))
"""How long frames are offered; the issue's five minutes are 300."""
_CATCH_UP_SECONDS = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


def frames() -> tuple[list[bytes], str]:
    """Realtime frames of live buses, or of our simulator where there are no real data."""
    folder = Path(os.environ.get("CARLIEN_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = folder / "protocols" / "gb32960_36node" / "frames.jsonl"
    if path.exists():
        rows = map(json.loads, path.read_text().splitlines())
        good = [
            row for row in rows if row["len_ok"] and row["bcc_ok"] and row["ack"] == Response.COMMAND and row["cmd"] == Command.REALTIME
        ]
        return [bytes.fromhex(row["hex"]) for row in good], "the real mix"
    return synthetic_drive(vin_of(1, 1), datetime(2026, 1, 1, tzinfo=UTC)), "our own simulator"


class Sender(asyncio.Protocol):
    """One device: a template whose time is stamped anew for every record."""

    def __init__(self, vin: str, raw: bytes) -> None:
        frame = gb32960.trusted(raw)
        self.template = bytearray(gb32960.build(Frame(frame.version, Command.REALTIME, Response.COMMAND, vin.encode(), 1, frame.data)))
        login = gb32960.encode_login(Version.V2016, Login(datetime.now(UTC), 1, ICCID))
        self._login = gb32960.build(Frame(Version.V2016, Command.LOGIN, Response.COMMAND, vin.encode(), 1, login))
        self._stream = StreamParser()
        self._sent: list[float] = []
        self.acknowledged = 0
        self.latencies: list[float] = []
        self.ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._login)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        for raw in self._stream.feed(data):
            if raw[2] == Command.LOGIN:
                self.ready.set_result(raw[3])
            elif raw[3] == Response.SUCCESS:
                self.latencies.append(now - self._sent[self.acknowledged])
                self.acknowledged += 1

    def send(self, at: datetime) -> None:
        raw, stamp = self.template, gb32960.encode_time(at)
        raw[-1] ^= xor_of(raw[24:30]) ^ xor_of(stamp)
        raw[24:30] = stamp
        self._sent.append(time.perf_counter())
        self.transport.write(bytes(raw))


def same(sender: Sender) -> Sender:
    return sender


async def socket_to_row(service: Telematics, mix: list[bytes]) -> tuple[float, float, int, int]:
    """Frames a second until the last is committed, acknowledgement p99 in ms, frames acknowledged, frames stored."""
    vins = [vin_of(9, number) for number in range(DEVICES)]
    await service.admit(vins)
    senders = [Sender(vin, mix[number % len(mix)]) for number, vin in enumerate(vins)]
    loop = asyncio.get_running_loop()
    for sender in senders:
        await loop.create_connection(partial(same, sender), "127.0.0.1", service.port)
    assert {await sender.ready for sender in senders} == {Response.SUCCESS}
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        while sent < elapsed * RATE:
            senders[sent % DEVICES].send(start + timedelta(seconds=sent // DEVICES))
            sent += 1
            if sent % 200 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.002)
    async with asyncio.timeout(_CATCH_UP_SECONDS):
        while sum(sender.acknowledged for sender in senders) < sent:  # noqa: ASYNC110 - other tasks' state
            await asyncio.sleep(0.05)
        connection = await asyncpg.connect(service.dsn)
        while (stored := await connection.fetchval("SELECT count(*) FROM frame")) < sent:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await connection.close()
    took = time.perf_counter() - began
    latencies = sorted(latency for sender in senders for latency in sender.latencies)
    for sender in senders:
        sender.transport.close()
    return sent / took, latencies[int(len(latencies) * 0.99)] * 1000, sent, stored


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[str]:
    """A fresh database, dropped afterwards."""
    admin = os.environ["POSTGRES_ADMIN_DSN"]
    name = f"bench_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(admin)
    await connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(admin)._replace(path=f"/{name}"))
    finally:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()


def processor_s(pid: int) -> float:
    """Processor time of a process and its children, also of those that have ended."""
    total, children = 0.0, f"/proc/{pid}/task/{pid}/children"
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    total += sum(map(int, fields[11:15])) / _TICKS
    for child in Path(children).read_text().split():
        with contextlib.suppress(OSError):  # ended since
            total += processor_s(int(child))
    return total


def stages(service: Telematics) -> dict[str, float]:
    """Processor time so far of every process a frame passes; of broker and database where the local stack runs them."""
    assert service.gateway.process is not None
    assert service.consumer.process is not None
    found = {"gateway": processor_s(service.gateway.process.pid), "consumer": processor_s(service.consumer.process.pid)}
    run = Path(os.environ["CARLIEN_PKI"]).parent / "run"
    for part in ("kafka", "postgres"):
        with contextlib.suppress(OSError):
            found[part] = processor_s(int((run / f"{part}.pid").read_text()))
    return found | {"load generator": time.process_time()}
