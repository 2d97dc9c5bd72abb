"""Telematics profiles and title transfers from the broker: files kept, cars re-marked, appraisals published, on the real service."""

import asyncio
import itertools
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kafka import KafkaConsumer, KafkaProducer

from carlien.lien.v1 import events_pb2 as lien_events_pb2
from carlien.telematics.v1 import events_pb2 as telematics_events_pb2
from carlien.telematics.v1 import profile_pb2
from carlien.valuation.v1 import appraisal_pb2, events_pb2, revaluation_pb2, valuation_service_pb2, vehicle_pb2
from carlien_common.domain.vin import check_digit

NOW = datetime(2026, 7, 1, 9, tzinfo=UTC)
WHOLESALE, RETAIL = appraisal_pb2.PRICE_TYPE_WHOLESALE, appraisal_pb2.PRICE_TYPE_DEALER_RETAIL


def vin(number: int) -> str:
    text = f"LSVNV2182E4{number:06d}"
    return text[:8] + check_digit(text) + text[9:]


def amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9


def profile(number: int, hours_ago: float, *, ce_id: str = "", trust: float = 0.9, **known: Any) -> tuple[str, bytes, str]:
    body = profile_pb2.BehaviourProfile(vin=vin(number), trust=profile_pb2.TelemetryTrust(score=trust))
    if "km" in known:
        body.verified_odometer.CopyFrom(profile_pb2.VerifiedOdometer(odometer_km=known["km"], error_km=50, source="DASH", consistent=True))
    body.usage_nature = known.get("usage", profile_pb2.USAGE_NATURE_UNSPECIFIED)
    event = telematics_events_pb2.ProfileChanged(profile=body, changed=["odometer_km"])
    event.computed_at.FromDatetime(NOW - timedelta(hours=hours_ago))
    return vin(number), event.SerializeToString(), ce_id or str(uuid.uuid4())


@pytest.fixture
def send(kafka_bootstrap: str) -> Any:
    def sent(topic: str, *events: tuple[str, bytes, str]) -> None:
        producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
        for key, value, ce_id in events:
            headers = [("ce_id", ce_id.encode()), ("ce_source", b"/org1/test"), ("ce_type", b"test")]
            producer.send(topic, key=key.encode(), value=value, headers=headers)
        producer.flush(30)
        producer.close()

    return sent


async def record(service: Any, number: int) -> appraisal_pb2.Appraisal:
    car = vehicle_pb2.Vehicle(
        vin=vin(number), make="大众", model="朗逸", trim="2018款 1.6L 自动舒适版", odometer_km=80_000,
        first_registration=Date(year=2019, month=3, day=15), fuel_type=vehicle_pb2.FUEL_TYPE_PETROL,
    )  # fmt: skip
    request = valuation_service_pb2.AppraiseRequest(
        vehicle=car, price_types=[RETAIL, WHOLESALE], record=True, idempotency_key=str(uuid.uuid4())
    )
    answer: appraisal_pb2.Appraisal = (await service.valuation.Appraise(request)).appraisal
    return answer


def published(bootstrap: str, topic: str, number: int, count: int) -> list[events_pb2.AppraisalRecorded]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=60_000, group_id=None)
    of_car = (events_pb2.AppraisalRecorded.FromString(one.value) for one in consumer if one.key == vin(number).encode())
    found = list(itertools.islice(of_car, count))
    consumer.close()
    return found


async def marked(service: Any, number: int, at: datetime) -> None:
    """Until the profile of that time is taken in."""
    connection = await asyncpg.connect(service.dsn)
    try:
        async with asyncio.timeout(60):
            while await connection.fetchval("SELECT computed_at FROM profile_mark WHERE vin = $1", vin(number)) != at:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def appraisals(service: Any, number: int) -> int:
    connection = await asyncpg.connect(service.dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM appraisal WHERE vin = $1", vin(number)))
    finally:
        await connection.close()


async def test_a_car_driven_further_is_re_marked_once_and_the_loss_told_by_cause(service: Any, send: Any, kafka_bootstrap: str) -> None:
    first = await record(service, 1)
    driven = profile(1, 2, km=110_000)
    send(service.profile_topic, driven, driven, profile(1, 5, km=140_000))
    before, after = await asyncio.to_thread(published, kafka_bootstrap, service.topic, 1, 2)
    assert (before.cause, after.cause) == (appraisal_pb2.APPRAISAL_CAUSE_REQUEST, appraisal_pb2.APPRAISAL_CAUSE_MILEAGE)
    assert after.supersedes == first.appraisal_id
    assert [estimate.price_type for estimate in after.appraisal.estimates] == [RETAIL, WHOLESALE]
    assert after.changed_price_type == WHOLESALE
    old, new = amount(first.estimates[1].p50), amount(after.appraisal.estimates[1].p50)
    assert new < old
    assert sum((amount(change.amount) for change in after.changes), Decimal(0)) == new - old
    assert amount(after.driver_loss) == old - new
    assert amount(after.market_loss) == 0
    assert {change.cause for change in after.changes} == {revaluation_pb2.CHANGE_CAUSE_MARKET, revaluation_pb2.CHANGE_CAUSE_MILEAGE}
    # The repeat and the older profile made nothing more.
    send(service.profile_topic, profile(1, 1, km=110_400))
    await marked(service, 1, NOW - timedelta(hours=1))
    assert await appraisals(service, 1) == 2


async def test_commercial_use_is_a_cause_of_its_own(service: Any, send: Any, kafka_bootstrap: str) -> None:
    await record(service, 2)
    send(service.profile_topic, profile(2, 1, km=130_000, usage=profile_pb2.USAGE_NATURE_RIDE_HAILING))
    _, after = await asyncio.to_thread(published, kafka_bootstrap, service.topic, 2, 2)
    assert after.cause == appraisal_pb2.APPRAISAL_CAUSE_USAGE
    assert amount(after.driver_loss) > 0


async def test_what_does_not_matter_or_is_not_appraised_or_not_trusted_makes_no_appraisal(service: Any, send: Any) -> None:
    await record(service, 3)
    await record(service, 4)
    send(service.profile_topic, profile(3, 1, km=80_500), profile(4, 1, trust=0.1, km=200_000), profile(5, 1, km=200_000))
    for number in (3, 4, 5):
        await marked(service, number, NOW - timedelta(hours=1))
    assert [await appraisals(service, number) for number in (3, 4, 5)] == [1, 1, 0]
    # It is on file all the same, and speaks when the car is appraised.
    for _ in range(500):
        answer = await record(service, 5)
        if "ODOMETER_BELOW_FILE" in {warning.code for warning in answer.warnings}:
            break
    assert "ODOMETER_BELOW_FILE" in {warning.code for warning in answer.warnings}


async def test_poison_is_set_aside_and_the_others_go_on(service: Any, send: Any, kafka_bootstrap: str) -> None:
    send(service.profile_topic, (vin(6), b"\xff\xff", str(uuid.uuid4())), profile(6, 3, km=float("nan")), profile(7, 3, km=1_000))
    await marked(service, 7, NOW - timedelta(hours=3))
    await marked(service, 6, NOW - timedelta(hours=3))
    consumer = KafkaConsumer(
        f"{service.profile_topic}.dlq", bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=30_000
    )
    dead = await asyncio.to_thread(next, consumer)
    consumer.close()
    assert dead.value == b"\xff\xff"


async def test_a_transfer_of_title_on_the_ledger_counts_as_a_transfer(service: Any, send: Any) -> None:
    event = lien_events_pb2.LienEvent(change="title.transferred", vin=vin(8), tx_id="t1", change_index=0)
    event.occurred_at.FromDatetime(NOW - timedelta(days=3))
    other = lien_events_pb2.LienEvent(change="lien.registered", vin=vin(8), tx_id="t2")
    key = vin(8)
    send(
        service.lien_topic,
        (key, event.SerializeToString(), "t1/0"),
        (key, event.SerializeToString(), "again"),
        (key, other.SerializeToString(), "t2/0"),
    )
    connection = await asyncpg.connect(service.dsn)
    try:
        async with asyncio.timeout(60):
            while not await connection.fetchval("SELECT count(*) FROM consumed_event WHERE ce_id = 't2/0'"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        rows = await connection.fetch("SELECT kind, source FROM vehicle_record WHERE vin = $1", vin(8))
    finally:
        await connection.close()
    assert [(row["kind"], row["source"]) for row in rows] == [("TITLE_TRANSFER", "ledger")]
