"""The real service on a real database and broker, beside small servers that speak the real protos of its neighbours."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaConsumer, KafkaProducer

from carlien.lien.v1 import (
    certificate_pb2,
    lien_pb2,
    lien_service_pb2,
    lien_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from carlien.lien.v1 import events_pb2 as lien_events_pb2
from carlien.pricing.v1 import (
    collateral_watch_service_pb2_grpc,
    events_pb2,
    pricing_service_pb2,
    pricing_service_pb2_grpc,
    quote_pb2,
)
from carlien.telematics.v1 import alert_pb2, profile_pb2, telematics_service_pb2, telematics_service_pb2_grpc
from carlien.telematics.v1 import events_pb2 as telematics_events_pb2
from carlien.valuation.v1 import appraisal_pb2, residual_pb2, valuation_service_pb2, valuation_service_pb2_grpc, vehicle_pb2
from carlien.valuation.v1 import events_pb2 as valuation_events_pb2
from carlien_common.domain.errors import invalid
from carlien_common.grpc import errors
from carlien_common.kafka import CloudEvent
from carlien_pricing.bootstrap import serve
from carlien_pricing.config import PricingSettings

VIN = "1M8GDM9AXKP042788"
WAIT_SECONDS = 120.0


def money(amount: float, currency: str = "CNY") -> Money:
    cents = round(amount * 100)
    units = int(cents / 100)
    return Money(currency_code=currency, units=units, nanos=(cents - units * 100) * 10**7)


def stamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant.astimezone(UTC).replace(tzinfo=None))
    return made


def day(value: date) -> Date:
    return Date(year=value.year, month=value.month, day=value.day)


@dataclass
class Neighbours(
    valuation_service_pb2_grpc.ValuationServiceServicer,
    search_service_pb2_grpc.SearchServiceServicer,
    lien_service_pb2_grpc.LienServiceServicer,
    telematics_service_pb2_grpc.TelematicsServiceServicer,
):
    """Valuation, lien registry and telematics in one server; a test says what they answer."""

    p50: float = 100_000
    p10: float = 85_000
    currency: str = "CNY"
    abstain: str = ""
    liens: list[lien_pb2.Lien] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    """Rank by registration number; ours is under the empty one."""
    device_time: datetime | None = None
    trust: float | None = 1.0
    days: int = 30
    km_per_day: float = 60.0
    down: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    appraisal_requests: list[valuation_service_pb2.AppraiseRequest] = field(default_factory=list)
    forecast_requests: list[valuation_service_pb2.ForecastResidualRequest] = field(default_factory=list)
    _appraised: dict[str, appraisal_pb2.Appraisal] = field(default_factory=dict)

    async def _behave(self, name: str, context: Any) -> None:
        if name in self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        if name in self.slow:
            await asyncio.sleep(60)

    async def Appraise(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("valuation", context)
        self.appraisal_requests.append(request)
        if request.currency_code != self.currency:
            error = invalid("currency_code", "CURRENCY_UNSUPPORTED", f"This model values in {self.currency}.")
            code = grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, error.message, errors.trailers(code, error))
        known = self._appraised.get(request.idempotency_key)
        if known is None:
            known = self.appraisal(request.vehicle.vin, request.valuation_date)
            self._appraised[request.idempotency_key] = known
        return valuation_service_pb2.AppraiseResponse(appraisal=known)

    def appraisal(
        self, vin: str = VIN, on: Date | None = None, *, p50: float | None = None, at: datetime | None = None, level: float = 100.0
    ) -> appraisal_pb2.Appraisal:
        at = at or datetime.now(UTC)
        p50 = self.p50 if p50 is None else p50
        estimates = [
            appraisal_pb2.PriceEstimate(
                price_type=kind,
                p10=money(p50 * share * self.p10 / self.p50),
                p50=money(p50 * share, self.currency),
                confidence=appraisal_pb2.CONFIDENCE_HIGH,
            )
            for kind, share in ((appraisal_pb2.PRICE_TYPE_WHOLESALE, 1.0), (appraisal_pb2.PRICE_TYPE_FORCED_SALE, 0.85))
        ]
        for estimate in estimates:
            estimate.p10.currency_code = self.currency
        return appraisal_pb2.Appraisal(
            appraisal_id=f"A-{uuid.uuid4()}",
            vin=vin,
            estimates=[] if self.abstain else estimates,
            abstained=bool(self.abstain),
            abstain_reason=self.abstain,
            model_version="fake-1",
            index_vintage="2026-01",
            index_level=level,
            valued_at=stamp(at),
            valuation_date=on or day(at.date()),
        )

    async def ForecastResidual(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("valuation", context)
        await self._behave("forecast", context)
        self.forecast_requests.append(request)
        points = [
            residual_pb2.ResidualPoint(
                month=month,
                p50=money(self.p50 * 0.985**month, self.currency),
                p10=money(self.p10 * 0.978**month, self.currency),
            )
            for month in range(request.horizon_months + 1)
        ]
        return valuation_service_pb2.ForecastResidualResponse(points=points, price_type=request.price_type, model_version="fake-1")

    async def SearchLiens(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("lien-registry", context)
        return search_service_pb2.SearchLiensResponse(
            certificate=certificate_pb2.SearchCertificate(
                certificate_number="C-1",
                hits=[certificate_pb2.SearchHit(lien=lien, match_type=certificate_pb2.MATCH_TYPE_EXACT) for lien in self.liens],
                as_of_block=42,
            )
        )

    async def RankPriorities(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("ranks", context)
        ranks = [
            lien_service_pb2.PriorityRank(registration_number=number, rank=rank, rule="CIVIL_CODE_414")
            for number, rank in self.ranks.items()
        ]
        return lien_service_pb2.RankPrioritiesResponse(ranks=ranks)

    async def GetBehaviourProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("profile", context)
        profile = profile_pb2.BehaviourProfile(vin=request.vin, days=self.days, active_days=self.days, km_per_day=self.km_per_day)
        if self.trust is not None:
            profile.trust.CopyFrom(profile_pb2.TelemetryTrust(score=self.trust, reasons=["UNSIGNED"]))
        return telematics_service_pb2.GetBehaviourProfileResponse(profile=profile)

    async def GetVehicleState(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._behave("telematics", context)
        if self.device_time is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no device")
        return telematics_service_pb2.GetVehicleStateResponse(
            state=telematics_service_pb2.VehicleState(vin=request.vin, device_time=stamp(self.device_time), device_id="D-1")
        )


@asynccontextmanager
async def neighbours(credentials: grpc.ServerCredentials) -> AsyncIterator[tuple[Neighbours, str]]:
    server = grpc.aio.server()
    servicer = Neighbours()
    valuation_service_pb2_grpc.add_ValuationServiceServicer_to_server(servicer, server)
    search_service_pb2_grpc.add_SearchServiceServicer_to_server(servicer, server)
    lien_service_pb2_grpc.add_LienServiceServicer_to_server(servicer, server)
    telematics_service_pb2_grpc.add_TelematicsServiceServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


class MovableClock:
    """The wall clock, moved by a test."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


@dataclass
class Service:
    """A running pricing service and everything around it."""

    neighbours: Neighbours
    clock: MovableClock
    settings: PricingSettings
    address: str
    pricing: pricing_service_pb2_grpc.PricingServiceAsyncStub
    watching: collateral_watch_service_pb2_grpc.CollateralWatchServiceAsyncStub
    producer: KafkaProducer

    async def publish(self, topic: str, key: str, event: Any, ce_type: str = "test", ce_id: str | None = None) -> None:
        headers = CloudEvent(type=ce_type, source="/test", **({"id": ce_id} if ce_id else {})).headers()
        future = self.producer.send(topic, key=key.encode(), value=event.SerializeToString(), headers=headers)
        await asyncio.to_thread(future.get, 10)

    async def publish_appraisal(
        self, appraisal: appraisal_pb2.Appraisal, cause: int = appraisal_pb2.APPRAISAL_CAUSE_REQUEST, ce_id: str | None = None
    ) -> None:
        event = valuation_events_pb2.AppraisalRecorded(appraisal=appraisal, cause=cause)
        await self.publish(self.settings.appraisal_topic, appraisal.vin, event, ce_id=ce_id)

    async def publish_lien(self, lien: lien_pb2.Lien, change: str, block: int) -> None:
        event = lien_events_pb2.LienEvent(change=change, vin=lien.vin, lien=lien, tx_id=f"t{block}", block_number=block)
        await self.publish(self.settings.lien_topic, lien.vin, event)

    async def publish_alert(self, alert: alert_pb2.Alert) -> None:
        await self.publish(self.settings.alert_topic, alert.vin, telematics_events_pb2.AlertChanged(alert=alert))

    async def publish_profile(self, profile: profile_pb2.BehaviourProfile, at: datetime) -> None:
        event = telematics_events_pb2.ProfileChanged(profile=profile, computed_at=stamp(at))
        await self.publish(self.settings.profile_topic, profile.vin, event)

    async def events(self, topic: str, kind: type[Any], wanted: Callable[[list[Any]], bool]) -> list[Any]:
        """All events of a topic from its beginning, once they satisfy the condition."""
        return await asyncio.to_thread(self._events, topic, kind, wanted)

    def _events(self, topic: str, kind: type[Any], wanted: Callable[[list[Any]], bool]) -> list[Any]:
        consumer = KafkaConsumer(
            topic, bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest", group_id=None, consumer_timeout_ms=500
        )
        found: list[Any] = []
        seen: set[bytes] = set()
        give_up = datetime.now(UTC) + timedelta(seconds=WAIT_SECONDS)
        try:
            while not wanted(found) and datetime.now(UTC) < give_up:
                for record in consumer:
                    ce_id = dict(record.headers)["ce_id"]
                    if ce_id not in seen:
                        seen.add(ce_id)
                        found.append(kind.FromString(record.value))
        finally:
            consumer.close()
        assert wanted(found), found
        return found

    async def quote_events(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        return await self.events(self.settings.quote_topic, events_pb2.QuoteEvent, wanted)

    async def watch_events(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        return await self.events(self.settings.watch_topic, events_pb2.WatchEvent, wanted)


async def eventually(condition: Callable[[], Any]) -> Any:
    """The condition's first true answer; polled, for it depends on another process."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(settings: PricingSettings, clock: MovableClock) -> AsyncIterator[int]:
    """The service in this process; its gRPC port."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, clock, port.set_result))
    try:
        await asyncio.wait([task, port], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield await port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def serving(channel: grpc.aio.Channel) -> None:
    """Returns once the service takes work: its consumers have joined their groups."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def ready() -> bool:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await eventually(ready)


def vehicle(**changes: Any) -> vehicle_pb2.Vehicle:
    base: dict[str, Any] = {
        "vin": VIN,
        "make": "Volkswagen",
        "model": "Lavida",
        "first_registration": Date(year=2022, month=5, day=1),
        "odometer_km": 40_000,
        "fuel_type": vehicle_pb2.FUEL_TYPE_PETROL,
        "usage_nature": vehicle_pb2.USAGE_NATURE_PRIVATE,
    }
    return vehicle_pb2.Vehicle(**{**base, **changes})


def quote_request(**changes: Any) -> pricing_service_pb2.QuoteRequest:
    base: dict[str, Any] = {
        "borrower": quote_pb2.Borrower(probability_of_default=0.02),
        "amount": money(60_000),
        "term_months": 24,
        "repayment_method": quote_pb2.REPAYMENT_METHOD_EQUAL_PAYMENT,
        "lender_type": quote_pb2.LENDER_TYPE_LICENSED,
        "product_type": quote_pb2.PRODUCT_TYPE_OWNER,
        "purpose": quote_pb2.LOAN_PURPOSE_OPERATING,
        "idempotency_key": str(uuid.uuid4()),
    }
    if "appraisal_id" not in changes and "vehicle" not in changes:
        base["vehicle"] = vehicle()
    return pricing_service_pb2.QuoteRequest(**{**base, **changes})
