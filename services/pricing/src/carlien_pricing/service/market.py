"""Where the market goes, by the index that events brought."""

import time
from datetime import date

from carlien_pricing.domain.matrix import MarketFacts
from carlien_pricing.domain.watch_state import IndexLevels
from carlien_pricing.service.ports import Store

# An index moves once a month: a quote needn't read it anew each time.
_LOOK_AGAIN_S = 10.0


class HeldMarket:
    """The index held in the database, looked at now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._levels: IndexLevels | None = None
        self._look_at = 0.0

    async def facts(self, on: date) -> MarketFacts:
        """The market's six months up to the newest level, as seen on this date."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_AGAIN_S
            self._levels = await self._store.index()
        return MarketFacts(known=False) if self._levels is None else self._levels.market(on)
