"""A service's life: start in order, serve, stop in reverse, die loudly.

async with Application(settings, "valuation") as app:
    pool = await app.enter(postgres.pool(settings))
    await postgres.verify_schema(pool, "carlien_valuation")
    app.readiness("postgres", lambda: postgres.ping(pool))
    app.spawn("outbox", OutboxRelay(settings, producer).run())
    await app.enter(grpc_server(settings, services, policy=policy, health=app.health))
    await app.serve()
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Final, TypeVar

import uvloop

from carlien_common import logs, spans
from carlien_common.config import ServiceSettings
from carlien_common.health import Check, Health
from carlien_common.http import metrics_server
from carlien_common.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

REFRESH_S: Final = 1.0
"""How often readiness is looked at to tell grpc.health.v1 watchers."""
EXIT_WATCHDOG_S: Final = 10.0
"""grpc.aio's threads can hang when the loop has gone (grpc#40989); after that the process ends anyway."""
STOP_LIMIT_GRACES: Final = 3.0
STOP_LIMIT_S: Final = 5.0
"""A stop may take three times stop_grace_s and this as a whole; then the process ends as if killed, which loses nothing either.

With the default of 10 s that is 36 s with the drain, below the 45 s that the chart gives a pod.
"""


class Application:
    """Owns what a service has open. Leaving the block closes it in reverse order, each step bounded by stop_grace_s."""

    def __init__(self, settings: ServiceSettings, name: str, *, metrics_port: int | None = None) -> None:
        self.settings = settings
        self.name = name
        self.health = Health()
        self.metrics_port = settings.metrics_port if metrics_port is None else metrics_port
        self._stack = AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._stopping = asyncio.Event()
        self._main: asyncio.Task[Any] | None = None
        self._signals = 0

    async def __aenter__(self) -> Application:
        logs.configure(self.settings.log_level, self.settings.log_format, self.name)
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        await self._group.__aenter__()
        try:
            # First, so that probes and scrapes see the start; ready only when serve() says so.
            self.metrics_port = await self.enter(metrics_server(self.health, self.metrics_port))
            await self.enter(spans.exporting(self.settings, self.name))
        except BaseException as error:
            await self._group.__aexit__(type(error), error, error.__traceback__)
            raise
        self.spawn("readiness", self._watch_readiness())
        log.info("starting")
        return self

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Opens it now, closes it when everything opened later is closed."""
        value = await manager.__aenter__()

        async def close(kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
            # Twice the grace: the step itself waits for its own work first.
            await self._bounded(type(manager).__name__, manager.__aexit__(kind, error, traceback), 2 * self.settings.stop_grace_s)

        self._stack.push_async_exit(close)
        return value

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Runs it until the service stops, when it is cancelled at its place in the order. Its death is the process's death."""
        task = self._group.create_task(self._supervised(name, work), name=name)

        async def stop() -> None:
            task.cancel()
            await self._bounded(name, _settled(task), 2 * self.settings.stop_grace_s)

        self._stack.push_async_callback(stop)
        return task

    def readiness(self, name: str, check: Check) -> None:
        """A dependency without which the service can't work; the check raises when it's away."""
        self.health.add(name, check)

    async def serve(self) -> None:
        """SERVING until a signal, stop() or the death of a task."""
        self.health.accepting = True
        await self.health.refresh()
        log.info("serving", metrics_port=self.metrics_port)
        await self._stopping.wait()

    def stop(self) -> None:
        """Ends serve()."""
        self._stopping.set()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        log.info("stopping", failed=error is not None and not self._signals)
        limit = self._stop_limit()
        serving = self.health.accepting
        self.health.accepting = False
        await self.health.refresh()
        if serving and error is None:
            await asyncio.sleep(self.settings.stop_drain_s)
        self._stopping.set()
        await self._stack.__aexit__(None, None, None)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
        # A signal during the start cancels the start; that isn't a failure.
        interrupted = bool(self._signals) and kind is asyncio.CancelledError
        if interrupted:
            kind = error = traceback = None
            if self._main is not None:
                self._main.uncancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        finally:
            # Also where that raises: the application has stopped, and its process may live on (a test that cancels it).
            limit.cancel()
        log.info("stopped")
        return interrupted

    def _stop_limit(self) -> threading.Timer:
        """A part may not heed its own bound: a thread that waits for a broker, a task that won't be cancelled."""
        seconds = self.settings.stop_drain_s + STOP_LIMIT_GRACES * self.settings.stop_grace_s + STOP_LIMIT_S

        def give_up() -> None:
            log.critical("stop_gave_up", after_s=seconds, threads=[thread.name for thread in threading.enumerate()])
            os._exit(1)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        return timer

    async def _supervised(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.critical("task_died", task=name, exc_info=error)
            raise
        if not self._stopping.is_set():
            log.critical("task_ended", task=name)
            raise RuntimeError(f"The task {name} ended, which it never should.")

    async def _bounded(self, name: str, closing: Awaitable[Any], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await closing
        except TimeoutError:
            log.error("stop_timed_out", part=name, after_s=seconds)
        except Exception as error:
            log.error("stop_failed", part=name, exc_info=error)

    async def _watch_readiness(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.health.refresh()

    def _signalled(self, number: signal.Signals) -> None:
        """The first one stops in good order, the second one at once."""
        self._signals += 1
        if self._signals > 1:
            log.warning("stopping_at_once", signal=number.name)
            os._exit(128 + number)
        log.info("signal", signal=number.name)
        self._stopping.set()
        if not self.health.accepting and self._main is not None:
            # Still starting: nothing waits for the event yet.
            self._main.cancel()


async def _settled(task: asyncio.Task[None]) -> None:
    """Waits without raising what the task raised: the TaskGroup does that."""
    await asyncio.wait([task])


def run(main: Callable[[], Coroutine[Any, Any, None]], *, use_uvloop: bool = True) -> int:
    """Runs a service's main coroutine and returns the exit code: 0 after a clean stop, 1 after a death (which is in the log)."""
    code = 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if use_uvloop else None) as runner:
        try:
            runner.run(main())
        except Exception as error:
            log.critical("died", exc_info=error)
            code = 1
        watchdog = threading.Timer(EXIT_WATCHDOG_S, os._exit, (code,))
        watchdog.daemon = True
        watchdog.start()
    return code
