"""What every benchmark needs: a session of clients, a closed-loop load, and figures beside their reference."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from grpc_health.v1 import health_pb2, health_pb2_grpc

from loan_scenario.clients import Clients, Stack


@dataclass(frozen=True)
class Figure:
    """One measured value. `reference` is what the same run measured to compare it with; `ratio` is value / reference."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Session:
    """The stack, its clients and a seeded source of chance."""

    stack: Stack
    clients: Clients
    rng: random.Random


@dataclass(frozen=True)
class Load:
    """A closed loop's outcome: calls a second and the sorted latencies in seconds."""

    rate: float
    latencies: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the latency that `share` of the calls stay below."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]

    @property
    def median(self) -> float:
        """Return the median latency."""
        return statistics.median(self.latencies)


async def closed_loop(call: Callable[[int], Awaitable[object]], calls: int, concurrency: int) -> Load:
    """Make `calls` calls, `concurrency` at a time; `call` gets the number of the call."""
    numbers = iter(range(calls))
    latencies: list[float] = []

    async def worker() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    return Load(calls / (time.perf_counter() - began), tuple(sorted(latencies)))


async def empty_rpc(session: Session, address: str, concurrency: int, calls: int = 3000) -> Load:
    """The reference of every rpc: a health check behind the same TLS and interceptor."""
    stub = session.clients.stub(health_pb2_grpc.HealthStub, address, "originator")
    request = health_pb2.HealthCheckRequest()

    async def call(_: int) -> object:
        return await stub.Check(request)

    await closed_loop(call, 200, concurrency)
    return await closed_loop(call, calls, concurrency)
