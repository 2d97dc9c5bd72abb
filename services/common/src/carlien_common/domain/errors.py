"""What can go wrong, in the domain's own terms. Which status a caller then sees is grpc/errors.py's business alone."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType


class ErrorKind(enum.Enum):
    """Why a request failed; the rows of the status table."""

    INVALID = "invalid"
    """The input itself is wrong, whatever the state of the system."""
    NOT_FOUND = "not_found"
    """No such thing, or it belongs to another org."""
    DUPLICATE = "duplicate"
    """It is there already, or the idempotency key was used for another request."""
    PRECONDITION = "precondition"
    """The input is fine, but the state doesn't allow it; a repeat fails too until the state changes."""
    CONFLICT = "conflict"
    """Somebody else was faster; a repeat may succeed."""
    DENIED = "denied"
    """The caller is known and may not."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller isn't known."""
    EXHAUSTED = "exhausted"
    """A bounded queue is full or a rate limit is reached."""
    UNAVAILABLE = "unavailable"
    """A dependency doesn't answer, or a read model is further behind than allowed."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong: its path in the request (`vehicle.vin`), a SCREAMING_SNAKE reason, a sentence for people."""

    field: str
    reason: str
    description: str


class DomainError(Exception):
    """A failure with a kind, a SCREAMING_SNAKE reason, a message that may be shown to the caller, and what helps to act on it.

    `metadata` goes to the caller (for example the registration number that holds the first rank), so nothing secret in it.
    """

    def __init__(
        self,
        kind: ErrorKind,
        reason: str,
        message: str,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})

    def __repr__(self) -> str:
        return f"DomainError({self.kind.name}, {self.reason}, {self.message!r})"

    def __reduce__(self) -> tuple[type[DomainError], tuple[object, ...]]:
        return DomainError, (self.kind, self.reason, self.message, self.violations, self.metadata)


def invalid(field: str, reason: str, message: str) -> DomainError:
    """One bad field. `with collect_violations()` reports several at once."""
    return DomainError(ErrorKind.INVALID, reason, message, (FieldViolation(field, reason, message),))


def not_found(reason: str, message: str, **metadata: str) -> DomainError:
    """There is no such thing for this caller."""
    return DomainError(ErrorKind.NOT_FOUND, reason, message, metadata=metadata)


def duplicate(reason: str, message: str, **metadata: str) -> DomainError:
    """It exists already."""
    return DomainError(ErrorKind.DUPLICATE, reason, message, metadata=metadata)


def precondition(reason: str, message: str, **metadata: str) -> DomainError:
    """The state doesn't allow it."""
    return DomainError(ErrorKind.PRECONDITION, reason, message, metadata=metadata)


def conflict(reason: str, message: str, **metadata: str) -> DomainError:
    """Lost a race; a repeat may succeed."""
    return DomainError(ErrorKind.CONFLICT, reason, message, metadata=metadata)


def denied(reason: str, message: str, **metadata: str) -> DomainError:
    """The caller may not."""
    return DomainError(ErrorKind.DENIED, reason, message, metadata=metadata)


def unauthenticated(reason: str, message: str, **metadata: str) -> DomainError:
    """The caller isn't known."""
    return DomainError(ErrorKind.UNAUTHENTICATED, reason, message, metadata=metadata)


def exhausted(reason: str, message: str, **metadata: str) -> DomainError:
    """A bound is reached."""
    return DomainError(ErrorKind.EXHAUSTED, reason, message, metadata=metadata)


def unavailable(reason: str, message: str, **metadata: str) -> DomainError:
    """A dependency doesn't answer."""
    return DomainError(ErrorKind.UNAVAILABLE, reason, message, metadata=metadata)


class ViolationCollector:
    """Gathers INVALID errors of several `with` blocks, so that a caller learns of all bad fields at once.

        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            amount = money_from_proto(request.amount, "amount")
        fields.check()          # raises one INVALID error that names every bad field; else all variables are bound

    Only INVALID is held back; any other error passes at once.
    """

    def __init__(self) -> None:
        self._errors: list[DomainError] = []

    def __enter__(self) -> ViolationCollector:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if isinstance(error, DomainError) and error.kind is ErrorKind.INVALID:
            self._errors.append(error)
            return True
        return False

    def add(self, field: str, reason: str, message: str) -> None:
        """Notes a bad field found without an exception."""
        self._errors.append(invalid(field, reason, message))

    def check(self) -> None:
        """Raises when anything was bad: the first error's reason, every error's violations."""
        if not self._errors:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        violations = [violation for error in self._errors for violation in error.violations]
        fields = ", ".join(violation.field for violation in violations)
        raise DomainError(ErrorKind.INVALID, self._errors[0].reason, f"Several fields are wrong: {fields}.", violations)


def collect_violations() -> ViolationCollector:
    """A fresh collector; see ViolationCollector."""
    return ViolationCollector()
