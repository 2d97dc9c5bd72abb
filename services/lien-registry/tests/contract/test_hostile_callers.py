"""The error contract of every rpc, from outside, on raw bytes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2
from registry_service import RegistryProcess, debtor, fresh_vin, key, registration, running

from carlien.lien.v1 import lien_pb2, lien_service_pb2, search_service_pb2, title_service_pb2
from carlien_common.grpc import errors
from carlien_common.grpc.policy import Policy
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.grpc_api import SERVICES

_POLICY = Policy.load("carlien_lien_registry")
_CASES = hostile.cases(SERVICES, _POLICY)


@pytest.fixture(scope="module")
async def service(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path_factory.mktemp("org1")) as process:
        yield process


def test_the_policy_has_a_line_for_every_rpc_and_no_other() -> None:
    assert _POLICY.unlisted(SERVICES) == []
    assert _POLICY.unknown(SERVICES) == []


@pytest.mark.parametrize("case", _CASES, ids=str)
async def test_hostile_caller(case: hostile.Case, service: RegistryProcess, pki: Pki) -> None:
    await case.check(service.address, pki)


def _past() -> Timestamp:
    return Timestamp(seconds=1_000_000_000)


def _money(currency: str, units: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, units=units)


_BAD_REGISTRATIONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "check digit": ({"vin": "LSVAA4181E2184847"}, "vin", "VIN_CHECK_DIGIT"),
    "short VIN": ({"vin": "LSVAA41"}, "vin", "VIN_LENGTH"),
    "letter O": ({"vin": "LSVAA4182E218484O"}, "vin", "VIN_CHARACTER"),
    "no class": ({"lien_class": 0}, "lien_class", "LIEN_CLASS"),
    "unknown class": ({"lien_class": 99}, "lien_class", "LIEN_CLASS"),
    "unknown currency": (
        {"secured_amount": _money("XXQ", 1)},
        "secured_amount.currency_code",
        "CURRENCY_UNKNOWN",
    ),
    "negative amount": ({"secured_amount": _money("CNY", -1)}, "secured_amount", "AMOUNT_NOT_POSITIVE"),
    "no amount": ({"secured_amount": None}, "secured_amount", "FIELD_MISSING"),
    "too large": ({"secured_amount": _money("CNY", 10**15)}, "secured_amount", "AMOUNT_TOO_LARGE"),
    "no debtor": ({"debtor": None}, "debtor.id_type", "DEBTOR_ID_TYPE"),
    "contract hash": ({"contract_hash": "AB"}, "contract_hash", "CONTRACT_HASH"),
    "no delivery": ({"lien_class": lien_pb2.LIEN_CLASS_PURCHASE_MONEY}, "delivery_date", "DELIVERY_DATE_REQUIRED"),
    "expiry in the past": ({"expires_at": _past()}, "expires_at", "EXPIRES_AT_PAST"),
    "no key": ({"idempotency_key": ""}, "idempotency_key", "IDEMPOTENCY_KEY_MISSING"),
    "zero character": ({"idempotency_key": "a\0b"}, "idempotency_key", "IDEMPOTENCY_KEY_INVALID"),
}


@pytest.mark.parametrize("name", _BAD_REGISTRATIONS)
async def test_a_bad_registration_names_field_and_reason(service: RegistryProcess, name: str) -> None:
    fields, field, reason = _BAD_REGISTRATIONS[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.register(registration(fresh_vin(), **fields) if "vin" not in fields else registration(**fields))
    error = caught.value
    known = errors.unpack(error.code(), error.details() or "", error.trailing_metadata())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert known is not None
    assert (field, reason) in [(violation.field, violation.reason) for violation in known.violations]


async def test_all_bad_fields_are_named_at_once(service: RegistryProcess) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.liens().RegisterLien(lien_service_pb2.RegisterLienRequest(), timeout=10)
    known = errors.unpack(caught.value.code(), caught.value.details() or "", caught.value.trailing_metadata())
    assert known is not None
    assert {"vin", "lien_class", "secured_amount", "contract_hash", "idempotency_key"} <= {one.field for one in known.violations}


async def test_unknown_things_are_not_found(service: RegistryProcess) -> None:
    calls = [
        service.liens().GetLien(lien_service_pb2.GetLienRequest(registration_number="L0"), timeout=10),
        service.liens().GetLienHistory(lien_service_pb2.GetLienHistoryRequest(registration_number="L0"), timeout=10),
        service.titles("originator").GetTitle(title_service_pb2.GetTitleRequest(vin=fresh_vin()), timeout=10),
        service.searches().GetCertificate(search_service_pb2.GetCertificateRequest(certificate_number="ORG1-1"), timeout=10),
        service.liens().DischargeLien(
            lien_service_pb2.DischargeLienRequest(registration_number="L" + "0" * 17, reason="PAID_OFF", idempotency_key=key()), timeout=20
        ),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({}, "SUBJECT_MISSING"),
        ({"registration_number": "L 1"}, "REGISTRATION_NUMBER"),
        ({"debtor": debtor(), "match": 2}, "MATCH_TYPE"),
        ({"vin": "LSVAA4182E2184847", "as_of": Timestamp(seconds=4_000_000_000)}, "AS_OF_FUTURE"),
        ({"vin": "LSVAA4182E2184847", "min_block": -1}, "MIN_BLOCK"),
    ],
)
async def test_a_bad_search_is_refused(service: RegistryProcess, query: dict[str, Any], reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.searches().SearchLiens(search_service_pb2.SearchLiensRequest(**query), timeout=10)
    known = errors.unpack(caught.value.code(), caught.value.details() or "", caught.value.trailing_metadata())
    assert known is not None
    assert reason in [violation.reason for violation in known.violations]
