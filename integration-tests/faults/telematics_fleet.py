"""Telematics as processes that can be killed, and a fleet of devices that sends again what was not acknowledged."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import asyncpg

from carlien_common.postgres import migrate
from carlien_common.testing.pki import Pki
from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Frame, Login, Response, StreamParser, Version
from carlien_telematics.domain.devices import Credential

ICCID = "89860000000000000001"
_READY_SECONDS = 60.0
_ANSWER_SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Part:
    """One process of telematics with some of its components."""

    environment: dict[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "carlien_telematics", "serve", env={**os.environ, **self.environment}, stdout=log, stderr=log
            )
        async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.environment['CARLIEN_METRICS_PORT']}/readyz") as answer:
                        if answer.status == 200:
                            return
                assert self.process.returncode is None, self.log.read_text()[-2000:]
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """Kill -9, by pid."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await self.process.wait()
            if self.process.returncode is None:
                await self.kill()


@dataclass
class Telematics:
    """Gateway and consumer in processes of their own, on a database and topic of their own."""

    gateway: Part
    consumer: Part
    port: int
    dsn: str

    async def stored(self) -> set[tuple[str, datetime]]:
        """What is in the database, by car and device time; fails where a record is there twice."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await asyncpg.connect(self.dsn)
            stack.push_async_callback(connection.close)
            rows = await connection.fetch("SELECT vin, device_time FROM frame")
        found = {(row["vin"], row["device_time"]) for row in rows}
        assert len(found) == len(rows), "a record is stored twice"
        return found

    async def count(self) -> int:
        """Records in the database."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await asyncpg.connect(self.dsn)
            stack.push_async_callback(connection.close)
            found: int = await connection.fetchval("SELECT count(*) FROM frame")
            return found

    async def admit(self, vins: list[str]) -> None:
        credential = Credential.of(ICCID)
        connection = await asyncpg.connect(self.dsn)
        await connection.executemany(
            "INSERT INTO device (device_id, vin, protocol, credential_salt, credential_hash, status, registered_at) "
            "VALUES ($1, $2, 'GB32960', $3, $4, 'ACTIVE', now())",
            [(f"T-{vin}", vin, credential.salt, credential.digest) for vin in vins],
        )
        await connection.executemany(
            "INSERT INTO data_consent (vin, purpose, granted_at, expires_at) "
            "VALUES ($1, 'COLLATERAL_MONITORING', now(), now() + interval '1 day')",
            [(vin,) for vin in vins],
        )
        await connection.close()


@contextlib.asynccontextmanager
async def telematics(make_database: Callable[[], str], topic: str, pki: Pki, folder: Path, batch: int = 200) -> AsyncIterator[Telematics]:
    dsn = make_database()
    await migrate(dsn, "carlien_telematics")
    mine = pki.certificate("org1", "service")
    port = free_port()

    def part(components: str) -> Part:
        settings = {
            "ORG": "org1",
            "MSP_ID": "Org1MSP",
            "COMPONENTS": components,
            "GRPC_PORT": "0",
            "METRICS_PORT": str(free_port()),
            "GB32960_HOST": "127.0.0.1",
            "GB32960_PORT": str(port),
            "POSTGRES_DSN": dsn,
            "KAFKA_BOOTSTRAP": os.environ["KAFKA_BOOTSTRAP"],
            "FRAME_TOPIC": topic,
            "CONSUMER_GROUP": topic,
            "CONSUMER_BATCH": str(batch),
            "TLS_CERT_FILE": str(mine.certificate),
            "TLS_KEY_FILE": str(mine.key),
            "TLS_CA_FILE": str(mine.authorities),
        }
        return Part({f"CARLIEN_{name}": value for name, value in settings.items()}, folder / f"{components}.log")

    running = Telematics(part("gateway"), part("consumer"), port, dsn)
    try:
        await asyncio.gather(running.gateway.start(), running.consumer.start())
        yield running
    finally:
        await asyncio.gather(running.gateway.stop(), running.consumer.stop())


@dataclass
class Terminal:
    """A device as the standard wants it: what is not acknowledged is kept and sent again, as reissue."""

    vin: str
    port: int
    start: datetime
    count: int
    acknowledged: set[datetime] = field(default_factory=set)
    reissued: int = 0

    async def drive(self, pause: float) -> None:
        """Sends `count` records, one a second of device time, until each is acknowledged."""
        times = [self.start + timedelta(seconds=n) for n in range(self.count)]
        first_try = set(times)
        while missing := [at for at in times if at not in self.acknowledged]:
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                await self._session(missing, first_try, pause)
            await asyncio.sleep(0.2)

    async def _session(self, times: list[datetime], first_try: set[datetime], pause: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            login = gb32960.encode_login(Version.V2016, Login(datetime.now(UTC), 1, ICCID))
            writer.write(self._frame(Command.LOGIN, login))
            answers = self._answers(reader)
            async with asyncio.timeout(_ANSWER_SECONDS):
                if (await anext(answers)).response != Response.SUCCESS:
                    return
            listening = asyncio.create_task(self._listen(answers))
            try:
                for at in times:
                    command = Command.REALTIME if at in first_try else Command.REISSUE
                    self.reissued += command is Command.REISSUE
                    first_try.discard(at)
                    units = {"engine": {"state": "STARTED", "crankshaft_rpm": 900, "consumption_l_per_100km": 5.0}}
                    writer.write(self._frame(command, gb32960.encode_record(Version.V2016, at, units)))
                    await writer.drain()
                    await asyncio.sleep(pause)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    while not self.acknowledged.issuperset(times) and not listening.done():  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        finally:
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
        stream = StreamParser()
        while data := await reader.read(65536):
            for raw in stream.feed(data):
                yield gb32960.parse(raw)
        raise EOFError

    async def _listen(self, answers: AsyncIterator[Frame]) -> None:
        async for answer in answers:
            if answer.response == Response.SUCCESS and answer.command in (Command.REALTIME, Command.REISSUE):
                self.acknowledged.add(gb32960.decode_time(answer.data))

    def _frame(self, command: Command, data: bytes) -> bytes:
        return gb32960.build(Frame(Version.V2016, command, Response.COMMAND, self.vin.encode(), 1, data))
