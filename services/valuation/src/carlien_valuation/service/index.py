"""Use cases of the collateral value index."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Protocol

from carlien_common.domain.errors import not_found
from carlien_valuation.domain.index_publication import IndexKey, MarketNowcast, Publication, SegmentVintages


class IndexStore(Protocol):
    """Where publications are kept."""

    async def segments(self, region: str) -> Sequence[SegmentVintages]:
        """What is published, of one region or (empty) of all, ordered by segment, region and method."""
        ...

    async def find(self, key: IndexKey, vintage: date | None) -> Publication | None:
        """One vintage, or the latest, with the first published levels of its months."""
        ...

    async def latest(self, segment: str, region: str) -> Sequence[Publication]:
        """The latest vintage of each index (empty strings: of all), in order of publication."""
        ...

    async def nowcast(self, segment: str, region: str, beyond: date) -> MarketNowcast | None:
        """The newest nowcast of a month after `beyond`; None without one."""
        ...

    async def after(self, publication_id: int, segment: str, region: str, limit: int) -> Sequence[Publication]:
        """What was published after a publication, in order, at most `limit`."""
        ...


class IndexFeed(Protocol):
    """Tells that something was published."""

    @property
    def seen(self) -> int:
        """Counts publications and reconnections; read it before reading the store."""
        ...

    async def beyond(self, seen: int) -> None:
        """Return once `seen` is no longer up to date."""
        ...


STREAM_BATCH = 100


class Indices:
    """Reads published indices."""

    def __init__(self, store: IndexStore, feed: IndexFeed) -> None:
        self._store, self._feed = store, feed

    async def segments(self, region: str) -> Sequence[SegmentVintages]:
        """What is published."""
        return await self._store.segments(region)

    async def get(self, key: IndexKey, vintage: date | None) -> Publication:
        """One vintage, or the latest; NOT_FOUND with INDEX_UNKNOWN or VINTAGE_UNKNOWN."""
        found = await self._store.find(key, vintage)
        if found is not None:
            return found
        if vintage is not None and await self._store.find(key, None) is not None:
            raise not_found("VINTAGE_UNKNOWN", f"The index {key.event_key} ({key.method}) has no vintage {vintage:%Y-%m}.")
        raise not_found("INDEX_UNKNOWN", f"No index is published for {key.event_key} ({key.method}).")

    async def nowcast(self, publication: Publication) -> MarketNowcast | None:
        """The newest nowcast beyond the latest vintage of a hedonic index; None for other methods and older vintages."""
        if publication.key.method != "hedonic":
            return None
        latest = await self._store.find(publication.key, None)
        if latest is None or latest.vintage != publication.vintage:
            return None
        return await self._store.nowcast(publication.key.segment, publication.key.region, publication.vintage)

    async def stream(self, segment: str, region: str) -> AsyncIterator[Publication]:
        """The latest vintages, then each new publication; never ends by itself."""
        seen = self._feed.seen
        last = 0
        for publication in await self._store.latest(segment, region):
            last = max(last, publication.publication_id)
            yield publication
        while True:
            batch = await self._store.after(last, segment, region, STREAM_BATCH)
            for publication in batch:
                last = publication.publication_id
                yield publication
            if len(batch) < STREAM_BATCH:
                await self._feed.beyond(seen)
                seen = self._feed.seen
