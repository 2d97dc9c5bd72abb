"""Who calls and how long there is, for the code that handles a call."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass

from carlien_common.domain.errors import unauthenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer, as its certificate's SAN URI says: spiffe://carlien/<org>/<role>."""

    org: str
    role: str
    spiffe_id: str


class Call:
    """One call in progress. Not a dataclass: made once per call, on the hot path."""

    __slots__ = ("caller", "deadline")

    def __init__(self, caller: Caller, deadline: float | None) -> None:
        self.caller = caller
        self.deadline = deadline


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def enter(caller: Caller, remaining_s: float | None) -> None:
    """Makes this the current call of the task. grpc.aio runs each call in a task of its own, so nothing leaks."""
    _current.set(Call(caller, None if remaining_s is None else time.monotonic() + remaining_s))


def current_caller() -> Caller:
    """Who makes the call being handled. UNAUTHENTICATED outside one."""
    call = _current.get()
    if call is None:
        raise unauthenticated("IDENTITY_MISSING", "There is no caller here.")
    return call.caller


def remaining_deadline() -> float | None:
    """Seconds left for the call being handled (at least 0); None without a deadline or outside a call."""
    call = _current.get()
    if call is None or call.deadline is None:
        return None
    return max(0.0, call.deadline - time.monotonic())
