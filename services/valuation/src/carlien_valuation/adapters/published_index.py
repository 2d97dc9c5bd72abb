"""The published index as the appraisal needs it: in memory, kept up to date by a task."""

import asyncio
from collections.abc import Sequence
from datetime import date
from functools import lru_cache

from carlien_common.failures import is_transient
from carlien_common.logs import get_logger
from carlien_valuation.domain.car import Car
from carlien_valuation.domain.index_publication import Publication
from carlien_valuation.domain.residual import ResidualPolicy, Trend, trend
from carlien_valuation.service.appraise import at_cutoff
from carlien_valuation.service.index import IndexFeed, IndexStore
from carlien_valuation.service.ports import IndexReading

log = get_logger(__name__)

MAX_DELAY_S = 10.0
READINGS = 4096
"""Segments and dates whose readings are kept at hand."""


class PublishedIndex:
    """service.ports.MarketIndex and service.residual.MarketTrend: the hedonic index of the car's make, else of the whole market.

    Before anything is published, values stand at the model's cutoff and no drift is assumed.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._latest: dict[str, Publication] = {}
        self._read = lru_cache(READINGS)(self._reading)

    def update(self, publications: Sequence[Publication]) -> None:
        """Take the latest vintages; those of other regions and methods are left aside."""
        self._latest = {
            publication.key.segment: publication
            for publication in publications
            if publication.key.region == self._region and publication.key.method == "hedonic"
        }
        self._read.cache_clear()

    def of(self, car: Car) -> Publication | None:
        """The index a car's value moves with."""
        return self._latest.get(self._segment(car))

    def _segment(self, car: Car) -> str:
        segment = f"make:{car.make.strip().casefold()}"
        return segment if segment in self._latest else "all"

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:
        """Level at a day, and relative to that at the model's cutoff; one that starts after the cutoff moves nothing."""
        return self._read(self._segment(car), cutoff, day)

    def _reading(self, segment: str, cutoff: date, day: date) -> IndexReading:
        publication = self._latest.get(segment)
        now = publication.level_at(day) if publication else None
        if publication is None or now is None:
            return at_cutoff(cutoff)
        then = publication.level_at(cutoff)
        return IndexReading(f"{publication.vintage:%Y-%m}", now, now / then if then else 1.0)

    def trend(self, car: Car, day: date, policy: ResidualPolicy) -> Trend:
        """The drift its index supports."""
        return trend(self.of(car), day, policy)

    async def follow(self, store: IndexStore, feed: IndexFeed) -> None:
        """Until cancelled: take over every publication. A database that is away for a while leaves the last ones in force."""
        delay = 0.1
        while True:
            seen = feed.seen
            try:
                self.update(await store.latest("", self._region))
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("index_refresh_interrupted", error=type(error).__name__, delay_s=delay)
                await asyncio.sleep(delay)
                delay = min(MAX_DELAY_S, delay * 2)
                continue
            delay = 0.1
            await feed.beyond(seen)
