"""Records that no repeat will make good, and how many of them are too many."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import asyncpg
from google.protobuf.message import DecodeError

from carlien_common.domain.errors import DomainError
from carlien_common.failures import is_transient


class Poison(Exception):
    """Raised by a handler for a record that is bad in itself. `reason` is SCREAMING_SNAKE and goes into the dead letter."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class ConsumerHaltedError(RuntimeError):
    """The loop has stopped on purpose and taken the process with it: going on would lose or misplace records."""


def poison_reason(error: BaseException) -> str | None:
    """Why the record is to blame, or None when it isn't: then it is the code's fault, and the process must not go on."""
    if isinstance(error, Poison):
        return error.reason
    if isinstance(error, DomainError) and not is_transient(error):
        return error.reason
    if isinstance(error, DecodeError | UnicodeDecodeError):
        return "MALFORMED_RECORD"
    if isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError):
        return f"DATABASE_{type(error).__name__.removesuffix('Error').upper()}"
    return None


@dataclass(frozen=True, slots=True)
class PoisonLimit:
    """Halt when, among the last `window` records, at least `minimum` were poison and their share is above `share`.

    A bad deploy takes every record for poison; it must not drain a topic into the dead letters. The window is in memory: a
    process that is restarted again and again sets aside at most `minimum` records each time.
    """

    share: float = 0.1
    window: int = 1000
    minimum: int = 10


class PoisonGauge:
    """Counts for a PoisonLimit."""

    def __init__(self, limit: PoisonLimit) -> None:
        self._limit = limit
        self._recent: deque[bool] = deque(maxlen=limit.window)

    def good(self, count: int = 1) -> None:
        """Records that were fine."""
        self._recent.extend([False] * min(count, self._limit.window))

    def poison(self, reason: str) -> None:
        """One more; raises ConsumerHaltedError when it is one too many, before anything has been done with it."""
        self._recent.append(True)
        count = sum(self._recent)
        if count >= self._limit.minimum and count > self._limit.share * len(self._recent):
            raise ConsumerHaltedError(f"{count} of the last {len(self._recent)} records are poison, the last for {reason}")
