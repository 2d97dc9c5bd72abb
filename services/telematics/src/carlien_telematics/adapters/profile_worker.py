"""The task that makes profiles: car by car, so that it never takes more than a part of one core."""

import asyncio
from datetime import UTC, datetime

from carlien_common.postgres import Pool
from carlien_telematics.adapters.insight_worker import in_rounds
from carlien_telematics.adapters.postgres_insight import LOCK
from carlien_telematics.adapters.postgres_profiles import PostgresProfiles
from carlien_telematics.domain.behaviour import profile
from carlien_telematics.metrics import PROFILES
from carlien_telematics.service.profiling import PERIOD, ProfileTask, news, told, use_signals
from carlien_telematics.service.reading import MAX_SAMPLES

BATCH = 50


class ProfileWorker:
    """Runs for ever. What two do at once is only done twice: the second finds no news."""

    def __init__(self, pool: Pool, source: str, interval_s: float) -> None:
        self._pool = pool
        self._source = source
        self._interval_s = interval_s

    async def run(self) -> None:
        """A database that is away is tried again at the next turn."""
        await in_rounds(self.once, self._interval_s, "profiles_postponed")

    async def once(self) -> None:
        """Makes every profile that is due."""
        while True:
            async with self._pool.acquire() as connection:
                tasks = await PostgresProfiles(connection, self._source).due(BATCH)
            for task in tasks:
                await self._make(task)
            if len(tasks) < BATCH:
                return

    async def _make(self, task: ProfileTask) -> None:
        start = task.end - PERIOD
        async with self._pool.acquire() as connection:
            store = PostgresProfiles(connection, self._source)
            if not await store.consented(task.vin):
                await store.skip(task)
                return
            samples = await store.samples(task.vin, start, task.end, MAX_SAMPLES)
            known = await store.circumstances(task.vin, start, task.end)
        # a month of records is a second of work: the loop that devices are answered from goes on meanwhile
        made = await asyncio.to_thread(profile, samples, known)
        since = samples[0].at if samples else start
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK)
            store = PostgresProfiles(connection, self._source)
            if not await store.consented(task.vin):
                await store.skip(task)
                return
            if (await store.circumstances(task.vin, start, task.end)).incidents != known.incidents:
                return  # an alert came meanwhile: it stays due and is made anew
            changed = news(await store.published(task.vin), told(made))
            await store.put(task.vin, task, start, made, changed, datetime.now(UTC))
            await store.cases_of_use(task.vin, use_signals(made, known.declared_nature, task.end, since))
        PROFILES.labels("true" if changed else "false").inc()
