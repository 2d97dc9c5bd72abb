"""What callers do all day, and an account of what they were told: whatever was acknowledged must be found again."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2

from carlien.lien.v1 import events_pb2 as lien_events
from carlien.lien.v1 import lien_pb2, lien_service_pb2, lien_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc
from carlien.pricing.v1 import events_pb2 as pricing_events
from carlien.pricing.v1 import pricing_service_pb2, pricing_service_pb2_grpc, quote_pb2
from carlien.telematics.v1 import (
    data_consent_service_pb2,
    data_consent_service_pb2_grpc,
    device_pb2,
    device_service_pb2,
    device_service_pb2_grpc,
    telematics_service_pb2,
    telematics_service_pb2_grpc,
)
from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc
from carlien.valuation.v1 import events_pb2 as valuation_events
from loan_scenario.cars import car, fresh_vin
from operations.topics import APPRAISALS, LIENS, QUOTES, Told

T = TypeVar("T")
Connect = Callable[[str, str], grpc.aio.Channel]
"""(service, role) -> a channel to it."""
SERVICE_NAMES = (
    "carlien.lien.v1.LienService",
    "carlien.lien.v1.SearchService",
    "carlien.pricing.v1.PricingService",
    "carlien.telematics.v1.TelematicsService",
    "carlien.telematics.v1.DeviceService",
    "carlien.telematics.v1.DataConsentService",
    "carlien.valuation.v1.ValuationService",
)
TIMEOUT_S = 30.0
_LATER = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)


@dataclass
class Account:
    """What was acknowledged."""

    appraisals: set[str] = field(default_factory=set)
    quotes: set[str] = field(default_factory=set)
    liens: dict[str, str] = field(default_factory=dict)
    """registration number -> transaction"""

    def missing(self, told: dict[str, Told]) -> dict[str, set[str]]:
        """What was acknowledged and no event tells of, by topic."""
        appraised = {
            valuation_events.AppraisalRecorded.FromString(value).appraisal.appraisal_id for value in told[APPRAISALS].values.values()
        }
        quoted = {pricing_events.QuoteEvent.FromString(value).quote.quote_id for value in told[QUOTES].values.values()}
        registered = {lien_events.LienEvent.FromString(value).lien.registration_number for value in told[LIENS].values.values()}
        return {APPRAISALS: self.appraisals - appraised, QUOTES: self.quotes - quoted, LIENS: self.liens.keys() - registered}


async def asked_until_answered(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """What a caller does through an outage: the same request with the same idempotency key until there is an answer."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in _LATER:
                    raise
            await asyncio.sleep(0.3)


@dataclass
class Work:
    """The units of work, each one call. With `patience_s` each is asked again through outages."""

    connect: Connect
    rng: random.Random
    account: Account = field(default_factory=Account)
    patience_s: float = 0.0

    async def _call(self, rpc: Callable[..., Any], request: Any) -> Any:
        if not self.patience_s:
            return await rpc(request, timeout=TIMEOUT_S)
        return await asked_until_answered(lambda: rpc(request, timeout=TIMEOUT_S), self.patience_s)

    async def appraise(self) -> None:
        """Valuation: a recorded appraisal, with its event."""
        stub = valuation_service_pb2_grpc.ValuationServiceStub(self.connect("valuation", "originator"))
        request = valuation_service_pb2.AppraiseRequest(
            vehicle=car(fresh_vin(self.rng), self.rng.randrange(10_000, 150_000), datetime.now(UTC).year - 3),
            price_types=[appraisal_pb2.PRICE_TYPE_WHOLESALE],
            currency_code="CNY",
            record=True,
            idempotency_key=str(uuid4()),
        )
        answer = await self._call(stub.Appraise, request)
        self.account.appraisals.add(answer.appraisal.appraisal_id)

    async def register(self) -> None:
        """Lien registry: a registration on the ledger, with its event."""
        stub = lien_service_pb2_grpc.LienServiceStub(self.connect("lien-registry", "originator"))
        vin = fresh_vin(self.rng)
        request = lien_service_pb2.RegisterLienRequest(
            vin=vin,
            lien_class=lien_pb2.LIEN_CLASS_MORTGAGE,
            secured_amount=money_pb2.Money(currency_code="CNY", units=30_000),
            debtor=lien_pb2.Debtor(id_type="USCC", id_number="91310000MA1FL0000X", name="Operations Ltd"),
            contract_hash=hashlib.sha256(vin.encode()).hexdigest(),
            idempotency_key=str(uuid4()),
        )
        lien = (await self._call(stub.RegisterLien, request)).lien
        self.account.liens[lien.registration_number] = lien.tx_id

    async def search(self) -> None:
        """Lien registry: a search with its certificate."""
        stub = search_service_pb2_grpc.SearchServiceStub(self.connect("lien-registry", "originator"))
        await self._call(stub.SearchLiens, search_service_pb2.SearchLiensRequest(vin=fresh_vin(self.rng)))

    async def quote(self) -> None:
        """Pricing: a quote, which has the car appraised, its liens searched and its state read; with its event."""
        stub = pricing_service_pb2_grpc.PricingServiceStub(self.connect("pricing", "originator"))
        request = pricing_service_pb2.QuoteRequest(
            vehicle=car(fresh_vin(self.rng), self.rng.randrange(10_000, 150_000), datetime.now(UTC).year - 3),
            borrower=quote_pb2.Borrower(probability_of_default=0.02),
            amount=money_pb2.Money(currency_code="CNY", units=30_000),
            term_months=36,
            repayment_method=quote_pb2.REPAYMENT_METHOD_EQUAL_PAYMENT,
            lender_type=quote_pb2.LENDER_TYPE_MICRO_LOAN,
            product_type=quote_pb2.PRODUCT_TYPE_OWNER,
            purpose=quote_pb2.LOAN_PURPOSE_OPERATING,
            idempotency_key=str(uuid4()),
        )
        answer = await self._call(stub.Quote, request)
        self.account.quotes.add(answer.quote.quote_id)

    async def rate_cap(self) -> None:
        """Pricing: which cap holds."""
        stub = pricing_service_pb2_grpc.PricingServiceStub(self.connect("pricing", "originator"))
        await self._call(stub.CheckRateCap, pricing_service_pb2.CheckRateCapRequest(lender_type=quote_pb2.LENDER_TYPE_MICRO_LOAN))

    async def admit(self, vin: str, iccid: str) -> None:
        """Telematics: a device and the consent to hear it."""
        devices = device_service_pb2_grpc.DeviceServiceStub(self.connect("telematics", "device-ingest"))
        await self._call(
            devices.RegisterDevice,
            device_service_pb2.RegisterDeviceRequest(
                device_id=f"T-{vin}",
                vin=vin,
                protocol=device_pb2.DEVICE_PROTOCOL_GB32960,
                credential=iccid,
                idempotency_key=str(uuid4()),
            ),
        )
        expires_at = Timestamp()
        expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=1))
        consents = data_consent_service_pb2_grpc.DataConsentServiceStub(self.connect("telematics", "originator"))
        await self._call(
            consents.GrantConsent,
            data_consent_service_pb2.GrantConsentRequest(
                vin=vin,
                purpose=data_consent_service_pb2.DATA_PURPOSE_COLLATERAL_MONITORING,
                expires_at=expires_at,
                idempotency_key=str(uuid4()),
            ),
        )

    async def device(self) -> None:
        """Telematics: a new car's device and consent."""
        await self.admit(fresh_vin(self.rng), "89860000000000000002")

    async def state(self, vin: str) -> None:
        """Telematics: where a car stands."""
        stub = telematics_service_pb2_grpc.TelematicsServiceStub(self.connect("telematics", "collections"))
        await self._call(stub.GetVehicleState, telematics_service_pb2.GetVehicleStateRequest(vin=vin))
