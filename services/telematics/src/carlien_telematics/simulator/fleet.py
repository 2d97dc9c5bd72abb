"""Many simulated devices over real sockets, in one event loop."""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from carlien_telematics.codecs.gb32960 import Command, Response, StreamParser
from carlien_telematics.simulator.faults import Fault, FaultKind, Scenario, as_shown
from carlien_telematics.simulator.lives import habits
from carlien_telematics.simulator.motion import Car, odometer_at_start
from carlien_telematics.simulator.terminals import Gb32960Frames, reissue

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
        self.iccid = iccid_of(fleet.seed, number)
        self.life = fleet.scenario.life(fleet.seed, number)
        self.faults: list[Fault] = fleet.scenario.of(fleet.seed, number)
        self.car = Car(fleet.seed, number, habits(fleet.seed, number, self.life), odometer_at_start(fleet.seed, number, self.life))
        self._frames = Gb32960Frames(self.vin)
        self._scatter = random.Random(f"{fleet.seed}/{number}/scatter")
        self._stream = StreamParser()
        self._transport: asyncio.Transport | None = None
        self._pending: dict[bytes, deque[tuple[float, bytes]]] = {}
        self._in_flight = 0
        self._kept: deque[bytes] = deque(maxlen=_KEPT_RECORDS)
        self._logged_in = False
        self.login_answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Logs in."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._frames.login(self.iccid, datetime.now(UTC)))

    def connection_lost(self, exc: Exception | None) -> None:
        """What was not acknowledged is kept for a reissue."""
        del exc
        self.fleet.report.connections_lost += not self.fleet.stopping
        self._transport, self._logged_in = None, False
        self._stream = StreamParser()
        self._kept.extend(raw for same_second in self._pending.values() for _, raw in same_second)
        self._pending.clear()
        self._in_flight = 0
        self._answered()

    def data_received(self, data: bytes) -> None:
        """Answers of the platform."""
        now = time.perf_counter()
        report = self.fleet.report
        for raw in self._stream.feed(data):
            if raw[2] == Command.LOGIN:
                self._logged_in = raw[3] == Response.SUCCESS
                if not self._logged_in:
                    report.refused[f"LOGIN_{Response(raw[3]).name}"] += 1
                self._answered()
                continue
            same_second = self._pending.get(raw[24:30])
            if not same_second:
                continue
            sent_at, _ = same_second.popleft()
            if not same_second:
                del self._pending[raw[24:30]]
            self._in_flight -= 1
            if raw[3] == Response.SUCCESS:
                report.acknowledged += 1
                report.latencies.append(now - sent_at)
            else:
                report.refused[Response(raw[3]).name] += 1

    def send(self, at_s: float, at: datetime) -> None:
        """One record of the car as of `at_s`, or none where its fault says so."""
        active = [fault for fault in self.faults if fault.active(at_s)]
        kinds = {fault.kind for fault in active}
        if FaultKind.REMOVAL in kinds:
            return
        reading, fix = as_shown(self.car.read(at_s), active, self._scatter)
        skew = sum(fault.value for fault in active if fault.kind is FaultKind.CLOCK_SKEW)
        raw = self._frames.record(reading, at + timedelta(seconds=skew), fix=fix)
        self.fleet.report.sent += 1
        if FaultKind.GAP in kinds or not self._logged_in:
            self._kept.append(raw)
            return
        while self._kept and self._in_flight < 64:
            self.fleet.report.reissued += 1
            self._write(reissue(self._kept.popleft()))
        self._write(raw)

    @property
    def outstanding(self) -> int:
        """Records not acknowledged yet."""
        return self._in_flight + len(self._kept)

    def flush(self) -> None:
        """Sends again what is kept."""
        while self._kept and self._logged_in and self._in_flight < 64:
            self.fleet.report.reissued += 1
            self._write(reissue(self._kept.popleft()))

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._transport is not None

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, raw: bytes) -> None:
        if self._transport is not None:
            self._pending.setdefault(raw[24:30], deque()).append((time.perf_counter(), raw))
            self._in_flight += 1
            self._transport.write(raw)

    def _answered(self) -> None:
        if self.login_answered is not None and not self.login_answered.done():
            self.login_answered.set_result(None)


class Fleet:
    """`devices` cars that send `rate` records a second each for `duration_s` of real time, `speedup` times faster inside."""

    def __init__(self, *, devices: int, seed: int, scenario: Scenario) -> None:
        self.seed = seed
        self.scenario = scenario
        self.report = Report(devices)
        self.stopping = False
        self.devices = [Device(self, number) for number in range(devices)]

    async def drive(self, address: str, *, rate: float, duration_s: float, speedup: float = 1.0) -> Report:
        """Connects, drives, waits for the last answers, disconnects."""
        host, port = address.rsplit(":", 1)
        await self._connect(host, int(port))
        keeper = asyncio.create_task(self._keep_connected(host, int(port)))
        try:
            await self._send(rate, duration_s, speedup)
            await self._drain()
        finally:
            self.stopping = True
            keeper.cancel()
            for device in self.devices:
                device.close()
            await asyncio.gather(keeper, return_exceptions=True)
        self.report.unacknowledged = sum(device.outstanding for device in self.devices)
        return self.report

    def truth(self, at_s: float) -> list[dict[str, Any]]:
        """What really happened, by car, up to simulated second `at_s`."""
        return [
            {
                "vin": device.vin,
                "life": device.life.value,
                "faults": [
                    {"kind": f.kind.value, "start_s": f.start_s, "duration_s": f.duration_s, "value": f.value} for f in device.faults
                ],
                "home": device.car.who.home.degrees(),
                "trips": [
                    {"start_s": trip.start_s, "end_s": trip.end_s, "distance_km": round(trip.distance_km, 3)}
                    for trip in device.car.trips(at_s)
                ],
            }
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

        await asyncio.gather(*(one(device) for device in self.devices if not device.connected))

    async def _keep_connected(self, host: str, port: int) -> None:
        while True:
            await asyncio.sleep(_RECONNECT_S)
            await self._connect(host, port)

    async def _send(self, rate: float, duration_s: float, speedup: float) -> None:
        """Spreads the devices evenly over the interval; sends what is due every tick."""
        total_rate = rate * len(self.devices)
        began = time.perf_counter()
        origin = simulated_origin(datetime.now(UTC) - timedelta(seconds=duration_s * speedup))
        start = datetime.now(UTC) - timedelta(seconds=duration_s * speedup)
        done = 0
        while (elapsed := time.perf_counter() - began) < duration_s:
            due = int(elapsed * total_rate)
            while done < due:
                # device time advances by the exact interval, so that no two records of a car share a second at 1/s or less
                at = start + timedelta(seconds=done // len(self.devices) / rate * speedup)
                self.devices[done % len(self.devices)].send((at - origin).total_seconds(), at)
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
