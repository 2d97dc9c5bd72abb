"""The status table of interfaces.md, and google.rpc.Status details (https://google.aip.dev/193) both ways."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation

DOMAIN: Final = "carlien"
DETAILS_KEY: Final = "grpc-status-details-bin"
# HTTP/2 header lists are small (8 KiB is a usual limit); a request with a thousand bad rows must still get its answer.
MAX_VIOLATIONS: Final = 20
MAX_TEXT: Final = 300

STATUS: Final[dict[ErrorKind, grpc.StatusCode]] = {
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.DUPLICATE: grpc.StatusCode.ALREADY_EXISTS,
    ErrorKind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorKind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
KIND: Final = {status: kind for kind, status in STATUS.items()}


def _any(message: ErrorInfo | BadRequest) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def details(code: grpc.StatusCode, message: str, reason: str, metadata: dict[str, str], violations: tuple[FieldViolation, ...]) -> bytes:
    """A serialised google.rpc.Status with ErrorInfo and, for bad input, BadRequest."""
    packed = [_any(ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))]
    if violations:
        shown = [
            BadRequest.FieldViolation(field=each.field, description=each.description[:MAX_TEXT], reason=each.reason)
            for each in violations[:MAX_VIOLATIONS]
        ]
        packed.append(_any(BadRequest(field_violations=shown)))
    raw: bytes = Status(code=code.value[0], message=message[:MAX_TEXT], details=packed).SerializeToString()
    return raw


def trailers(code: grpc.StatusCode, error: DomainError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries the error's details."""
    return ((DETAILS_KEY, details(code, error.message, error.reason, error.metadata, error.violations)),)


def unpack(code: grpc.StatusCode, message: str, trailing: grpc.aio.Metadata | None) -> DomainError | None:
    """The domain error another carlien service raised, or None when the status isn't one of ours."""
    kind = KIND.get(code)
    raw = trailing.get(DETAILS_KEY) if trailing is not None else None
    if kind is None or not isinstance(raw, bytes):
        return None
    try:
        status = Status.FromString(raw)
    except DecodeError:
        return None
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(bad)
    if info.domain != DOMAIN:
        return None
    violations = [FieldViolation(each.field, each.reason, each.description) for each in bad.field_violations]
    return DomainError(kind, info.reason, message, violations, dict(info.metadata))
