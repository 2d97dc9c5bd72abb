"""ForecastResidual, RevaluePortfolio and CollateralIndexService from outside, on the real service."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import asyncpg
import grpc
import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from carlien.valuation.v1 import (
    appraisal_pb2,
    battery_pb2,
    collateral_index_service_pb2,
    collateral_index_service_pb2_grpc,
    revaluation_pb2,
    valuation_service_pb2,
    valuation_service_pb2_grpc,
    vehicle_pb2,
)
from carlien_common.domain.vin import check_digit
from carlien_common.grpc.client import to_domain_error
from carlien_common.grpc.credentials import CertificateFiles, channel_credentials
from carlien_common.testing.pki import Pki
from carlien_valuation.adapters.index_store import TOPIC, publish
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, Publication

_STEM = "LSVNV2182E2100001"
VIN = _STEM[:8] + check_digit(_STEM) + _STEM[9:]
WHOLESALE = appraisal_pb2.PRICE_TYPE_WHOLESALE


@pytest.fixture
async def collections(service: Any, pki: Pki) -> AsyncIterator[grpc.aio.Channel]:
    """The service, as collections calls it."""
    mine = pki.certificate("org1", "collections")
    credentials = channel_credentials(CertificateFiles(mine.certificate, mine.key, mine.authorities))
    async with grpc.aio.secure_channel(service.address, credentials) as channel:
        yield channel


def vehicle(**changes: Any) -> vehicle_pb2.Vehicle:
    base: dict[str, Any] = {
        "vin": VIN, "make": "大众", "model": "朗逸", "trim": "2018款 1.6L 自动舒适版",
        "first_registration": Date(year=2019, month=3, day=15),
        "odometer_km": 80_000, "fuel_type": vehicle_pb2.FUEL_TYPE_PETROL,
    }  # fmt: skip
    return vehicle_pb2.Vehicle(**{**base, **changes})


def residual(**changes: Any) -> valuation_service_pb2.ForecastResidualRequest:
    base: dict[str, Any] = {"vehicle": vehicle(), "horizon_months": 36, "annual_mileage_km": 15_000, "price_type": WHOLESALE}
    return valuation_service_pb2.ForecastResidualRequest(**{**base, **changes})


def amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / 10**9


async def reasons(call: Any) -> set[str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return {violation.reason for violation in to_domain_error(raised.value).violations}


async def test_month_0_of_a_residual_is_the_appraisal(service: Any) -> None:
    forecast = await service.valuation.ForecastResidual(residual())
    appraisal = (
        await service.valuation.Appraise(valuation_service_pb2.AppraiseRequest(vehicle=vehicle(), price_types=[WHOLESALE]))
    ).appraisal
    (estimate,) = appraisal.estimates
    first = forecast.points[0]
    assert (first.p10, first.p50, first.p90) == (estimate.p10, estimate.p50, estimate.p90)
    assert [point.month for point in forecast.points] == list(range(37))
    assert forecast.points[12].odometer_km == 95_000
    assert forecast.model_version == appraisal.model_version
    assert forecast.index_vintage == appraisal.index_vintage


async def test_a_car_driven_more_is_never_worth_more(service: Any) -> None:
    curves = [(await service.valuation.ForecastResidual(residual(annual_mileage_km=km))).points for km in (5_000, 15_000, 30_000, 60_000)]
    for less, more in pairwise(curves):
        assert all(amount(b.p50) <= amount(a.p50) for a, b in zip(less, more, strict=True))


async def test_a_residual_names_every_bad_field(service: Any) -> None:
    bad = residual(horizon_months=61, annual_mileage_km=-1, vehicle=vehicle(vin="1"))
    assert await reasons(service.valuation.ForecastResidual(bad)) == {"VIN_LENGTH"}
    assert await reasons(service.valuation.ForecastResidual(residual(horizon_months=0, annual_mileage_km=-1))) == {
        "HORIZON_RANGE", "ANNUAL_MILEAGE_RANGE",
    }  # fmt: skip


async def test_an_unknown_make_is_not_forecast(service: Any) -> None:
    forecast = await service.valuation.ForecastResidual(residual(vehicle=vehicle(make="Nobody")))
    assert forecast.abstained
    assert forecast.abstain_reason == "UNKNOWN_MAKE"
    assert not forecast.points


def position(number: int, **changes: Any) -> valuation_service_pb2.RevaluePortfolioRequest:
    previous = revaluation_pb2.PreviousValue(
        value=Money(currency_code="CNY", units=50_000 + number), valuation_date=Date(year=2025, month=7, day=1), odometer_km=50_000
    )
    base: dict[str, Any] = {"position_id": f"loan-{number}", "vehicle": vehicle(), "previous": previous}
    return valuation_service_pb2.RevaluePortfolioRequest(**{**base, **changes})


async def test_a_book_is_answered_in_order_each_change_explained_to_the_cent(collections: grpc.aio.Channel) -> None:
    async def book() -> AsyncIterator[valuation_service_pb2.RevaluePortfolioRequest]:
        for number in range(600):
            yield position(number, vehicle=vehicle(vin="short")) if number == 300 else position(number)

    stub = valuation_service_pb2_grpc.ValuationServiceStub(collections)
    answers = [answer async for answer in stub.RevaluePortfolio(book())]
    assert [answer.position_id for answer in answers] == [f"loan-{number}" for number in range(600)]
    assert (answers[300].reason, answers[300].field) == ("VIN_LENGTH", "vehicle.vin")
    for number, answer in enumerate(answers):
        if number == 300:
            continue
        total = Decimal(50_000 + number) + sum((amount(change.amount) for change in answer.changes), Decimal(0))
        assert total == amount(answer.p50)
        assert amount(answer.driver_loss) > 0  # 30,000 km in a year are more than typical


def electric(**changes: Any) -> vehicle_pb2.Vehicle:
    battery = {"capacity_new_kwh": 60.0, "chemistry": "LFP", "state_of_health_percent": 90.0, **changes}
    return vehicle(battery=vehicle_pb2.Battery(**{name: value for name, value in battery.items() if value is not None}))


async def test_a_battery_is_told_apart_from_its_car_now_and_month_by_month(service: Any) -> None:
    forced = appraisal_pb2.PRICE_TYPE_FORCED_SALE
    request = valuation_service_pb2.AppraiseRequest(vehicle=electric(), price_types=[WHOLESALE, forced])
    appraisal = (await service.valuation.Appraise(request)).appraisal
    wholesale, forced_sale = appraisal.estimates
    split = wholesale.battery
    assert amount(split.car) + amount(split.pack) == amount(wholesale.p50)
    assert sum((amount(step.amount) for step in wholesale.waterfall), Decimal(0)) == amount(wholesale.p50)
    assert wholesale.waterfall[-1].factor == "battery"
    assert amount(wholesale.waterfall[-1].amount) == amount(split.adjustment)
    assert split.state.state_of_health_low_percent < 90 < split.state.state_of_health_high_percent
    assert split.state.source == battery_pb2.HEALTH_SOURCE_STATED
    proceeds = forced_sale.liquidation
    parts = (proceeds.price, proceeds.towing, proceeds.storage, proceeds.auction_fee, proceeds.time_to_sell)
    assert sum(map(amount, parts), Decimal(0)) == amount(proceeds.net_p50)
    assert proceeds.price == forced_sale.p50
    assert not wholesale.HasField("liquidation")
    forecast = await service.valuation.ForecastResidual(residual(vehicle=electric(), horizon_months=24))
    assert forecast.points[0].p50 == wholesale.p50
    health = [point.battery.state_of_health_percent for point in forecast.points]
    assert health == sorted(health, reverse=True)
    assert forecast.points[24].battery.source == battery_pb2.HEALTH_SOURCE_FORECAST
    leased = await service.valuation.Appraise(valuation_service_pb2.AppraiseRequest(vehicle=electric(leased=True), price_types=[WHOLESALE]))
    assert amount(leased.appraisal.estimates[0].battery.pack) == 0
    assert "BATTERY_LEASED" in {warning.code for warning in leased.appraisal.warnings}


@pytest.mark.parametrize(
    ("battery", "reason"),
    [
        ({"state_of_health_percent": 140.0}, "BATTERY_SOH_RANGE"),
        ({"state_of_health_percent": float("nan")}, "BATTERY_SOH_RANGE"),
        ({"capacity_new_kwh": -1.0}, "BATTERY_CAPACITY_RANGE"),
        ({"capacity_new_kwh": float("inf")}, "BATTERY_CAPACITY_RANGE"),
    ],
)
async def test_a_battery_that_cannot_be_is_refused_wherever_it_is_sent(
    service: Any, collections: grpc.aio.Channel, battery: dict[str, Any], reason: str
) -> None:
    bad = electric(**battery)
    assert await reasons(service.valuation.Appraise(valuation_service_pb2.AppraiseRequest(vehicle=bad, price_types=[WHOLESALE]))) == {
        reason
    }
    assert await reasons(service.valuation.ForecastResidual(residual(vehicle=bad))) == {reason}
    batch = valuation_service_pb2.BatchAppraiseRequest(vehicles=[bad, vehicle()], price_types=[WHOLESALE])
    first, second = (await service.valuation.BatchAppraise(batch)).results
    assert (first.rejection.reason, second.WhichOneof("result")) == (reason, "appraisal")

    async def book() -> AsyncIterator[valuation_service_pb2.RevaluePortfolioRequest]:
        yield position(1, vehicle=bad)
        yield position(2)

    answers = [answer async for answer in valuation_service_pb2_grpc.ValuationServiceStub(collections).RevaluePortfolio(book())]
    assert [answer.reason for answer in answers] == [reason, ""]


async def test_what_index_is_published_is_answered_streamed_and_moves_values(service: Any, collections: grpc.aio.Channel) -> None:
    stub = collateral_index_service_pb2_grpc.CollateralIndexServiceStub(collections)
    request = valuation_service_pb2.AppraiseRequest(
        vehicle=vehicle(), price_types=[WHOLESALE], valuation_date=Date(year=2026, month=7, day=1)
    )
    before = (await service.valuation.Appraise(request)).appraisal
    stream = stub.StreamIndex(collateral_index_service_pb2.StreamIndexRequest(segment="all"))
    months = [date(2026, month, 1) for month in (5, 6, 7)]
    points = tuple(IndexPoint(month, level, 0.004, 500) for month, level in zip(months, (100.0, 100.0, 90.0), strict=True))
    publication = Publication(IndexKey("all", "all"), months[-1], months[0], points, "hash", datetime(2026, 7, 1, tzinfo=UTC))
    connection = await asyncpg.connect(service.dsn)
    try:
        await publish(connection, [publication], topic=TOPIC, source="/org1/valuation")
    finally:
        await connection.close()
    first: Any = await stream.read()
    streamed = first.index
    assert [point.level for point in streamed.points] == [100.0, 100.0, 90.0]
    stream.cancel()
    answer = (await stub.GetIndex(collateral_index_service_pb2.GetIndexRequest(segment="all", region="all"))).index
    assert answer.vintage == "2026-07"
    assert answer.points[2].first_published_level == 90.0
    assert not answer.points[0].HasField("first_published_level")
    segments = (await stub.ListSegments(collateral_index_service_pb2.ListSegmentsRequest())).segments
    assert [(one.segment, one.region, list(one.vintages)) for one in segments] == [("all", "all", ["2026-07"])]
    for _ in range(200):
        after = (await service.valuation.Appraise(request)).appraisal
        if after.index_vintage == "2026-07":
            break
    assert after.index_level == 90.0
    ratio = amount(after.estimates[0].p50) / amount(before.estimates[0].p50)
    assert float(ratio) == pytest.approx(0.9, rel=1e-3)


async def test_an_index_that_was_never_published_is_not_found(collections: grpc.aio.Channel) -> None:
    stub = collateral_index_service_pb2_grpc.CollateralIndexServiceStub(collections)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetIndex(collateral_index_service_pb2.GetIndexRequest(segment="none", region="all"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert await reasons(stub.GetIndex(collateral_index_service_pb2.GetIndexRequest(segment="all", region="all", vintage="July"))) == {
        "VINTAGE_FORMAT"
    }
    assert await reasons(stub.GetIndex(collateral_index_service_pb2.GetIndexRequest(region="all"))) == {"INDEX_NAME_INVALID"}
