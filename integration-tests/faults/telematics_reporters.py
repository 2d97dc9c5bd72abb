"""A fleet that reports at a fixed rate whatever happens, keeps what is not acknowledged, and sends it again as the standard says."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from faults.telematics_fleet import ICCID

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Frame, Login, Response, StreamParser, Version

WINDOW = 64
"""Records sent and not acknowledged; a terminal waits then."""
PATIENCE_S = 10.0
"""Without an answer for so long a terminal connects anew."""
_TICK_S = 0.02


class Reporter(asyncio.Protocol):
    """One terminal. `owed` are its records that nobody acknowledged yet, oldest first."""

    def __init__(self, vin: str) -> None:
        self.vin = vin
        self.owed: dict[bytes, bytes] = {}
        self.acknowledged: set[bytes] = set()
        self.reissued = 0
        self._sent: dict[bytes, None] = {}
        self._to_send: deque[bytes] = deque()
        self._ever_sent: set[bytes] = set()
        self._transport: asyncio.Transport | None = None
        self._stream = StreamParser()
        self._admitted = False
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._heard_at = cast("asyncio.Transport", transport), time.monotonic()
        self._transport.write(self._frame(Command.LOGIN, gb32960.encode_login(Version.V2016, Login(datetime.now(UTC), 1, ICCID))))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._admitted, self._stream = None, False, StreamParser()
        self._sent.clear()
        self._to_send = deque(self.owed)

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        for raw in self._stream.feed(data):
            if raw[3] != Response.SUCCESS:
                continue
            if raw[2] == Command.LOGIN:
                self._admitted = True
                self._to_send = deque(self.owed)
                continue
            stamp = raw[24:30]
            self._sent.pop(stamp, None)
            if self.owed.pop(stamp, None) is not None:
                self.acknowledged.add(stamp)
        self._send()

    def report(self, at: datetime) -> None:
        """A new record."""
        units = {"engine": {"state": "STARTED", "crankshaft_rpm": 900, "consumption_l_per_100km": 5.0}}
        stamp = gb32960.encode_time(at)
        self.owed[stamp] = gb32960.encode_record(Version.V2016, at, units)
        self._to_send.append(stamp)
        self._send()

    @property
    def silent(self) -> bool:
        """Connected, owing, and not answered for too long; or not connected at all."""
        return self._transport is None or (bool(self.owed) and time.monotonic() - self._heard_at > PATIENCE_S)

    async def connect(self, port: int) -> None:
        """Connects anew; a gateway that isn't there is tried again later."""
        if self._transport is not None:
            self._transport.abort()
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        while self._admitted and self._transport is not None and self._to_send and len(self._sent) < WINDOW:
            stamp = self._to_send.popleft()
            if stamp not in self.owed or stamp in self._sent:
                continue
            again = stamp in self._ever_sent
            self.reissued += again
            self._ever_sent.add(stamp)
            self._sent[stamp] = None
            self._transport.write(self._frame(Command.REISSUE if again else Command.REALTIME, self.owed[stamp]))

    def _frame(self, command: Command, data: bytes) -> bytes:
        return gb32960.build(Frame(Version.V2016, command, Response.COMMAND, self.vin.encode(), 1, data))


@dataclass
class Reporting:
    """All terminals of a fleet, each a record a second of its own time, together `rate` a second."""

    reporters: list[Reporter]
    port: int
    rate: float
    start: datetime
    made: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def owed(self) -> int:
        return sum(len(reporter.owed) for reporter in self.reporters)

    async def run(self) -> None:
        """Reports until told to stop; terminals connect by themselves."""
        keeper = asyncio.create_task(self._keep_connected())
        began = time.perf_counter()
        try:
            while not self._stop.is_set():
                while self.made < (time.perf_counter() - began) * self.rate:
                    number, second = self.made % len(self.reporters), self.made // len(self.reporters)
                    self.reporters[number].report(self.start + timedelta(seconds=second))
                    self.made += 1
                await asyncio.sleep(_TICK_S)
            while self.owed:  # noqa: ASYNC110 - the terminals' own state
                await asyncio.sleep(_TICK_S)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            for reporter in self.reporters:
                reporter.close()

    def stop(self) -> None:
        """No new records; what is owed is still sent."""
        self._stop.set()

    async def _keep_connected(self) -> None:
        while True:
            silent = [reporter for reporter in self.reporters if reporter.silent]
            await asyncio.gather(*(reporter.connect(self.port) for reporter in silent))
            await asyncio.sleep(1.0)
