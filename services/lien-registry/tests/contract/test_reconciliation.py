"""Extracts of official registries against the real ledger: cases are opened, go away, are settled."""

import datetime as dt
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2
from registry_service import RegistryProcess, fresh_vin, key, refusal, registration, running

from carlien.lien.v1 import lien_pb2, reconciliation_pb2, reconciliation_service_pb2, reconciliation_service_pb2_grpc
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.cli.import_ import read

DEADLINE = 30.0


@pytest.fixture(scope="module")
async def org1(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path_factory.mktemp("org1")) as service:
        yield service


def _header(**fields: object) -> reconciliation_service_pb2.ImportRegistryExtractRequest:
    now = Timestamp()
    now.FromDatetime(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1))
    values = {"source": lien_pb2.EXTERNAL_REGISTRY_ZHONGDENG, "extracted_at": now, "idempotency_key": key()}
    header = reconciliation_service_pb2.ExtractHeader(**{**values, **fields})  # type: ignore[arg-type]
    return reconciliation_service_pb2.ImportRegistryExtractRequest(header=header)


def _record(number: str, vin: str, units: int = 30_000, *, active: bool = True) -> reconciliation_service_pb2.ImportRegistryExtractRequest:
    record = reconciliation_pb2.ExtractRecord(
        external_certificate_number=number, vin=vin, active=active, secured_amount=money_pb2.Money(currency_code="CNY", units=units)
    )
    return reconciliation_service_pb2.ImportRegistryExtractRequest(record=record)


async def test_cases_open_once_go_away_and_are_settled(org1: RegistryProcess) -> None:
    stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(org1.channel("registrar"))
    lease = await org1.register(registration(fresh_vin(), lien_class=lien_pb2.LIEN_CLASS_FINANCE_LEASE))
    stranger = fresh_vin()
    extract = [_header(), _record("ZD-1", lease.vin, 29_000), _record("ZD-2", stranger), _record("ZD-3", "SHORT")]
    first = await stub.ImportRegistryExtract(iter(extract), timeout=DEADLINE)
    assert (first.records, dict(first.rejected)) == (2, {"VIN_LENGTH": 1})
    assert first.as_of_block >= lease.block_number
    assert await stub.ImportRegistryExtract(iter(extract), timeout=DEADLINE) == first

    async def cases(vin: str, state: int = 0) -> list[reconciliation_pb2.Mismatch]:
        request = reconciliation_service_pb2.ListMismatchesRequest(vin=vin, state=state)  # type: ignore[arg-type]
        return list((await stub.ListMismatches(request, timeout=DEADLINE)).mismatches)

    drift, ghost = (await cases(lease.vin)), (await cases(stranger))
    assert [(one.kind, one.registration_number) for one in drift] == [
        (reconciliation_pb2.MISMATCH_KIND_AMOUNT_DRIFT, lease.registration_number)
    ]
    assert [one.kind for one in ghost] == [reconciliation_pb2.MISMATCH_KIND_GHOST_LIEN]
    assert drift[0].due_at.ToDatetime() > drift[0].opened_at.ToDatetime()
    again = await stub.ImportRegistryExtract(iter([_header(), *extract[1:]]), timeout=DEADLINE)
    assert again.opened == 0
    settle = reconciliation_service_pb2.ResolveMismatchRequest(
        mismatch_id=ghost[0].mismatch_id, resolution="registered by a lender outside the consortium", idempotency_key=key()
    )
    settled = (await stub.ResolveMismatch(settle, timeout=DEADLINE)).mismatch
    assert settled.state == reconciliation_pb2.MISMATCH_STATE_RESOLVED
    assert (await stub.ResolveMismatch(settle, timeout=DEADLINE)).mismatch == settled
    mended = await stub.ImportRegistryExtract(iter([_header(), _record("ZD-1", lease.vin)]), timeout=DEADLINE)
    assert mended.gone >= 1
    assert [one.mismatch_id for one in await cases(lease.vin, reconciliation_pb2.MISMATCH_STATE_GONE)] == [drift[0].mismatch_id]
    assert await cases(lease.vin) == []


async def test_pages_of_cases(org1: RegistryProcess) -> None:
    stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(org1.channel("registrar"))
    records = [_record(f"ZD-P{number}", fresh_vin()) for number in range(5)]
    await stub.ImportRegistryExtract(iter([_header(), *records]), timeout=DEADLINE)
    found: list[str] = []
    token = ""
    while True:
        request = reconciliation_service_pb2.ListMismatchesRequest(page_size=2, page_token=token)
        answer = await stub.ListMismatches(request, timeout=DEADLINE)
        found += [one.mismatch_id for one in answer.mismatches]
        token = answer.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) >= 5


@pytest.mark.parametrize(
    ("extract", "reason"),
    [
        ([], "HEADER_MISSING"),
        ([_record("ZD-1", "LSVAA4182E2184847")], "HEADER_MISSING"),
        ([_header(source=lien_pb2.EXTERNAL_REGISTRY_OTHER)], "EXTERNAL_REGISTRY"),
        ([_header(), _header()], "RECORD_EXPECTED"),
        ([_header(extracted_at=Timestamp(seconds=4_000_000_000))], "EXTRACT_FROM_FUTURE"),
    ],
)
async def test_a_bad_extract_is_refused(
    org1: RegistryProcess, extract: list[reconciliation_service_pb2.ImportRegistryExtractRequest], reason: str
) -> None:
    stub = reconciliation_service_pb2_grpc.ReconciliationServiceStub(org1.channel("registrar"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ImportRegistryExtract(iter(extract), timeout=DEADLINE)
    assert refusal(caught.value)[1] == reason


def test_csv_and_json_say_the_same() -> None:
    line = {
        "external_certificate_number": "PSB-1",
        "vin": "LSVAA4182E2184847",
        "status": "ACTIVE",
        "secured_amount": "120000.50",
        "currency": "CNY",
        "registered_on": "2026-01-05",
    }
    text = ",".join(line) + "\n" + ",".join(line.values()) + "\n"
    from_csv, from_json = list(read(Path("a.csv"), text.encode())), list(read(Path("a.json"), json.dumps([line]).encode()))
    assert from_csv == from_json
    assert (from_csv[0].secured_amount.units, from_csv[0].secured_amount.nanos) == (120_000, 500_000_000)
