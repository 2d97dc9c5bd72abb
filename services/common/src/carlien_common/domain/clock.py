"""Time as a parameter, so that rules can be asked about any moment. All times are aware and in UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The wall clock, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def fixed(moment: dt.datetime) -> Clock:
    """A clock that stands still, for tests and replays. `moment` must be aware."""
    if moment.tzinfo is None:
        raise ValueError("A moment without a time zone isn't an instant.")
    instant = moment.astimezone(dt.UTC)
    return lambda: instant
