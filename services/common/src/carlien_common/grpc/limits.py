"""How many calls a second one caller may make: a token bucket per certificate identity."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from carlien_common.domain.errors import exhausted

MAX_CALLERS: Final = 10_000
"""Identities come from our own CA, so there are few; the bound holds even when it is misused."""


class RateLimit:
    """Lets `rate_per_s` calls a second through per caller on average, and that many at once after a quiet second."""

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._burst = max(1.0, rate_per_s)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """One call of this caller. Raises EXHAUSTED RATE_LIMITED with `retry_after_ms` when it's one too many."""
        now = self._clock()
        tokens, then = self._buckets.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        if tokens < 1.0:
            wait_ms = int((1.0 - tokens) / self._rate * 1000) + 1
            raise exhausted("RATE_LIMITED", f"At most {self._rate:g} calls a second and caller are served.", retry_after_ms=str(wait_ms))
        if len(self._buckets) >= MAX_CALLERS and caller not in self._buckets:
            # The one seen longest ago; at worst it gets a full bucket back.
            self._buckets.pop(min(self._buckets, key=lambda name: self._buckets[name][1]))
        self._buckets[caller] = (tokens - 1.0, now)
