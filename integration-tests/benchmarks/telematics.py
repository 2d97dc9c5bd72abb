"""Frames from a socket to a committed row, beside what the database alone does with the same rows; and the codecs.

Gateway and consumer run as processes of their own on a database and topic of their own, on the running stack's broker and
database. Load generator and system share the machine, so read the ratio, too.
"""

import asyncio
import contextlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from faults.telematics_fleet import ICCID, Telematics, telematics
from kafka import KafkaAdminClient

from benchmarks.measure import Figure, Session
from carlien_common.testing.pki import Pki
from carlien_telematics.adapters.postgres_records import Partitions, PostgresRecordStore, stream
from carlien_telematics.codecs import gb32960, jt808
from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.gb32960 import Command, Frame, Login, Response, StreamParser, Version
from carlien_telematics.service.recording import ReceivedFrame, read_frame
from carlien_telematics.simulator.fleet import vin_of
from carlien_telematics.simulator.terminals import synthetic_drive

_DEVICES, _RATE, _SECONDS = 500, 8_000.0, 20.0
_CATCH_UP_SECONDS = 300.0


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


def per_second(work: Callable[[], None], items: int, seconds: float = 2.0) -> float:
    """Best rate of `work()` over `items` in single-threaded CPU time, so that neighbours on the machine don't count."""
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return items / best


def decoding(mix: list[bytes], source: str) -> list[Figure]:
    """Codecs on one core."""

    def gb() -> None:
        for raw in mix * 20:
            frame = gb32960.parse(raw)
            gb32960.decode_record(frame.version, frame.data)

    position = bytes.fromhex("00000002000000070" + "1d9f2d4073ca28d002b01c20059240506150809" + "010400003039" + "30011f" + "31010b")
    message = jt808.build(jt808.Message(0x0200, "013912345678", 1, position))

    def jt() -> None:
        for _ in range(500):
            jt808.decode_body(jt808.parse(message))

    gb_rate, jt_rate = per_second(gb, 20 * len(mix)), per_second(jt, 500)
    mean = sum(map(len, mix)) / len(mix)
    return [
        Figure(f"decode GB/T 32960, {source}, {mean:.0f} B", gb_rate, "frames/s and core", target=">= 60000", met=gb_rate >= 60_000),
        Figure("decode JT/T 808 0x0200", jt_rate, "messages/s and core", target=">= 100000", met=jt_rate >= 100_000),
    ]


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


def _same(sender: Sender) -> Sender:
    return sender


async def socket_to_row(service: Telematics, mix: list[bytes]) -> tuple[float, float, int, int]:
    """Frames a second until the last is committed, acknowledgement p99 in ms, frames acknowledged, frames stored."""
    vins = [vin_of(9, number) for number in range(_DEVICES)]
    await service.admit(vins)
    senders = [Sender(vin, mix[number % len(mix)]) for number, vin in enumerate(vins)]
    loop = asyncio.get_running_loop()
    for sender in senders:
        await loop.create_connection(partial(_same, sender), "127.0.0.1", service.port)
    assert {await sender.ready for sender in senders} == {Response.SUCCESS}
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < _SECONDS:
        while sent < elapsed * _RATE:
            senders[sent % _DEVICES].send(start + timedelta(seconds=sent // _DEVICES))
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


async def bare_copy(dsn: str, mix: list[bytes], count: int = 20_000) -> float:
    """Rows a second of a bare COPY of the same rows into the same table, by a client that does nothing else."""
    now = datetime.now(UTC).replace(microsecond=0)
    made = []
    for number in range(count):
        frame = gb32960.trusted(mix[number % len(mix)])
        stamp = gb32960.encode_time(now - timedelta(seconds=number // 500))
        raw = gb32960.build(Frame(frame.version, frame.command, frame.response, frame.vin, 1, stamp + frame.data[6:]))
        made += read_frame(ReceivedFrame(vin_of(8, number % 500), f"C-{number % 500}", "GB32960_2016", raw, now))
    connection = await asyncpg.connect(dsn)
    store = PostgresRecordStore(connection, Partitions())
    await store.store(made[:1], [])
    await connection.execute("CREATE TABLE bare (LIKE staging INCLUDING ALL)")
    began = time.perf_counter()
    for at in range(0, count, 1000):
        await connection.copy_to_table("bare", source=stream(made[at : at + 1000]), format="binary")
    rate = count / (time.perf_counter() - began)
    await connection.close()
    return rate


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


async def run(session: Session) -> list[Figure]:
    """Measure the codecs, then the path from socket to row, and that nothing acknowledged is missing or there twice."""
    del session
    mix, source = frames()
    figures = decoding(mix, source)
    topic = f"bench.{secrets.token_hex(4)}.frames"
    admin = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"])
    options = {"num_partitions": 6, "replication_factor": 1}
    admin.create_topics({topic: options, f"{topic}.dlq": options}, wait_for_metadata=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            async with database() as dsn, telematics(lambda: dsn, topic, Pki(home), home, batch=1000) as service:
                rate, p99, sent, stored = await socket_to_row(service, mix)
                reference = await bare_copy(dsn, mix)
    finally:
        admin.delete_topics([topic, f"{topic}.dlq"], raise_errors=False)
        admin.close()
    different = abs(sent - stored)
    return [
        *figures,
        Figure(
            "frames from socket to committed row, reference: bare COPY of the same rows",
            rate,
            "1/s",
            reference=reference,
            ratio=rate / reference,
            target=">= 5000/s",
            met=rate >= 5000,
        ),
        Figure("frames acknowledged and not stored, or stored twice", different, "frames", target="0", met=different == 0),
        Figure(f"frame acknowledgement at {_RATE:.0f} offered/s, p99", p99 / 1000, "s"),
    ]
