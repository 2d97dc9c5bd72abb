"""What a hostile or careless caller gets from every rpc of a service: the error contract, from outside, on raw bytes.

    CASES = hostile.cases([pb2.DESCRIPTOR.services_by_name["LienService"]], Policy.load("carlien_lien_registry"))

    @pytest.mark.parametrize("case", CASES, ids=str)
    async def test_hostile_caller(case, address, pki):
        await case.check(address, pki)

`address` is where the service listens with mTLS, as org1, with pki's CA (see the plugin's make_settings).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2

from carlien_common.domain.errors import DomainError
from carlien_common.grpc import errors
from carlien_common.grpc.policy import ROLES, Policy
from carlien_common.testing.pki import Credentials, Pki

DEFAULT_MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
TIMEOUT_S: Final = 30.0
CHANNEL_OPTIONS: Final = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
NOT_UTF8: Final = b"\xff\xfe"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: the status, and the domain error it carried, if any."""

    code: grpc.StatusCode
    text: str
    error: DomainError | None

    @property
    def reason(self) -> str:
        """ErrorInfo's reason, or empty."""
        return self.error.reason if self.error else ""


@dataclass(frozen=True, slots=True)
class Case:
    """One mistreatment of one rpc, and what must come of it."""

    name: str
    method: MethodDescriptor
    expected: tuple[grpc.StatusCode, str]
    credentials: Callable[[Pki], Credentials]
    request: bytes = b""
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return f"{self.method.containing_service.name}/{self.method.name}-{self.name}"

    async def check(self, address: str, pki: Pki) -> None:
        """Fails unless the call ends as it must, tells nothing it shouldn't, and the server goes on serving."""
        outcome = await call(address, self.credentials(pki), self.method, self.request, self.timeout_s)
        assert (outcome.code, outcome.reason) == self.expected, f"{self}: got {outcome.code.name} {outcome.reason} ({outcome.text})"
        await assert_serving(address, pki)


def cases(services: Iterable[ServiceDescriptor], policy: Policy, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> list[Case]:
    """Every mistreatment that applies, for every rpc of these services."""
    status = grpc.StatusCode
    made: list[Case] = []
    for method in (method for service in services for method in service.methods):
        allowed = sorted(policy.roles(path(method)))
        if not allowed:
            raise ValueError(f"{path(method)} has no line in the policy.")
        fitting = _certificate("org1", allowed[0])
        made += [
            Case("unknown CA", method, (status.UNAVAILABLE, ""), lambda pki, role=allowed[0]: pki.unknown_ca("org1", role)),  # type: ignore[misc]
            Case("no identity", method, (status.UNAUTHENTICATED, "IDENTITY_MISSING"), lambda pki: pki.without_identity()),
            Case("another org", method, (status.PERMISSION_DENIED, "ORG_NOT_ALLOWED"), _certificate("org2", allowed[0])),
            Case("expired deadline", method, (status.DEADLINE_EXCEEDED, ""), fitting, timeout_s=-1.0),
            Case("oversized message", method, (status.RESOURCE_EXHAUSTED, ""), fitting, unknown_field(max_message_bytes)),
            Case("not protobuf", method, (status.INVALID_ARGUMENT, "MALFORMED_REQUEST"), fitting, b"\x0a\xff"),
        ]
        refused = sorted(ROLES - set(allowed))
        if refused:
            denied = (status.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
            made.append(Case("wrong role", method, denied, _certificate("org1", refused[0])))
        text = with_text(method.input_type, NOT_UTF8)
        if text is not None:
            made.append(Case("not UTF-8", method, (status.INVALID_ARGUMENT, "MALFORMED_REQUEST"), fitting, text))
    return made


def path(method: MethodDescriptor) -> str:
    """/package.Service/Method"""
    return f"/{method.containing_service.full_name}/{method.name}"


async def call(address: str, credentials: Credentials, method: MethodDescriptor, request: bytes, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Sends these bytes as the only request, whatever kind the rpc is, and tells how it ended.

    By grpc's blocking client, in a thread: when a server refuses a stream while grpc.aio's client is still writing to it,
    that client now and then reports its own failed write (INTERNAL) instead of the server's status.
    """
    return await asyncio.to_thread(_call, address, credentials, method, request, timeout_s)


def _call(address: str, credentials: Credentials, method: MethodDescriptor, request: bytes, timeout_s: float) -> Outcome:
    with grpc.secure_channel(address, _channel_credentials(credentials), options=CHANNEL_OPTIONS) as channel:
        # Nothing in the way of the bytes: no stubs, no serialisers.
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        start = getattr(channel, kind)(path(method))
        try:
            answer = start(iter([request]) if method.client_streaming else request, timeout=timeout_s)
            if method.server_streaming:
                for _ in answer:
                    continue
        except grpc.RpcError as error:
            text = error.details() or ""
            trailing = grpc.aio.Metadata(*((each.key, each.value) for each in error.trailing_metadata()))
            return Outcome(error.code(), text, errors.unpack(error.code(), text, trailing))
        return Outcome(grpc.StatusCode.OK, "", None)


def channel(address: str, credentials: Credentials) -> grpc.aio.Channel:
    """A channel with these certificates and no limits of its own."""
    return grpc.aio.secure_channel(address, _channel_credentials(credentials), options=CHANNEL_OPTIONS)


def _channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        credentials.authorities.read_bytes(), credentials.key.read_bytes(), credentials.certificate.read_bytes()
    )


async def assert_serving(address: str, pki: Pki) -> None:
    """The server is still there for others."""
    async with channel(address, pki.certificate("org1", "service")) as made:
        check: Callable[..., Awaitable[bytes]] = made.unary_unary("/grpc.health.v1.Health/Check")
        answer = health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=TIMEOUT_S))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def _certificate(org: str, role: str) -> Callable[[Pki], Credentials]:
    return lambda pki: pki.certificate(org, role)


Path: TypeAlias = Sequence[FieldDescriptor]


def with_text(message: Descriptor, text: bytes) -> bytes | None:
    """A message whose first text field, however deep, has these bytes; None when it has none."""
    found = _text_field(message, ())
    if found is None:
        return None
    content = text
    for field in reversed(found):
        content = _varint(field.number << 3 | 2) + _varint(len(content)) + content
    return content


def _text_field(message: Descriptor, seen: tuple[str, ...]) -> Path | None:
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            return [field]
    for field in message.fields:
        inner = field.message_type
        # A map's entry and a message within itself would do too, but nothing is gained by them.
        if inner is None or inner.full_name in seen or inner.GetOptions().map_entry:
            continue
        deeper = _text_field(inner, (*seen, message.full_name))
        if deeper is not None:
            return [field, *deeper]
    return None


def unknown_field(size: int) -> bytes:
    """A well-formed message of just over `size` bytes, in a field nobody uses."""
    return _varint(536_870_911 << 3 | 2) + _varint(size) + b"\0" * size


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
