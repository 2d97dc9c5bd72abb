"""W3C trace context (https://www.w3.org/TR/trace-context/): who called, carried through calls, logs and events."""

from __future__ import annotations

import re
from contextvars import ContextVar
from random import getrandbits
from typing import Final

HEADER: Final = "traceparent"
_FORMAT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def new_traceparent() -> str:
    """The root of a new trace. Ids must be unique, not secret, hence the cheap generator."""
    return f"00-{getrandbits(128) | 1:032x}-{getrandbits(64) | 1:016x}-01"


def accept(header: str | None) -> str:
    """The context our own work runs in: the caller's trace with a span of ours, or a new trace."""
    if header is None or _FORMAT(header) is None:
        return new_traceparent()
    return f"{header[:36]}{getrandbits(64) | 1:016x}{header[52:]}"


def enter(header: str | None) -> str:
    """accept(), and make it the current context of this task."""
    traceparent = accept(header)
    _current.set(traceparent)
    return traceparent


def current_traceparent() -> str | None:
    """The context to hand on, if this task has one."""
    return _current.get()


def trace_id(traceparent: str) -> str:
    """The 32 hex digits every part of one trace shares."""
    return traceparent[3:35]
