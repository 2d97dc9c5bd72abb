from pathlib import Path

import asyncpg
import grpc
import pytest
from google.protobuf.message import DecodeError

from carlien.lien.v1 import lien_service_pb2
from carlien_common.domain.errors import DomainError, ErrorKind, conflict, exhausted, invalid, not_found, unavailable
from carlien_common.failures import as_domain_error, is_transient
from carlien_common.grpc.errors import STATUS
from carlien_common.grpc.policy import Policy, PolicyError
from carlien_common.kafka.poison import ConsumerHaltedError, Poison, PoisonGauge, PoisonLimit, poison_reason
from carlien_common.testing import hostile

SERVICE = lien_service_pb2.DESCRIPTOR.services_by_name["LienService"]


def test_a_policy_says_who_may_what() -> None:
    policy = Policy.parse("carlien.lien.v1.LienService:\n  RegisterLien: [originator, service]\n  GetLien: []\n")
    assert policy.roles("/carlien.lien.v1.LienService/RegisterLien") == {"originator", "service"}
    assert policy.roles("/carlien.lien.v1.LienService/GetLien") == set()
    assert policy.roles("/carlien.lien.v1.LienService/Unheard") == set()


def test_rpcs_without_a_line_and_lines_without_an_rpc_are_found() -> None:
    policy = Policy.parse("carlien.lien.v1.LienService: {RegisterLien: [originator], Misspelt: [originator]}")
    missing = policy.unlisted([SERVICE])
    assert "/carlien.lien.v1.LienService/GetLien" in missing
    assert "/carlien.lien.v1.LienService/RegisterLien" not in missing
    assert policy.unknown([SERVICE]) == ["/carlien.lien.v1.LienService/Misspelt"]


@pytest.mark.parametrize("text", ["- a", "S: [x]", "S: {R: originator}", "S: {R: [nobody]}", "S: {R: [1]}"])
def test_a_policy_that_says_something_else_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        Policy.parse(text)


def test_a_file_overrides_the_packages_own(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("S: {R: [admin]}")
    assert Policy.load("no.such.package", file).roles("/S/R") == {"admin"}


def test_the_status_table_has_every_kind_once() -> None:
    assert set(STATUS) == set(ErrorKind)
    assert len(set(STATUS.values())) == len(STATUS)


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (asyncpg.SerializationError("x"), ErrorKind.CONFLICT, True),
        (asyncpg.DeadlockDetectedError("x"), ErrorKind.CONFLICT, True),
        (asyncpg.ConnectionDoesNotExistError("x"), ErrorKind.UNAVAILABLE, True),
        (asyncpg.CannotConnectNowError("x"), ErrorKind.UNAVAILABLE, True),
        (asyncpg.TooManyConnectionsError("x"), ErrorKind.UNAVAILABLE, True),
        (asyncpg.AdminShutdownError("x"), ErrorKind.UNAVAILABLE, True),
        (asyncpg.InterfaceError("connection is closed"), ErrorKind.UNAVAILABLE, True),
        (ConnectionRefusedError(), ErrorKind.UNAVAILABLE, True),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), ErrorKind.UNAVAILABLE, True),
        (TimeoutError(), ErrorKind.UNAVAILABLE, True),
        (unavailable("A", "a"), ErrorKind.UNAVAILABLE, True),
        (conflict("A", "a"), ErrorKind.CONFLICT, True),
        (exhausted("A", "a"), ErrorKind.EXHAUSTED, True),
        (invalid("f", "A", "a"), ErrorKind.INVALID, False),
        (not_found("A", "a"), ErrorKind.NOT_FOUND, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_of_what_we_depend_on(error: Exception, kind: ErrorKind, transient: bool) -> None:
    known = as_domain_error(error)
    assert known is not None
    assert known.kind is kind
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    "error", [KeyError("x"), asyncpg.UndefinedTableError("x"), asyncpg.InterfaceError("wrong use"), FileNotFoundError()]
)
def test_programming_errors_are_nobodys_fault_but_ours(error: Exception) -> None:
    assert as_domain_error(error) is None
    assert not is_transient(error)
    assert poison_reason(error) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Poison("X"), "X"),
        (invalid("f", "BAD", "a"), "BAD"),
        (DecodeError(), "MALFORMED_RECORD"),
        (asyncpg.NumericValueOutOfRangeError("x"), "DATABASE_NUMERICVALUEOUTOFRANGE"),
        (asyncpg.NotNullViolationError("x"), "DATABASE_NOTNULLVIOLATION"),
        (unavailable("AWAY", "a"), None),
        (TimeoutError(), None),
    ],
)
def test_what_is_a_records_own_fault(error: Exception, reason: str | None) -> None:
    assert poison_reason(error) == reason


def test_the_limit_looks_at_share_and_number() -> None:
    gauge = PoisonGauge(PoisonLimit(share=0.1, window=100, minimum=3))
    gauge.poison("X")
    gauge.poison("X")
    with pytest.raises(ConsumerHaltedError):
        gauge.poison("X")
    patient = PoisonGauge(PoisonLimit(share=0.1, window=100, minimum=3))
    for _ in range(50):
        patient.good(20)
        patient.poison("X")


def test_foreign_details_are_not_taken_for_ours() -> None:
    from carlien_common.grpc.errors import DETAILS_KEY, unpack

    for raw in (b"", b"\xff\xff", b"\x12\x01x"):
        assert unpack(grpc.StatusCode.NOT_FOUND, "x", grpc.aio.Metadata((DETAILS_KEY, raw))) is None
    assert unpack(grpc.StatusCode.UNKNOWN, "x", grpc.aio.Metadata()) is None
    assert unpack(grpc.StatusCode.NOT_FOUND, "x", None) is None


def test_hostile_text_is_found_however_deep() -> None:
    request = lien_service_pb2.RegisterLienRequest
    raw = hostile.with_text(request.DESCRIPTOR, b"abc")
    assert raw is not None
    assert b"abc" in request.FromString(raw).SerializeToString()
    bad = hostile.with_text(request.DESCRIPTOR, hostile.NOT_UTF8)
    assert bad is not None
    with pytest.raises(DecodeError):
        request.FromString(bad)


def test_an_rpc_without_a_line_has_no_hostile_cases() -> None:
    with pytest.raises(ValueError, match="no line"):
        hostile.cases([SERVICE], Policy({}))


def test_every_error_can_be_told_apart() -> None:
    assert isinstance(unavailable("A", "a"), DomainError)
    assert repr(unavailable("A", "a")) == "DomainError(UNAVAILABLE, A, 'a')"
