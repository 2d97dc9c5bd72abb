"""The tasks that look at cars: a round every few seconds, one transaction per some hundred cars."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from carlien_common.failures import is_transient
from carlien_common.logs import get_logger
from carlien_common.postgres import Pool
from carlien_telematics.adapters.postgres_insight import LOCK, PostgresInsight
from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.metrics import ALERT_CHANGES, ALERTS_OPEN, INSIGHT_LAG, INSIGHT_RECORDS, INSIGHT_REPLAYS, INSIGHT_TOO_LATE
from carlien_telematics.service.insight import CARS, InsightStore, Patience, Round, look_at_due, look_at_silent

log = get_logger(__name__)

_OPEN = "SELECT kind, count(*) FROM alert WHERE state = 'OPEN' GROUP BY kind"
_LAG = "SELECT COALESCE(extract(epoch FROM now() - min(heard_at)), 0) FROM insight_due"
_EXPIRED = "DELETE FROM alert_change WHERE change_id IN (SELECT change_id FROM alert_change WHERE changed_at < $1 LIMIT 10000)"
KEPT_CHANGES = timedelta(days=30)
"""How far back a stream of changes can begin."""

REST = 3.0
"""A round is followed by so many times its length of rest: with many cars alerts come later, and devices and callers don't wait."""


def pause(interval_s: float, took_s: float) -> float:
    """Seconds until the next round."""
    return max(interval_s, REST * took_s)


async def in_rounds(once: Callable[[], Awaitable[None]], interval_s: float, postponed: str) -> None:
    """Has rounds made for ever. While the database is away one is postponed, which is logged by that name."""
    while True:
        began = time.monotonic()
        try:
            await once()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning(postponed, error=type(error).__name__)
        await asyncio.sleep(pause(interval_s, time.monotonic() - began))


Look = Callable[[InsightStore, datetime], Awaitable[Round]]


class InsightWorker:
    """Runs for ever. Several may run at once: the insight lock lets one work at a time."""

    def __init__(self, pool: Pool, source: str, patience: Patience, interval_s: float) -> None:
        self._pool = pool
        self._source = source
        self._patience = patience
        self._interval_s = interval_s

    async def run(self) -> None:
        """A database that is away is tried again at the next turn."""
        await in_rounds(self.once, self._interval_s, "insight_postponed")

    async def once(self) -> None:
        """A round: each car of which records were stored until now, once; then the silent ones."""
        async with self._pool.acquire() as connection:
            upto = await PostgresInsight(connection, self._source).newest_due()
        while (await self._transaction(lambda store, now: look_at_due(store, now, self._patience, upto))).cars:
            pass
        while (await self._transaction(lambda store, now: look_at_silent(store, now, self._patience))).cars == CARS:
            pass
        open_cases = {row["kind"]: row["count"] for row in await self._pool.fetch(_OPEN)}
        for kind in AlertKind:
            ALERTS_OPEN.labels(kind.value).set(open_cases.get(kind.value, 0))
        INSIGHT_LAG.set(await self._pool.fetchval(_LAG))
        await self._pool.execute(_EXPIRED, datetime.now(UTC) - KEPT_CHANGES)

    async def _transaction(self, look: Look) -> Round:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK)
            done = await look(PostgresInsight(connection, self._source), datetime.now(UTC))
        INSIGHT_RECORDS.inc(done.records)
        INSIGHT_REPLAYS.inc(done.replays)
        INSIGHT_TOO_LATE.inc(done.too_late)
        for case in done.changes:
            ALERT_CHANGES.labels(case.kind.value, "OPEN" if case.open else "CLOSED").inc()
        return done
