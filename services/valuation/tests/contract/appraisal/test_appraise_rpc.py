"""ValuationService and ModelService from outside: answers, what is recorded and emitted, what is refused."""

import asyncio
import itertools
import uuid
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kafka import KafkaConsumer

from carlien.valuation.v1 import (
    appraisal_pb2,
    events_pb2,
    model_service_pb2,
    valuation_service_pb2,
    vehicle_pb2,
    vehicle_record_service_pb2,
)
from carlien_common.grpc.policy import Policy
from carlien_common.testing import hostile
from carlien_common.testing.pki import Pki

VIN = "LSVNV2182E2100001"
EVERY: list[Any] = [1, 2, 3, 4, 5]
RETAIL: list[Any] = [3]
NO_GRADE: Any = 9
SERVICES = [
    valuation_service_pb2.DESCRIPTOR.services_by_name["ValuationService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    vehicle_record_service_pb2.DESCRIPTOR.services_by_name["VehicleRecordService"],
]
POLICY = Policy.load("carlien_valuation")


def check_digit_fixed(vin: str) -> str:
    from carlien_common.domain.vin import check_digit

    return vin[:8] + check_digit(vin) + vin[9:]


def vehicle(**changes: Any) -> vehicle_pb2.Vehicle:
    base: dict[str, Any] = {
        "vin": check_digit_fixed(VIN), "make": "大众", "model": "朗逸", "trim": "2018款 1.6L 自动舒适版",
        "first_registration": Date(year=2019, month=3, day=15), "odometer_km": 80_000, "usage_nature": vehicle_pb2.USAGE_NATURE_PRIVATE,
        "fuel_type": vehicle_pb2.FUEL_TYPE_PETROL, "new_price": Money(currency_code="CNY", units=135_900),
    }  # fmt: skip
    return vehicle_pb2.Vehicle(**{name: value for name, value in {**base, **changes}.items() if value is not None})


def request(**changes: Any) -> valuation_service_pb2.AppraiseRequest:
    return valuation_service_pb2.AppraiseRequest(**{"vehicle": vehicle(), "price_types": EVERY, **changes})


def amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, set[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    from carlien_common.grpc.client import to_domain_error

    error = to_domain_error(raised.value)
    return raised.value.code(), error.reason, {violation.field for violation in error.violations}


async def test_five_markets_ordered_and_adding_up(service: Any) -> None:
    appraisal = (await service.valuation.Appraise(request())).appraisal
    assert [estimate.price_type for estimate in appraisal.estimates] == EVERY
    for estimate in appraisal.estimates:
        assert 0 < amount(estimate.p10) <= amount(estimate.p50) <= amount(estimate.p90)
        assert sum((amount(step.amount) for step in estimate.waterfall), Decimal(0)) == amount(estimate.p50)
    assert appraisal.appraisal_id == ""
    assert appraisal.model_version.startswith("2026-06-")
    assert appraisal.data_cutoff.year == 2026
    assert appraisal.typical_odometer_km > 50_000
    assert "SYNTHETIC_MODEL" in {warning.code for warning in appraisal.warnings}


async def test_the_value_never_rises_with_distance_or_age(service: Any) -> None:
    values = [
        amount((await service.valuation.Appraise(request(vehicle=vehicle(odometer_km=km), price_types=RETAIL))).appraisal.estimates[0].p50)
        for km in (0, 1, 50_000, 200_000, 900_000)
    ]
    assert values == sorted(values, reverse=True)
    dates = [Date(year=year, month=1, day=1) for year in (2025, 2022, 2018, 2012)]
    values = [
        amount(
            (await service.valuation.Appraise(request(vehicle=vehicle(first_registration=day), price_types=RETAIL)))
            .appraisal.estimates[0]
            .p50
        )
        for day in dates
    ]
    assert values == sorted(values, reverse=True)


async def test_nothing_is_stored_or_emitted_unless_asked_for(service: Any) -> None:
    vin = check_digit_fixed("LSVNV2182E2100777")
    connection = await asyncpg.connect(service.dsn)
    try:
        before = await connection.fetchval("SELECT count(*) FROM appraisal"), await connection.fetchval("SELECT count(*) FROM outbox")
        await service.valuation.Appraise(request(vehicle=vehicle(vin=vin)))
        after = await connection.fetchval("SELECT count(*) FROM appraisal"), await connection.fetchval("SELECT count(*) FROM outbox")
    finally:
        await connection.close()
    assert after == before


async def test_a_recorded_appraisal_is_answered_again_and_emitted_once_with_what_it_supersedes(service: Any, kafka_bootstrap: str) -> None:
    vin, keys = check_digit_fixed("LSVNV2182E2100042"), [str(uuid.uuid4()) for _ in range(2)]
    first_request = request(vehicle=vehicle(vin=vin), record=True, idempotency_key=keys[0])
    first = await service.valuation.Appraise(first_request)
    again = await asyncio.gather(*(service.valuation.Appraise(first_request) for _ in range(5)))
    assert all(answer == first for answer in again)
    second = await service.valuation.Appraise(request(vehicle=vehicle(vin=vin, odometer_km=90_000), record=True, idempotency_key=keys[1]))
    assert first.appraisal.appraisal_id
    assert second.appraisal.appraisal_id != first.appraisal.appraisal_id
    events = await asyncio.to_thread(consumed, kafka_bootstrap, service.topic, vin, 2)
    recorded = [events_pb2.AppraisalRecorded.FromString(value) for value, _ in events]
    assert [event.appraisal.appraisal_id for event in recorded] == [first.appraisal.appraisal_id, second.appraisal.appraisal_id]
    assert [event.supersedes for event in recorded] == ["", first.appraisal.appraisal_id]
    assert {event.cause for event in recorded} == {appraisal_pb2.APPRAISAL_CAUSE_REQUEST}
    assert [headers["ce_id"] for _, headers in events] == [event.appraisal.appraisal_id for event in recorded]
    assert {headers["ce_type"] for _, headers in events} == {"carlien.valuation.appraisal.v1"}


def consumed(bootstrap: str, topic: str, key: str, count: int) -> list[tuple[bytes, dict[str, str]]]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=30_000, group_id=None)
    found: list[tuple[bytes, dict[str, str]]] = []
    for record in consumer:
        if record.key == key.encode():
            found.append((record.value, {name: value.decode() for name, value in record.headers}))
        if len(found) == count:
            break
    consumer.close()
    return found


async def test_a_key_is_needed_and_not_reused(service: Any) -> None:
    code, reason, fields = await refusal(service.valuation.Appraise(request(record=True)))
    assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_MISSING", {"idempotency_key"})
    key = str(uuid.uuid4())
    await service.valuation.Appraise(request(record=True, idempotency_key=key))
    code, reason, _ = await refusal(service.valuation.Appraise(request(vehicle=vehicle(odometer_km=1), record=True, idempotency_key=key)))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


async def test_an_unknown_make_is_abstained_from_and_an_unknown_model_valued_with_low_confidence(service: Any) -> None:
    unknown = (await service.valuation.Appraise(request(vehicle=vehicle(make="Trabant")))).appraisal
    assert (unknown.abstained, unknown.abstain_reason, len(unknown.estimates)) == (True, "UNKNOWN_MAKE", 0)
    cold = (await service.valuation.Appraise(request(vehicle=vehicle(model="新车系")))).appraisal
    known = (await service.valuation.Appraise(request())).appraisal
    assert cold.estimates[0].confidence == appraisal_pb2.CONFIDENCE_LOW
    assert cold.estimates[0].fsd > known.estimates[0].fsd


@pytest.mark.parametrize(
    ("changes", "reason", "fields"),
    [
        ({"vehicle": vehicle(vin="LSV")}, "VIN_LENGTH", {"vehicle.vin"}),
        (
            {"vehicle": vehicle(vin=VIN[:8] + ("1" if check_digit_fixed(VIN)[8] != "1" else "2") + VIN[9:])},
            "VIN_CHECK_DIGIT",
            {"vehicle.vin"},
        ),
        ({"vehicle": vehicle(make="")}, "MAKE_MISSING", {"vehicle.make"}),
        ({"vehicle": vehicle(odometer_km=-1)}, "ODOMETER_IMPLAUSIBLE", {"vehicle.odometer_km"}),
        ({"vehicle": vehicle(first_registration=Date(year=2030, month=1, day=1))}, "REGISTRATION_FUTURE", {"vehicle.first_registration"}),
        ({"vehicle": vehicle(new_price=Money(currency_code="CNY", units=-5))}, "AMOUNT_NOT_POSITIVE", {"vehicle.new_price"}),
        ({"vehicle": vehicle(new_price=Money(currency_code="USD", units=5))}, "CURRENCY_UNSUPPORTED", {"vehicle.new_price"}),
        ({"vehicle": vehicle(usage_nature=99)}, "USAGE_UNKNOWN", {"vehicle.usage_nature"}),
        ({"vehicle": vehicle(condition=vehicle_pb2.Condition(grade=NO_GRADE))}, "GRADE_UNKNOWN", {"vehicle.condition.grade"}),
        ({"price_types": []}, "PRICE_TYPE_MISSING", {"price_types"}),
        ({"price_types": [0]}, "PRICE_TYPE_UNKNOWN", {"price_types"}),
        ({"price_types": [1, 1]}, "PRICE_TYPE_REPEATED", {"price_types"}),
        ({"currency_code": "XYZ"}, "CURRENCY_UNKNOWN", {"currency_code"}),
        ({"currency_code": "USD"}, "CURRENCY_UNSUPPORTED", {"currency_code"}),
        ({"valuation_date": Date(year=2027, month=1, day=1)}, "VALUATION_DATE_FUTURE", {"valuation_date"}),
        ({"valuation_date": Date(year=2027, month=2, day=30)}, "DATE_INVALID", {"valuation_date"}),
    ],
)
async def test_bad_fields_are_named(service: Any, changes: dict[str, Any], reason: str, fields: set[str]) -> None:
    assert await refusal(service.valuation.Appraise(request(**changes))) == (grpc.StatusCode.INVALID_ARGUMENT, reason, fields)


async def test_all_bad_fields_are_named_at_once(service: Any) -> None:
    bad = request(vehicle=vehicle(vin="x", make="", odometer_km=-1), price_types=[77])
    _, _, fields = await refusal(service.valuation.Appraise(bad))
    assert fields == {"vehicle.vin", "vehicle.make", "vehicle.odometer_km", "price_types"}


async def test_a_batch_answers_each_car_in_its_place(service: Any) -> None:
    cars = [
        vehicle(),
        vehicle(vin="x"),
        vehicle(make="Trabant"),
        vehicle(odometer_km=10),
        vehicle(new_price=Money(currency_code="USD", units=5)),
    ]
    answer = await service.valuation.BatchAppraise(valuation_service_pb2.BatchAppraiseRequest(vehicles=cars, price_types=RETAIL))
    assert [result.WhichOneof("result") for result in answer.results] == ["appraisal", "rejection", "appraisal", "appraisal", "rejection"]
    single = (await service.valuation.Appraise(request(price_types=RETAIL))).appraisal
    batch = answer.results[0].appraisal
    assert abs(amount(batch.estimates[0].p50) - amount(single.estimates[0].p50)) <= amount(single.estimates[0].p50) / 10_000
    assert (answer.results[1].rejection.reason, answer.results[1].rejection.field) == ("VIN_LENGTH", "vehicle.vin")
    assert answer.results[2].appraisal.abstained
    only = await service.valuation.BatchAppraise(
        valuation_service_pb2.BatchAppraiseRequest(vehicles=cars[:1] * 256, price_types=RETAIL, values_only=True)
    )
    assert len(only.results) == 256
    assert not only.results[255].appraisal.estimates[0].waterfall
    code, reason, _ = await refusal(service.valuation.BatchAppraise(valuation_service_pb2.BatchAppraiseRequest(price_types=RETAIL)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE")


async def test_many_at_once_get_their_own_answers(service: Any) -> None:
    asked = [request(vehicle=vehicle(odometer_km=1000 * index), price_types=RETAIL) for index in range(100)]
    answers = await asyncio.gather(*(service.valuation.Appraise(one) for one in asked))
    values = [amount(answer.appraisal.estimates[0].p50) for answer in answers]
    assert all(later <= earlier * Decimal("1.0001") for earlier, later in itertools.pairwise(values))
    assert values[-1] < values[0]


def test_every_rpc_has_a_line_in_the_policy() -> None:
    assert POLICY.unlisted(SERVICES) == []


@pytest.mark.parametrize("case", hostile.cases(SERVICES, POLICY), ids=str)
async def test_hostile_caller(case: hostile.Case, service: Any, pki: Pki) -> None:
    await case.check(service.address, pki)
