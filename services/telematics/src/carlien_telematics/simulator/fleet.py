"""Many simulated devices over real sockets, in one event loop."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from carlien_telematics.simulator.scenario import Scenario
from carlien_telematics.simulator.speaking import Gb32960Terminal, Terminal
from carlien_telematics.simulator.terminal_jt808 import Jt808Terminal
from carlien_telematics.simulator.truth import truth_of

_TICK_S = 0.01
_DRAIN_S = 30.0
_RECONNECT_S = 1.0
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VALUES: dict[str, int] = {"L": 3, "C": 3, "R": 9, "S": 2, "M": 4} | {str(digit): digit for digit in range(10)}
_KEPT_RECORDS = 10_000
"""Records a device keeps while it has no network; the oldest go first, as in a real one."""


def vin_of(seed: int, car: int) -> str:
    """A valid VIN nobody has: LCRSM, check digit, seed and number."""
    body = f"LCRSM000_{seed % 1000:03d}{car % 100_000:05d}"
    remainder = sum(_VALUES.get(char, 0) * weight for char, weight in zip(body, _WEIGHTS, strict=True)) % 11
    return body.replace("_", "X" if remainder == 10 else str(remainder))


def iccid_of(seed: int, car: int) -> str:
    """What the car's device proves itself with."""
    return f"8986{seed % 1_000_000:06d}{car:010d}"


def terminal_of(seed: int, car: int) -> str:
    """Terminal number of the car's JT/T 808 device, 12 digits."""
    return f"1{seed % 1000:03d}{car:08d}"


@dataclass
class Report:
    """What became of the records."""

    devices: int
    sent: int = 0
    acknowledged: int = 0
    reissued: int = 0
    unacknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    connections_lost: int = 0
    duration_s: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As the report file has it; times in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "devices": self.devices,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "reissued": self.reissued,
            "unacknowledged": self.unacknowledged,
            "refused": dict(self.refused),
            "connections_lost": self.connections_lost,
            "duration_s": round(self.duration_s, 3),
            "acknowledged_per_s": round(self.acknowledged / self.duration_s, 1) if self.duration_s else 0.0,
            "ack_p50_ms": _quantile(ordered, 0.5),
            "ack_p99_ms": _quantile(ordered, 0.99),
        }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) if ordered else None


class Device(asyncio.Protocol):
    """One car and its terminal: keeps what is not acknowledged and sends it again."""

    def __init__(self, fleet: "Fleet", number: int) -> None:
        self.fleet = fleet
        self.vin = vin_of(fleet.seed, number)
        self.number = number
        self.car, self.faults = fleet.scenario.car(fleet.seed, number, fleet.run_s, fleet.origin_s)
        self._terminal: Terminal
        if fleet.protocol == "jt808":
            self._terminal = Jt808Terminal(terminal_of(fleet.seed, number), iccid_of(fleet.seed, number))
        else:
            self._terminal = Gb32960Terminal(self.vin, iccid_of(fleet.seed, number))
        self._transport: asyncio.Transport | None = None
        self._pending: dict[bytes, deque[tuple[float, bytes]]] = {}
        self._in_flight = 0
        self._kept: deque[bytes] = deque(maxlen=_KEPT_RECORDS)
        self._logged_in = False
        self.removed = False
        self.login_answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Logs in."""
        self._transport = cast("asyncio.Transport", transport)
        self._terminal.connected()
        self._transport.write(self._terminal.login(datetime.now(UTC)))

    def connection_lost(self, exc: Exception | None) -> None:
        """What was not acknowledged is kept for a reissue."""
        del exc
        self.fleet.report.connections_lost += not (self.fleet.stopping or self.removed)
        self._transport, self._logged_in = None, False
        self._kept.extend(raw for same_key in self._pending.values() for _, raw in same_key)
        self._pending.clear()
        self._in_flight = 0
        self._answered()

    def data_received(self, data: bytes) -> None:
        """Answers of the platform."""
        now = time.perf_counter()
        report = self.fleet.report
        for answer in self._terminal.answers(data):
            if answer.login:
                self._logged_in = answer.result == "SUCCESS"
                if not self._logged_in:
                    report.refused[f"LOGIN_{answer.result}"] += 1
                self._answered()
                continue
            same_key = self._pending.get(answer.key)
            if not same_key:
                continue
            sent_at, _ = same_key.popleft()
            if not same_key:
                del self._pending[answer.key]
            self._in_flight -= 1
            if answer.result == "SUCCESS":
                report.acknowledged += 1
                report.latencies.append(now - sent_at)
            else:
                report.refused[answer.result] += 1

    def send(self, at_s: float, at: datetime) -> None:
        """One record of the car as of `at_s`, or none where its device was taken out."""
        shown = self.faults.shown(self.car, at_s)
        if shown.silent:
            self.removed = True
            if not self._pending:
                self.close()
            return
        raw = self._terminal.record(shown, at + timedelta(seconds=self.faults.skew_s))
        self.fleet.report.sent += 1
        if not shown.network or not self._logged_in:
            self._kept.append(raw)
            return
        self.flush()
        self._write(raw, raw)

    @property
    def outstanding(self) -> int:
        """Records not acknowledged yet."""
        return self._in_flight + len(self._kept)

    def flush(self) -> None:
        """Sends again what is kept."""
        while self._kept and self._logged_in and self._in_flight < 64:
            self.fleet.report.reissued += 1
            raw = self._kept.popleft()
            self._write(raw, self._terminal.reissue(raw))

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._transport is not None

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, record: bytes, sent: bytes) -> None:
        """Sends a frame; `record` is what is kept should no answer come."""
        if self._transport is not None:
            self._pending.setdefault(self._terminal.key(sent), deque()).append((time.perf_counter(), record))
            self._in_flight += 1
            self._transport.write(sent)

    def _answered(self) -> None:
        if self.login_answered is not None and not self.login_answered.done():
            self.login_answered.set_result(None)


class Fleet:
    """`devices` cars that send `rate` records a second each for `duration_s` of real time, `speedup` times faster inside."""

    def __init__(
        self,
        *,
        devices: int,
        seed: int,
        scenario: Scenario,
        rate: float,
        duration_s: float,
        speedup: float = 1.0,
        protocol: str = "gb32960",
    ) -> None:
        self.seed = seed
        self.scenario = scenario
        self.protocol = protocol
        self.rate, self.duration_s, self.speedup = rate, duration_s, speedup
        self.run_s = duration_s * speedup
        # the run ends about now: device times are never in the future
        self.start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=self.run_s)
        self.origin = simulated_origin(self.start)
        self.origin_s = (self.start - self.origin).total_seconds()
        self.report = Report(devices)
        self.stopping = False
        self.devices = [Device(self, number) for number in range(devices)]

    async def drive(self, address: str) -> Report:
        """Connects, drives, waits for the last answers, disconnects."""
        host, port = address.rsplit(":", 1)
        await self._connect(host, int(port))
        keeper = asyncio.create_task(self._keep_connected(host, int(port)))
        try:
            await self._send()
            await self._drain()
        finally:
            self.stopping = True
            keeper.cancel()
            for device in self.devices:
                device.close()
            await asyncio.gather(keeper, return_exceptions=True)
        self.report.unacknowledged = sum(device.outstanding for device in self.devices)
        return self.report

    def truth(self) -> list[dict[str, Any]]:
        """What really happened, by car."""
        end_s = self.origin_s + self.run_s
        return [
            truth_of(device.vin, device.number, device.car, device.faults.faults, self.origin, end_s, self.protocol)
            for device in self.devices
        ]

    async def _connect(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(200)

        async def one(device: Device) -> None:
            async with room:
                device.login_answered = loop.create_future()
                with contextlib.suppress(OSError, TimeoutError):
                    await loop.create_connection(lambda: device, host, port)
                    await asyncio.wait_for(device.login_answered, 20)

        await asyncio.gather(*(one(device) for device in self.devices if not device.connected and not device.removed))

    async def _keep_connected(self, host: str, port: int) -> None:
        while True:
            await asyncio.sleep(_RECONNECT_S)
            await self._connect(host, port)

    async def _send(self) -> None:
        """Spreads the devices evenly over the interval; sends what is due every tick."""
        total_rate = self.rate * len(self.devices)
        began = time.perf_counter()
        done = 0
        while (elapsed := time.perf_counter() - began) < self.duration_s:
            due = int(elapsed * total_rate)
            while done < due:
                # device time advances by the exact interval, so that no two records of a car share a second at 1/s or less
                after_s = done // len(self.devices) / self.rate * self.speedup
                self.devices[done % len(self.devices)].send(self.origin_s + after_s, self.start + timedelta(seconds=after_s))
                done += 1
                if done % 256 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(_TICK_S)
        self.report.duration_s = time.perf_counter() - began

    async def _drain(self) -> None:
        give_up = time.perf_counter() + _DRAIN_S
        while time.perf_counter() < give_up and any(device.outstanding for device in self.devices):
            for device in self.devices:
                device.flush()
            await asyncio.sleep(0.05)


def simulated_origin(at: datetime) -> datetime:
    """Monday 00:00 in China of the week of `at`, as UTC: second 0 of simulated lives."""
    local = at + timedelta(hours=8)
    monday = (local - timedelta(days=local.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    return monday - timedelta(hours=8)
