"""Quotes made in processes of their own: a price is some milliseconds of arithmetic that would hold up the event loop, and in a
thread fight with it for the interpreter's lock at each of its turns.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager

from carlien_common.domain.errors import unavailable
from carlien_common.logs import get_logger
from carlien_pricing.adapters.codec import JsonCodec
from carlien_pricing.adapters.policies import parse_bundle
from carlien_pricing.messages import quote_response
from carlien_pricing.service.workshop import FinishedQuote, Order, Workshop

log = get_logger(__name__)

_here: dict[str, Workshop] = {}


def open_workshop(policy_files: dict[str, str], software_version: str) -> Workshop:
    """One that keeps the canonical texts and the wire's messages."""
    return Workshop(parse_bundle(policy_files), JsonCodec(), quote_response, software_version)


def _open(policy_files: dict[str, str], software_version: str) -> None:
    # A signal to the whole group is the parent's to answer; and a parent that was killed can't end its children itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _here["workshop"] = open_workshop(policy_files, software_version)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(order: Order) -> FinishedQuote:
    return _here["workshop"].make(order)


def _ready() -> bool:
    return "workshop" in _here


class ProcessWorkshops:
    """service.workshop.QuoteMaker in other processes. One that dies (killed, out of memory) is replaced; its quotes are tried again
    once, for nothing of them was kept.
    """

    def __init__(self, start: Callable[[], ProcessPoolExecutor]) -> None:
        self._start = start
        self._pool = start()

    async def make(self, order: Order) -> FinishedQuote:
        try:
            return await self._run(order)
        except BrokenProcessPool:
            try:
                return await self._run(order)
            except BrokenProcessPool as error:
                raise unavailable("PRICING_INTERRUPTED", "the process that made the quote was lost; try again") from error

    async def _run(self, order: Order) -> FinishedQuote:
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _make, order)
        except BrokenProcessPool:
            # All that waited on it come here; the first one replaces it.
            if self._pool is pool:
                log.error("pricing_process_lost")
                self._pool = self._start()
                pool.shutdown(wait=False)
            raise

    async def ready(self) -> None:
        """Returns once a process is up, policies read."""
        await asyncio.get_running_loop().run_in_executor(self._pool, _ready)

    def close(self) -> None:
        """Waits for what is being made."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@asynccontextmanager
async def process_workshops(processes: int, policy_files: dict[str, str], software_version: str) -> AsyncIterator[ProcessWorkshops]:
    """So many processes. Spawned, not forked: a forked child would inherit gRPC's and Kafka's threads half-way."""
    context = multiprocessing.get_context("spawn")
    made = ProcessWorkshops(lambda: ProcessPoolExecutor(processes, context, _open, (policy_files, software_version)))
    try:
        await made.ready()
        yield made
    finally:
        await asyncio.to_thread(made.close)
