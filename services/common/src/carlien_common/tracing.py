"""W3C trace context (https://www.w3.org/TR/trace-context/): who called, carried through calls, logs and events.

Carrying it is always on. Recording spans is not: that is `spans`, switched on by CARLIEN_TRACES_ENDPOINT.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from random import getrandbits
from typing import Final

HEADER: Final = "traceparent"
_FORMAT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


class _Place:
    """Where a task is in a trace. Worked out when someone asks: most calls neither log, nor call on, nor store an event."""

    __slots__ = ("_own", "header")

    def __init__(self, header: str | None, own: str | None = None) -> None:
        self.header = header
        self._own = own

    @property
    def traceparent(self) -> str:
        if self._own is None:
            self._own = accept(self.header)
        return self._own


_current: ContextVar[_Place | None] = ContextVar("traceparent", default=None)


def new_traceparent() -> str:
    """The root of a new trace. Ids must be unique, not secret, hence the cheap generator."""
    return f"00-{getrandbits(128) | 1:032x}-{getrandbits(64) | 1:016x}-01"


def well_formed(header: str | None) -> bool:
    """Whether a header names a trace to go on with."""
    return header is not None and _FORMAT(header) is not None


def accept(header: str | None) -> str:
    """The context our own work runs in: the caller's trace with a span of ours, or a new trace."""
    if header is None or _FORMAT(header) is None:
        return new_traceparent()
    return f"{header[:36]}{getrandbits(64) | 1:016x}{header[52:]}"


def enter(header: str | None) -> None:
    """Goes on, in this task, with the trace of whoever sent this header; None or nonsense starts a new one."""
    _current.set(_Place(header))


def use(traceparent: str) -> None:
    """Makes exactly this the current context of the task: a span that has begun."""
    _current.set(_Place(None, traceparent))


def current_traceparent() -> str | None:
    """The context to hand on, if this task has one."""
    place = _current.get()
    return None if place is None else place.traceparent


def caller_traceparent() -> str | None:
    """The header that enter() was given, for the one who begins a span below it."""
    place = _current.get()
    return None if place is None else place.header


def trace_id(traceparent: str) -> str:
    """The 32 hex digits every part of one trace shares."""
    return traceparent[3:35]
