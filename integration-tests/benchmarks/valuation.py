"""Appraisals over gRPC, record=false and one price type, against an empty rpc behind the same TLS and interceptor."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from google.type import date_pb2, money_pb2

from benchmarks.measure import Figure, Session, closed_loop, empty_rpc
from carlien.valuation.v1 import appraisal_pb2, revaluation_pb2, valuation_service_pb2, valuation_service_pb2_grpc, vehicle_pb2
from loan_scenario.cars import car, fresh_vin

PRICE_TYPE = appraisal_pb2.PRICE_TYPE_WHOLESALE
BATCH = 256
BOOK = 6000
MODELS = (
    ("大众", "朗逸"),
    ("大众", "速腾"),
    ("丰田", "卡罗拉"),
    ("本田", "雅阁"),
    ("别克", "英朗"),
    ("福特", "福克斯"),
    ("奥迪", "A6L"),
    ("宝马", "3系"),
)


async def run(session: Session) -> list[Figure]:
    """Measure single and batched appraisals and a book re-marked in a stream."""
    stub = session.clients.stub(valuation_service_pb2_grpc.ValuationServiceStub, session.stack.valuation, "originator")
    cars = [_car(session, number) for number in range(BATCH)]
    singles = [valuation_service_pb2.AppraiseRequest(vehicle=one, price_types=[PRICE_TYPE]) for one in cars]

    async def appraise(number: int) -> object:
        return await stub.Appraise(singles[number % BATCH], timeout=30)

    await closed_loop(appraise, 300, 64)
    empty = await empty_rpc(session, session.stack.valuation, 64)
    single = await closed_loop(appraise, 3000, 64)
    ratio = single.rate / empty.rate
    figures = [
        Figure("Appraise, 64 at once", single.rate, "1/s", empty.rate, ratio, ">= 40 % of an empty rpc", ratio >= 0.4),
        Figure("Appraise, 64 at once, p99", single.quantile(0.99), "s", target="< 30 ms", met=single.quantile(0.99) < 0.03),
    ]
    for name, values_only, least in (("with waterfall", False, 3_000), ("value only", True, 10_000)):
        request = valuation_service_pb2.BatchAppraiseRequest(vehicles=cars, price_types=[PRICE_TYPE], values_only=values_only)

        async def batch(_: int, request: valuation_service_pb2.BatchAppraiseRequest = request) -> object:
            return await stub.BatchAppraise(request, timeout=30)

        await closed_loop(batch, 4, 2)
        rate = (await closed_loop(batch, 60, 4)).rate * BATCH
        figures.append(Figure(f"BatchAppraise of {BATCH}, {name}", rate, "cars/s", target=f">= {least:,} cars/s", met=rate >= least))
    lender = session.clients.stub(valuation_service_pb2_grpc.ValuationServiceStub, session.stack.valuation, "collections")
    rate = await _book(lender, cars)
    figures.append(Figure(f"RevaluePortfolio, a book of {BOOK:,}", rate, "cars/s", target=">= 3,000 cars/s", met=rate >= 3_000))
    return figures


def _car(session: Session, number: int) -> vehicle_pb2.Vehicle:
    vehicle = car(fresh_vin(session.rng), session.rng.randrange(10_000, 150_000), datetime.now(UTC).year - session.rng.randrange(1, 8))
    vehicle.make, vehicle.model = MODELS[number % len(MODELS)]
    return vehicle


async def _book(stub: "valuation_service_pb2_grpc.ValuationServiceAsyncStub", cars: list[vehicle_pb2.Vehicle]) -> float:
    """Cars a second of one stream, each car's value explained since the turn of the year."""
    book = [
        valuation_service_pb2.RevaluePortfolioRequest(
            position_id=str(number),
            vehicle=cars[number % BATCH],
            price_type=PRICE_TYPE,
            previous=revaluation_pb2.PreviousValue(
                value=money_pb2.Money(currency_code="CNY", units=60_000),
                valuation_date=date_pb2.Date(year=datetime.now(UTC).year, month=1, day=1),
                odometer_km=9_000,
                index_level=100,
            ),
        )
        for number in range(BOOK)
    ]

    async def positions() -> AsyncIterator[valuation_service_pb2.RevaluePortfolioRequest]:
        for position in book:
            yield position

    began = time.perf_counter()
    refused = [answer.reason async for answer in stub.RevaluePortfolio(positions()) if answer.reason]
    rate = BOOK / (time.perf_counter() - began)
    if refused:
        raise RuntimeError(f"{len(refused)} positions were refused: {refused[0]}")
    return rate
