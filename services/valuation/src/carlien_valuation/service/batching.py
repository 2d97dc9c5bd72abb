"""Many waiting requests become one batch: while a batch is computed, the next one gathers.

No timed linger: a request that finds nothing computing waits a few turns of the event loop, a tenth of a millisecond.
Computing stays on the event loop's thread, in slices of a few milliseconds: nearly all of it holds the interpreter's lock, so that
a second thread would only make the two take turns, and with each turn wait for up to the lock's switch interval (5 ms).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from carlien_common.domain.errors import exhausted

Item = TypeVar("Item")
Result = TypeVar("Result")
Other = TypeVar("Other")
Answer = TypeVar("Answer")


QUIET_TURNS = 8
"""Turns of the event loop without an arrival after which a batch is closed: a request takes several from the socket to the queue."""

SLICE = 128
"""Items of one large request computed at a stretch: several milliseconds that others wait for, and a call's own cost is spread widely."""


class Batcher(Generic[Item, Result]):
    """Runs `compute` on at most `max_batch` items at a time; at most `max_waiting` wait, more are refused."""

    def __init__(self, compute: Callable[[Sequence[Item]], Sequence[Result]], *, max_batch: int, max_waiting: int) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue(max_waiting)

    async def submit(self, item: Item) -> Result:
        """The item's result; raises EXHAUSTED where too many wait, and what `compute` raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise exhausted("APPRAISALS_WAITING", "Too many appraisals are waiting; repeat later.") from None
        return await future

    async def call(self, items: Sequence[Item]) -> list[Result]:
        """The items of one large request, slice by slice, others' work between the slices."""
        return await self.turns(self._compute, items)

    async def turns(self, work: Callable[[Sequence[Other]], Sequence[Answer]], items: Sequence[Other]) -> list[Answer]:
        """Other work on many items, in the same slices."""
        answers: list[Answer] = []
        for start in range(0, len(items), SLICE):
            if start:
                await asyncio.sleep(0)
            answers.extend(work(items[start : start + SLICE]))
        return answers

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            batch = [await self._queue.get()]
            await self._arrivals()
            while len(batch) < self._max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._serve([(item, future) for item, future in batch if not future.done()])

    async def _arrivals(self) -> None:
        """Let requests that came in while a batch was computed be read, until several turns of the event loop bring no more."""
        idle = 0
        while idle < QUIET_TURNS and self._queue.qsize() < self._max_batch:
            before = self._queue.qsize()
            await asyncio.sleep(0)
            idle = idle + 1 if self._queue.qsize() == before else 0

    def _serve(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        if not batch:
            return
        try:
            results = self._compute([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every waiter of the batch gets it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
