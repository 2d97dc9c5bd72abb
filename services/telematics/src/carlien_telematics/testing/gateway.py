"""In-memory stand-ins for what the gateway speaks to, and a device that speaks to the gateway."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from datetime import UTC, datetime
from typing import Self

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Frame, Login, Response, StreamParser, Version
from carlien_telematics.domain.access import Access, KnownDevice
from carlien_telematics.domain.devices import Credential, DeviceProtocol, OnlineReason, Presence
from carlien_telematics.gateway.limits import Limits
from carlien_telematics.gateway.server import Gateway
from carlien_telematics.metrics import GatewayMetrics
from carlien_telematics.service.access import AccessBook
from carlien_telematics.service.platforms import Platforms
from carlien_telematics.service.publishing import OutgoingFrame

VIN = "LSVNV2187E2100001"
ICCID = "89860000000000000001"
AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
FOREVER = 4e9


class FakeAccess:
    """`AccessStore` in a dict; `calls` counts loads."""

    def __init__(self) -> None:
        self.cars: dict[str, Access] = {}
        self.calls: Counter[str] = Counter()

    def allow(self, vin: str = VIN, iccid: str = ICCID, until: float = FOREVER) -> None:
        """Registers a device and gives a consent until Unix time `until`."""
        self.cars[vin] = Access(vin, (KnownDevice(f"T-{vin[-4:]}", DeviceProtocol.GB32960, Credential.of(iccid)),), until)

    async def vin_of(self, protocol: DeviceProtocol, number: str) -> str | None:
        """See `AccessStore`."""
        found = (a.vin for a in self.cars.values() for d in a.devices if d.protocol is protocol and d.device_id.lstrip("0") == number)
        return next(found, None)

    async def load(self, vin: str) -> Access:
        """See `AccessStore`."""
        self.calls[vin] += 1
        await asyncio.sleep(0)
        return self.cars.get(vin, Access(vin))


class FakePublisher:
    """`FramePublisher` that is durable at once, or holds frames until `settle`."""

    def __init__(self) -> None:
        self.frames: list[OutgoingFrame] = []
        self.held: list[OutgoingFrame] | None = None

    @property
    def in_flight(self) -> int:
        """Frames not settled yet."""
        return len(self.held or ())

    def publish(self, frame: OutgoingFrame) -> None:
        """See `FramePublisher`."""
        self.frames.append(frame)
        if self.held is None:
            asyncio.get_running_loop().call_soon(frame.done, True)
        else:
            self.held.append(frame)

    def settle(self, durable: bool) -> None:
        """Tells the fate of the held frames, and holds no more."""
        held, self.held = self.held or [], None
        for frame in held:
            frame.done(durable)


class FakePresence:
    """`PresenceSink` that remembers everything."""

    def __init__(self) -> None:
        self.seen: list[Presence] = []

    def note(self, presence: Presence) -> None:
        """See `PresenceSink`."""
        self.seen.append(presence)

    def reasons(self) -> list[OnlineReason]:
        """Every reason so far."""
        return [presence.reason for presence in self.seen]


class CountingMetrics(GatewayMetrics):
    """Counts per gateway beside the process's metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def message(self, command: int) -> None:
        """Counts by command."""
        self.counts[Command(command).name] += 1

    def refused(self, reason: str) -> None:
        """Counts by reason."""
        self.counts[str(reason)] += 1

    def jt808_parameters_set(self, *, taken: bool) -> None:
        """Counts by result."""
        self.counts[f"PARAMETERS {taken}"] += 1

    def malformed(self, protocol: str, reason: str, count: int) -> None:
        """Counts by protocol and reason."""
        self.counts[f"{protocol} {reason}"] += count


class Bench:
    """A listening gateway with fakes around it."""

    def __init__(
        self,
        limits: Limits | None = None,
        platforms: Platforms | None = None,
        tls: ssl.SSLContext | None = None,
        jt808_parameters: dict[int, bytes] | None = None,
    ) -> None:
        self.access = FakeAccess()
        self.book = AccessBook(self.access)
        self.book.trust(True)
        self.publisher = FakePublisher()
        self.presence = FakePresence()
        self.metrics = CountingMetrics()
        self.gateway = Gateway(self.book, self.publisher, self.presence, self.metrics, limits or Limits(), platforms, jt808_parameters)
        self.port = self.jt808_port = self.tls_port = 0
        self._tls = tls
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        wanted = {"gb32960": 0, "jt808": 0} | ({"gb32960_tls": 0} if self._tls else {})
        ports = await self._open.enter_async_context(self.gateway.listening("127.0.0.1", wanted, self._tls))
        self.port, self.jt808_port, self.tls_port = ports["gb32960"], ports["jt808"], ports.get("gb32960_tls", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    async def device(self) -> "Device":
        """A connected terminal."""
        device = await connect(self.port)
        self._open.push_async_callback(device.close)
        return device


class Device:
    """A terminal: sends frames and reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._stream = StreamParser()
        self._answers: list[Frame] = []

    async def send(self, *frames: bytes) -> None:
        """Sends frames in one packet."""
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def answer(self) -> Frame:
        """The next answer; ConnectionError where the gateway has closed."""
        async with asyncio.timeout(30):
            while not self._answers:
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionError("closed")
                self._answers += map(gb32960.parse, self._stream.feed(data))
        return self._answers.pop(0)

    async def ask(self, raw: bytes) -> Response:
        """Sends one frame and returns the response flag of the next answer."""
        await self.send(raw)
        return Response((await self.answer()).response)

    async def closed(self) -> bool:
        """Waits until the gateway has ended the connection."""
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                await self.reader.read()
        await self.close()
        return True

    async def close(self) -> None:
        """Ends the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def message(command: Command, data: bytes = b"", vin: str = VIN, version: Version = Version.V2016, encryption: int = 1) -> bytes:
    """A frame of one command."""
    return gb32960.build(Frame(version, command, Response.COMMAND, vin.encode(), encryption, data))


def login(vin: str = VIN, iccid: str = ICCID, version: Version = Version.V2016) -> bytes:
    """A login frame."""
    return message(Command.LOGIN, gb32960.encode_login(version, Login(AT, 1, iccid)), vin, version)


def record(
    speed_rpm: int = 900, vin: str = VIN, command: Command = Command.REALTIME, at: datetime = AT, version: Version = Version.V2016
) -> bytes:
    """A record with one engine unit; the speed tells records apart."""
    units = {"engine": {"state": "STARTED", "crankshaft_rpm": speed_rpm, "consumption_l_per_100km": 5.0}}
    return message(command, gb32960.encode_record(version, at, units), vin, version)


async def connect(port: int, tls: ssl.SSLContext | None = None) -> Device:
    """A terminal connected to a gateway on this machine, with small buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return Device(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname="localhost" if tls else None))
