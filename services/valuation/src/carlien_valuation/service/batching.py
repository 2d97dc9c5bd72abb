"""Many waiting requests become one batch: while a batch is computed, the next one gathers.

No linger: a request that finds the worker idle is computed at once, so a single caller pays nothing for batching.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from carlien_common.domain.errors import exhausted

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Result]):
    """Runs `compute` on at most `max_batch` items at a time in one thread of its own; at most `max_waiting` wait, more are refused."""

    def __init__(self, compute: Callable[[Sequence[Item]], Sequence[Result]], *, max_batch: int, max_waiting: int) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue(max_waiting)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="appraiser")

    async def submit(self, item: Item) -> Result:
        """The item's result; raises EXHAUSTED where too many wait, and what `compute` raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise exhausted("APPRAISALS_WAITING", "Too many appraisals are waiting; repeat later.") from None
        return await future

    async def call(self, items: Sequence[Item]) -> Sequence[Result]:
        """One batch by itself, in the same thread and so in turn with the others."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._compute, items)

    async def turn(self, work: Callable[[], Answer]) -> Answer:
        """Other work that needs what `compute` uses, in the same thread and so in turn with it."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                batch = [await self._queue.get()]
                while len(batch) < self._max_batch and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._serve([(item, future) for item, future in batch if not future.done()])
        finally:
            self._executor.shutdown(wait=True, cancel_futures=True)

    async def _serve(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        if not batch:
            return
        try:
            results = await self.call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every waiter of the batch gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
