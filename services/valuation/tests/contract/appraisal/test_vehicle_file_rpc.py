"""ImportRecords and GetVehicleFile, and what a file teaches an appraisal, on the real service."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from carlien.valuation.v1 import (
    appraisal_pb2,
    valuation_service_pb2,
    vehicle_pb2,
    vehicle_record_pb2,
    vehicle_record_service_pb2,
    vehicle_record_service_pb2_grpc,
)
from carlien_common.domain.vin import check_digit
from carlien_common.grpc.client import to_domain_error
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials
from carlien_common.testing.pki import Pki
from carlien_valuation.adapters.postgres_records import PostgresRecords

NOW = datetime(2026, 7, 1, 9, tzinfo=UTC)
"""The service's clock."""
RETAIL = appraisal_pb2.PRICE_TYPE_DEALER_RETAIL
MAINTENANCE = vehicle_record_pb2.RECORD_KIND_MAINTENANCE
LISTING = vehicle_record_pb2.RECORD_KIND_LISTING
QUOTE = vehicle_record_pb2.RECORD_KIND_QUOTE


def vin(number: int) -> str:
    text = f"LSVNV2182E3{number:06d}"
    return text[:8] + check_digit(text) + text[9:]


def at(days_ago: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW - timedelta(days=days_ago))
    return stamp


def asked(
    number: int, days_ago: float, kind: Any, source: str, key: str = "", **stated: Any
) -> vehicle_record_service_pb2.ImportRecordsRequest:
    base: dict[str, Any] = {"vin": vin(number), "kind": kind, "source": source, "occurred_at": at(days_ago), "consent_id": "c1"}
    record = vehicle_record_pb2.VehicleRecord(**{**base, **stated})
    return vehicle_record_service_pb2.ImportRecordsRequest(record=record, idempotency_key=key or str(uuid.uuid4()))


def yuan(units: int) -> Money:
    return Money(currency_code="CNY", units=units)


def car(number: int, **changes: Any) -> vehicle_pb2.Vehicle:
    base: dict[str, Any] = {
        "vin": vin(number), "make": "大众", "model": "朗逸", "trim": "2018款 1.6L 自动舒适版", "odometer_km": 80_000,
        "first_registration": Date(year=2019, month=3, day=15), "fuel_type": vehicle_pb2.FUEL_TYPE_PETROL,
    }  # fmt: skip
    return vehicle_pb2.Vehicle(**{name: value for name, value in {**base, **changes}.items() if value is not None})


async def appraise(service: Any, vehicle: vehicle_pb2.Vehicle) -> appraisal_pb2.Appraisal:
    request = valuation_service_pb2.AppraiseRequest(vehicle=vehicle, price_types=[RETAIL])
    answer: appraisal_pb2.Appraisal = (await service.valuation.Appraise(request)).appraisal
    return answer


async def informed(service: Any, vehicle: vehicle_pb2.Vehicle, code: str) -> appraisal_pb2.Appraisal:
    """The appraisal once the file is known to the running service, which learns of it a moment after the import."""
    for _ in range(500):
        answer = await appraise(service, vehicle)
        if code in {warning.code for warning in answer.warnings}:
            break
    return answer


def amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9


@pytest.fixture
async def stub(service: Any, pki: Pki) -> AsyncIterator[vehicle_record_service_pb2_grpc.VehicleRecordServiceStub]:
    mine = pki.certificate("org1", "originator")
    credentials = channel_credentials(CertificateFiles(mine.certificate, mine.key, mine.authorities))
    async with grpc.aio.secure_channel(service.address, credentials) as channel:
        yield vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(channel)


async def imported(stub: Any, records: Sequence[Any]) -> vehicle_record_service_pb2.ImportRecordsResponse:
    answer: vehicle_record_service_pb2.ImportRecordsResponse = await stub.ImportRecords(iter(records))
    return answer


async def file_of(stub: Any, number: int, **changes: Any) -> vehicle_record_pb2.VehicleFile:
    request = vehicle_record_service_pb2.GetVehicleFileRequest(vin=vin(number), **changes)
    answer: vehicle_record_pb2.VehicleFile = (await stub.GetVehicleFile(request)).file
    return answer


async def test_a_history_of_many_sources_is_told_in_order_with_what_contradicts_itself(stub: Any) -> None:
    records = [
        asked(1, 900, vehicle_record_pb2.RECORD_KIND_REGISTRATION, "office", first_registration=Date(year=2019, month=3, day=15)),
        asked(1, 400, MAINTENANCE, "workshop", odometer_km=90_000),
        asked(1, 300, vehicle_record_pb2.RECORD_KIND_INSURANCE_CLAIM, "insurer", price=yuan(40_000),
              accident=vehicle_record_pb2.ACCIDENT_SEVERITY_STRUCTURAL),
        asked(1, 100, LISTING, "dealer", odometer_km=55_000, price=yuan(70_000), accident=vehicle_record_pb2.ACCIDENT_SEVERITY_NONE),
    ]  # fmt: skip
    answer = await imported(stub, records[::-1])
    assert (answer.imported, answer.known, answer.rejected) == (4, 0, 0)
    file = await file_of(stub, 1)
    assert [record.source for record in file.records] == ["office", "workshop", "insurer", "dealer"]
    assert {conflict.code for conflict in file.conflicts} == {"ODOMETER_ROLLBACK", "ACCIDENT_UNDECLARED"}
    assert (file.odometer_km, file.condition_grade) == (90_000, vehicle_pb2.CONDITION_GRADE_5_ACCIDENT)
    assert file.records[1].consent_id == "c1"
    assert file.records[1].received_at.ToDatetime(UTC) == NOW
    earlier = await file_of(stub, 1, as_of=at(350))
    assert ([record.source for record in earlier.records], len(earlier.conflicts)) == (["office", "workshop"], 0)


async def test_a_stream_sent_again_changes_nothing_and_what_is_wrong_is_told_in_its_place(stub: Any) -> None:
    records = [asked(2, 10 + place, MAINTENANCE, "workshop", key=f"job {place}", odometer_km=1_000 + place) for place in range(600)]
    records[300] = asked(2, 5, MAINTENANCE, "workshop", key="no consent", consent_id="")
    records[301] = asked(2, -5, LISTING, "", key="", vin="x")
    first = await imported(stub, records)
    assert (first.imported, first.known, first.rejected) == (598, 0, 2)
    refused = first.rejections[0]
    assert (refused.position, refused.reason, refused.idempotency_key) == (300, "CONSENT_MISSING", "no consent")
    assert first.rejections[1].position == 301
    assert first.rejections[1].field == "record.vin"
    again = await imported(stub, records)
    assert (again.imported, again.known, again.rejected) == (0, 598, 2)
    other = await imported(stub, [asked(2, 10, MAINTENANCE, "workshop", key="job 0", odometer_km=2)])
    assert [one.reason for one in other.rejections] == ["RECORD_DIFFERS"]
    assert (await file_of(stub, 2)).total_records == 598
    side_by_side = await asyncio.gather(*(imported(stub, records[:50]) for _ in range(4)))
    assert sum(answer.imported for answer in side_by_side) == 0


async def test_a_consent_that_has_ended_takes_its_record_out_of_the_file(stub: Any) -> None:
    ended, soon = at(0), at(-1)
    answer = await imported(
        stub, [asked(3, 5, MAINTENANCE, "workshop", consent_expires_at=ended), asked(3, 5, MAINTENANCE, "a", consent_expires_at=soon)]
    )
    assert [one.reason for one in answer.rejections] == ["CONSENT_EXPIRED"]
    assert len((await file_of(stub, 3)).records) == 1


async def test_what_is_held_without_a_consent_is_deleted(service: Any) -> None:
    """Consents that ended by the database's clock, which the service's fixed one doesn't know."""
    connection = await asyncpg.connect(service.dsn)
    try:
        for name, ends in (("gone", "now() - interval '1 s'"), ("kept", "now() + interval '1 day'")):
            await connection.execute(
                f"""INSERT INTO vehicle_record (record_id, vin, kind, source, key, occurred_at, received_at, consent_id, consent_expires_at,
                    stated) VALUES (gen_random_uuid(), 'x', 'MAINTENANCE', 'deletion', '{name}', now(), now(), 'c', {ends}, '{{}}')"""
            )
        pool = await asyncpg.create_pool(service.dsn, min_size=1, max_size=1)
        assert not await PostgresRecords(pool).forget()
        await pool.close()
        assert await connection.fetchval("SELECT key FROM vehicle_record WHERE source = 'deletion'") == "kept"
    finally:
        await connection.close()


async def test_nothing_on_file_is_not_found(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await file_of(stub, 999)
    error = to_domain_error(raised.value)
    assert (raised.value.code(), error.reason) == (grpc.StatusCode.NOT_FOUND, "VEHICLE_FILE_UNKNOWN")


async def test_an_appraisal_learns_of_distance_damage_and_use_and_says_so(service: Any, stub: Any) -> None:
    before = await appraise(service, car(4, condition=vehicle_pb2.Condition(grade=vehicle_pb2.CONDITION_GRADE_2)))
    await imported(stub, [
        asked(4, 100, MAINTENANCE, "workshop", odometer_km=140_000),
        asked(4, 50, vehicle_record_pb2.RECORD_KIND_INSURANCE_CLAIM, "insurer", accident=vehicle_record_pb2.ACCIDENT_SEVERITY_STRUCTURAL),
        asked(4, 10, vehicle_record_pb2.RECORD_KIND_TELEMATICS_PROFILE, "telematics", usage_nature=vehicle_pb2.USAGE_NATURE_RIDE_HAILING),
    ])  # fmt: skip
    stated = car(4, condition=vehicle_pb2.Condition(grade=vehicle_pb2.CONDITION_GRADE_2))
    after = await informed(service, stated, "ODOMETER_BELOW_FILE")
    assert {"ODOMETER_BELOW_FILE", "ACCIDENT_UNDECLARED", "USAGE_FROM_FILE"} <= {warning.code for warning in after.warnings}
    assert amount(after.estimates[0].p50) < amount(before.estimates[0].p50) * Decimal("0.8")
    assert after.estimates[0].confidence < before.estimates[0].confidence
    batch = await service.valuation.BatchAppraise(
        valuation_service_pb2.BatchAppraiseRequest(vehicles=[car(5), stated], price_types=[RETAIL])
    )
    assert amount(batch.results[1].appraisal.estimates[0].p50) == pytest.approx(amount(after.estimates[0].p50), rel=Decimal("0.0001"))
    forecast = await service.valuation.ForecastResidual(
        valuation_service_pb2.ForecastResidualRequest(vehicle=stated, horizon_months=6, annual_mileage_km=10_000, price_type=RETAIL)
    )
    assert forecast.points[0].odometer_km == 140_000
    assert forecast.points[0].p50 == after.estimates[0].p50


async def test_quotes_are_fused_with_what_sales_taught_of_their_sources(service: Any, stub: Any, pki: Pki) -> None:
    mine = pki.certificate("org1", "collections")
    credentials = channel_credentials(CertificateFiles(mine.certificate, mine.key, mine.authorities))
    async with grpc.aio.secure_channel(service.address, credentials) as channel:
        collections = vehicle_record_service_pb2_grpc.VehicleRecordServiceStub(channel)
        for number in range(100, 112):
            await imported(stub, [asked(number, 60, QUOTE, "optimist", price=yuan(60_000), price_type=RETAIL)])
            outcome = vehicle_record_pb2.Outcome(
                vin=vin(number), price=yuan(50_000), price_type=RETAIL, source="A", sold_on=Date(year=2026, month=6, day=1)
            )
            await collections.ReportOutcome(
                vehicle_record_service_pb2.ReportOutcomeRequest(outcome=outcome, idempotency_key=str(uuid.uuid4()))
            )
    await imported(stub, [
        asked(6, 5, QUOTE, "optimist", price=yuan(60_000), price_type=RETAIL),
        asked(6, 4, QUOTE, "bid", price=yuan(51_000), price_type=RETAIL),
        asked(6, 3, QUOTE, "slip", price=yuan(510_000), price_type=RETAIL),
        asked(6, 2, QUOTE, "foreign", price=Money(currency_code="USD", units=7_000), price_type=RETAIL),
    ])  # fmt: skip
    fused = (await file_of(stub, 6)).fused_quote
    assert [(one.source, one.outlier) for one in fused.quotes] == [("slip", True), ("bid", False), ("optimist", False)]
    optimist = fused.quotes[2]
    assert optimist.source_sales == 12
    assert optimist.source_bias > 0.1
    assert amount(optimist.adjusted) < 54_000
    assert amount(fused.p10) < amount(fused.p50) < 54_000
    assert amount(fused.p90) > amount(fused.p50)
