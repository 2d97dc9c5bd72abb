"""librdkafka under an event loop: its own threads talk to the brokers, its reports are fetched in the loop's thread."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from carlien_common.logs import get_logger

log = get_logger(__name__)

Headers: TypeAlias = Sequence[tuple[str, bytes]]
Report: TypeAlias = Callable[[KafkaError | None, Message | None], None]
"""Called once per record, in the loop: the error, or None and where the record is."""

REPORTS_EVERY_S: Final = 0.004
"""How often reports are fetched while records are in flight."""
IDLE_EVERY_S: Final = 1.0
"""Without any, there is only what the client has to tell of its brokers."""
PURGE_S: Final = 1.0
"""How long the client may take to report what it was told to drop."""


class DeliveryLoop:
    """One client. Made and used in the running loop; no call blocks.

    After an error that the client calls fatal it takes nothing any more; `on_fatal` is told.
    """

    def __init__(self, options: dict[str, Any], on_fatal: Callable[[KafkaError], None]) -> None:
        self.drained: Callable[[], None] = lambda: None
        """Called in the loop after reports."""
        self._loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self._in_flight = 0
        self._all_reported = asyncio.Event()
        self._all_reported.set()
        self._client = Client({**options, "error_cb": self._error}, logger=logging.getLogger("librdkafka"))
        self._told: set[str] = set()
        """Errors that were logged since a record was delivered: an outage is told once, not twice a second."""
        # Of its own: what it logs belongs to no caller's trace.
        self._context = contextvars.Context()
        self._timer = self._fetch_later(IDLE_EVERY_S)

    def _fetch_later(self, seconds: float) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, self._fetch_reports, context=self._context)

    @property
    def in_flight(self) -> int:
        """Records handed over and not yet reported on."""
        return self._in_flight

    def produce(self, topic: str, key: str | bytes | None, value: bytes | None, headers: Headers, report: Report) -> None:
        """Hands a record over. What can't be handed over is reported as well, a moment later."""
        reported = partial(self._reported, report)
        self._in_flight += 1
        try:
            self._client.produce(topic, value, key, headers=list(headers), on_delivery=reported)
        except BufferError:
            self._loop.call_soon(reported, KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - so are the client's own errors named
        except KafkaException as error:
            self._loop.call_soon(reported, error.args[0])
        if self._all_reported.is_set():
            self._all_reported.clear()
            self._timer.cancel()
            self._timer = self._fetch_later(REPORTS_EVERY_S)

    async def close(self, timeout_s: float) -> None:
        """Waits for the fate of what was handed over, fails what is left then (the broker may still have got it), and lets go."""
        if not await self._reported_within(timeout_s):
            log.warning("records_abandoned", count=self._in_flight)
            self._client.purge()
            await self._reported_within(PURGE_S)
        self._timer.cancel()
        if self._all_reported.is_set():  # else it would wait for the rest without an end
            self._client.close()

    async def _reported_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._all_reported.wait()
        except TimeoutError:
            return False
        return True

    def _reported(self, report: Report, error: KafkaError | None, message: Message | None = None) -> None:
        self._in_flight -= 1
        if error is None and self._told:
            self._told.clear()
        report(error, message)

    def _fetch_reports(self) -> None:
        """Runs the callbacks of all reports there are."""
        try:
            if self._client.poll(0):
                self.drained()
        finally:
            if not self._in_flight:
                self._all_reported.set()
            self._timer = self._fetch_later(REPORTS_EVERY_S if self._in_flight else IDLE_EVERY_S)

    def _error(self, error: KafkaError) -> None:
        """Called from `poll`. Of a broker that is away it only tells: the client tries again by itself."""
        if error.name() not in self._told:
            self._told.add(error.name())
            log.warning("producer_error", error=error.name(), reason=error.str(), fatal=error.fatal())
        if error.fatal():
            self._on_fatal(error)
