"""Following the ledger: blocks into the read model, with a checkpoint, and how far behind it is."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from carlien_common.logs import get_logger
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import CheckpointMoved, FollowedBlock, LedgerFeed, LedgerForked, OutcomeUnknown, Projection

log = get_logger(__name__)

# Blocks taken in one database transaction while catching up; one at a time when nothing waits.
_BATCH_TRANSACTIONS: Final = 2_000
_QUEUE_BLOCKS: Final = 256
_HEIGHT_SECONDS: Final = 0.5
_BACKOFF_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)


class Progress:
    """Where the read model stands against the ledger, and since when it hasn't been level with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start behind: nothing is known of the ledger yet."""
        self._clock = clock
        self._level_at = float("-inf")
        self._applied = asyncio.Condition()
        self._was_level = asyncio.Event()
        self._saw_height = False
        self.height = -1
        self.block_number = -1

    def behind_seconds(self) -> float:
        """Seconds since the read model was last known to be level with the ledger, 0 while it is found level each time."""
        behind = self._clock() - self._level_at
        return 0.0 if behind < 2 * _HEIGHT_SECONDS else behind

    def saw_height(self, height: int) -> None:
        """The peer's ledger has this last block."""
        self._saw_height = True
        self.height = max(self.height, height)
        self._look()

    async def applied(self, block_number: int) -> None:
        """The read model has taken this block in."""
        self.block_number = block_number
        self.height = max(self.height, block_number)
        self._look()
        async with self._applied:
            self._applied.notify_all()

    async def reached(self, block_number: int, timeout: float) -> bool:
        """Wait until the read model has that block; False where it hasn't within the time."""
        try:
            async with asyncio.timeout(timeout), self._applied:
                await self._applied.wait_for(lambda: self.block_number >= block_number)
        except TimeoutError:
            return False
        return True

    async def level(self, timeout: float) -> bool:
        """Wait until the read model was found level for the first time; False where it wasn't within the time."""
        try:
            async with asyncio.timeout(timeout):
                await self._was_level.wait()
        except TimeoutError:
            return False
        return True

    def _look(self) -> None:
        if self.block_number >= self.height:
            self._level_at = self._clock()
            # Blocks alone don't show that: the peer's height does.
            if self._saw_height:
                self._was_level.set()


class LedgerFollower:
    """Takes blocks in order into the projection and tells whoever waits for a transaction.

    Every replica follows; the first to apply a block wins, the others skip it and only tell their own waiters.
    """

    def __init__(
        self,
        feed: LedgerFeed,
        projection: Projection,
        outcomes: Outcomes,
        progress: Progress,
        is_transient: Callable[[BaseException], bool],
        on_batch: Callable[[list[FollowedBlock]], None] = lambda _: None,
    ) -> None:
        """Take the parts; `is_transient` tells a store that is away from a mistake, `on_batch` may count."""
        self._feed = feed
        self._projection = projection
        self._outcomes = outcomes
        self._progress = progress
        self._is_transient = is_transient
        self._on_batch = on_batch

    async def run(self) -> None:
        """Follow for good. A peer or a database that is away is waited for; anything else ends it."""
        failures = 0
        while True:
            reached = self._progress.block_number
            try:
                await self.follow()
            except Exception as error:
                if not isinstance(error, OutcomeUnknown | CheckpointMoved) and not self._is_transient(error):
                    raise
            failures = failures + 1 if self._progress.block_number == reached else 0
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])

    async def follow(self, until: int | None = None) -> None:
        """Follow from the checkpoint until the stream breaks, or until block `until` is taken in."""
        checkpoint = await self._projection.checkpoint()
        await self._progress.applied(checkpoint.block_number)
        if until is not None and checkpoint.block_number >= until:
            return
        queue: asyncio.Queue[FollowedBlock] = asyncio.Queue(_QUEUE_BLOCKS)
        reader = asyncio.create_task(self._read(checkpoint.block_number + 1, queue))
        try:
            while until is None or self._progress.block_number < until:
                block = await _next(queue, reader)
                await self._take([block, *_drain(queue, len(block.outcomes))])
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def watch_height(self) -> None:
        """Ask the peer for its height again and again, so that being behind is noticed; runs for good."""
        while True:
            # Not knowing is being behind: the time since the last look goes on.
            with contextlib.suppress(OutcomeUnknown):
                height = await self._feed.height()
                if height < self._progress.block_number:
                    # A peer that was restored, or one that lags behind the one asked before; for good, it is another ledger.
                    log.warning("peer_behind_read_model", ledger_height=height, read_model_height=self._progress.block_number)
                self._progress.saw_height(height)
            await asyncio.sleep(_HEIGHT_SECONDS)

    async def _read(self, start: int, queue: "asyncio.Queue[FollowedBlock]") -> None:
        expected = start
        async for block in self._feed.blocks(start):
            if block.number != expected:
                raise LedgerForked(f"the peer delivered block {block.number} instead of {expected}")
            expected += 1
            await queue.put(block)

    async def _take(self, batch: list[FollowedBlock]) -> None:
        stored = await self._projection.apply(batch)
        self._on_batch(batch)
        for block in batch:
            self._outcomes.resolve(block.outcomes, stored)
        await self._progress.applied(batch[-1].number)


async def _next(queue: "asyncio.Queue[FollowedBlock]", reader: "asyncio.Task[None]") -> FollowedBlock:
    """Return the next block, or raise why no more come."""
    getting = asyncio.create_task(queue.get())
    try:
        await asyncio.wait([getting, reader], return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        reader.result()
        raise OutcomeUnknown("the stream of blocks ended")
    finally:
        getting.cancel()


def _drain(queue: "asyncio.Queue[FollowedBlock]", transactions: int) -> list[FollowedBlock]:
    more: list[FollowedBlock] = []
    while transactions < _BATCH_TRANSACTIONS and not queue.empty():
        block = queue.get_nowait()
        transactions += len(block.outcomes)
        more.append(block)
    return more
