"""Frames from a socket to a committed row, beside what the database alone does with the same rows; and the codecs.

Gateway and consumer run as processes of their own on a database and topic of their own, on the running stack's broker and
database. Load generator and system share the machine, so read the ratio, too.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from faults.telematics_fleet import telematics
from kafka import KafkaAdminClient

from benchmarks import telematics_insight
from benchmarks.measure import Figure, Session
from benchmarks.telematics_fleet import ten_thousand
from benchmarks.telematics_load import RATE, database, frames, socket_to_row, stages
from carlien_common.testing.pki import Pki
from carlien_telematics.adapters.postgres_records import Partitions, PostgresRecordStore, stream
from carlien_telematics.codecs import gb32960, jt808
from carlien_telematics.codecs.gb32960 import Frame
from carlien_telematics.service.recording import ReceivedFrame, read_frame
from carlien_telematics.simulator.fleet import vin_of


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


async def run(session: Session) -> list[Figure]:
    """Measure the codecs, then the path from socket to row, and that nothing acknowledged is missing or there twice."""
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
                before = stages(service)
                rate, p99, sent, stored = await socket_to_row(service, mix)
                spent = {part: (after - before[part]) / sent for part, after in stages(service).items()}
                reference = await bare_copy(dsn, mix)
                fleet = await ten_thousand(service, mix)
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
        Figure(f"frame acknowledgement at {RATE:.0f} offered/s, p99", p99 / 1000, "s"),
        *(Figure(f"processor time of a frame in the {part}", seconds * 1e6, "µs") for part, seconds in spent.items()),
        *fleet,
        *await telematics_insight.run(session),
    ]
