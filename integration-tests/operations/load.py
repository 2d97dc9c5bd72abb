"""An open loop: so many calls a second, whether or not the earlier ones have been answered."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc

_PATIENCE_S = 120.0


@dataclass
class Load:
    """How a loop went."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def codes(self) -> Counter[str]:
        return Counter(failure.split(":")[0] for failure in self.failures)

    async def goes_on(self, calls: float) -> None:
        """Wait until so many further calls have ended, well or not; TimeoutError where they don't."""
        wanted = self._ended + calls
        async with asyncio.timeout(_PATIENCE_S):
            while self._ended < wanted:  # noqa: ASYNC110 - counted by other tasks
                await asyncio.sleep(0.05)

    @property
    def _ended(self) -> int:
        return len(self.failures) + len(self.latencies_s)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def keep_up(call: Callable[[int], Awaitable[None]], rate: float, until: asyncio.Event, load: Load) -> None:
    """Make `rate` calls a second (the n-th at n / rate) until told, then wait for the last answers."""
    began = time.monotonic()
    running: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        started = time.monotonic()
        try:
            await call(number)
        except grpc.aio.AioRpcError as error:
            load.failures.append(f"{error.code().name}: {error.details()}")
        except TimeoutError:
            load.failures.append("GAVE UP: it was asked again and again and never answered")
        else:
            load.latencies_s.append(time.monotonic() - started)

    while not until.is_set():
        task = asyncio.create_task(one(load.sent))
        running.add(task)
        task.add_done_callback(running.discard)
        load.sent += 1
        ahead = began + load.sent / rate - time.monotonic()
        # Also when behind: the other tasks need their turn.
        await asyncio.sleep(max(0.0, ahead))
    await asyncio.gather(*running)
