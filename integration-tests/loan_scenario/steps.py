"""The scenario: every step is one method of `Loan`, in the order of the story."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2

from carlien.lien.v1 import (
    certificate_pb2,
    lien_pb2,
    lien_service_pb2,
    lien_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
    title_service_pb2,
    title_service_pb2_grpc,
)
from carlien.pricing.v1 import (
    collateral_watch_service_pb2,
    collateral_watch_service_pb2_grpc,
    pricing_service_pb2,
    pricing_service_pb2_grpc,
    quote_pb2,
    watch_pb2,
)
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
from loan_scenario.cars import car, fresh_vin
from loan_scenario.clients import Clients, Stack, error_reason
from loan_scenario.drive import Drive, replay
from loan_scenario.events import events_of

T = TypeVar("T")

_LOAN_CNY = 30_000
_TERM_MONTHS = 12
# A watch, a state or a read model follows an event within a second or two; this bounds the wait on a loaded machine.
_FOLLOW_SECONDS = 30.0


class StepFailed(AssertionError):
    """A step of the scenario did not come out as it must."""


def expect(condition: bool, message: str) -> None:
    """Raise StepFailed with `message` unless `condition` holds."""
    if not condition:
        raise StepFailed(message)


async def eventually(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], what: str) -> T:
    """Ask until the answer holds; a NOT_FOUND or UNAVAILABLE meanwhile counts as not yet."""
    deadline = time.monotonic() + _FOLLOW_SECONDS
    answer: T | None = None
    while time.monotonic() < deadline:
        try:
            answer = await ask()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                raise
        else:
            if holds(answer):
                return answer
        await asyncio.sleep(0.05)
    raise StepFailed(f"{what} did not happen within {_FOLLOW_SECONDS:.0f} s; last answer: {answer}")


def _money(amount: money_pb2.Money) -> str:
    return f"{amount.units:,}.{amount.nanos // 10_000_000:02d} {amount.currency_code}"


def _new_key() -> str:
    return str(uuid4())


@dataclass
class Loan:
    """What is known of the loan so far. Steps return one sentence for the reader."""

    stack: Stack
    clients: Clients
    rng: random.Random
    drive: Drive
    vin: str = ""
    appraisal: appraisal_pb2.Appraisal = field(default_factory=appraisal_pb2.Appraisal)
    quote: quote_pb2.Quote = field(default_factory=quote_pb2.Quote)
    lien: lien_pb2.Lien = field(default_factory=lien_pb2.Lien)
    second_lien: lien_pb2.Lien = field(default_factory=lien_pb2.Lien)
    loan_id: str = ""
    lien_register_seconds: float = 0.0
    frames_acknowledged: int = 0
    events: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give the car a VIN that no earlier run has used."""
        self.vin = self.vin or fresh_vin(self.rng)
        self.loan_id = self.loan_id or f"LOAN-{self.vin[-8:]}"

    # -- stubs ------------------------------------------------------------------------------------------------------

    def _liens(self, role: str = "originator") -> lien_service_pb2_grpc.LienServiceAsyncStub:
        return self.clients.stub(lien_service_pb2_grpc.LienServiceStub, self.stack.lien_registry, role)

    def _liens_org2(self) -> lien_service_pb2_grpc.LienServiceAsyncStub:
        return self.clients.stub(lien_service_pb2_grpc.LienServiceStub, self.stack.lien_registry_org2, "originator", "org2")

    def _valuation(self) -> valuation_service_pb2_grpc.ValuationServiceAsyncStub:
        return self.clients.stub(valuation_service_pb2_grpc.ValuationServiceStub, self.stack.valuation, "originator")

    def _pricing(self) -> pricing_service_pb2_grpc.PricingServiceAsyncStub:
        return self.clients.stub(pricing_service_pb2_grpc.PricingServiceStub, self.stack.pricing, "originator")

    def _watches(self) -> collateral_watch_service_pb2_grpc.CollateralWatchServiceAsyncStub:
        stub = collateral_watch_service_pb2_grpc.CollateralWatchServiceStub
        return self.clients.stub(stub, self.stack.pricing, "collections")

    async def _search(self, org: str = "org1", min_block: int = 0) -> certificate_pb2.SearchCertificate:
        address = self.stack.lien_registry if org == "org1" else self.stack.lien_registry_org2
        stub = self.clients.stub(search_service_pb2_grpc.SearchServiceStub, address, "originator", org)
        answer = await stub.SearchLiens(search_service_pb2.SearchLiensRequest(vin=self.vin, min_block=min_block), timeout=20)
        return answer.certificate

    async def _appraise(self, odometer_km: int) -> appraisal_pb2.Appraisal:
        answer = await self._valuation().Appraise(
            valuation_service_pb2.AppraiseRequest(
                vehicle=car(self.vin, odometer_km, datetime.now(UTC).year - 3),
                price_types=[appraisal_pb2.PRICE_TYPE_WHOLESALE, appraisal_pb2.PRICE_TYPE_FORCED_SALE],
                currency_code="CNY",
                record=True,
                idempotency_key=_new_key(),
            ),
            timeout=20,
        )
        expect(not answer.appraisal.abstained, f"valuation abstained: {answer.appraisal.abstain_reason}")
        return answer.appraisal

    # -- the story --------------------------------------------------------------------------------------------------

    async def issue_title(self) -> str:
        """The registrar puts the car's one title record on the ledger."""
        stub = self.clients.stub(title_service_pb2_grpc.TitleServiceStub, self.stack.lien_registry, "registrar")
        answer = await stub.IssueTitle(
            title_service_pb2.IssueTitleRequest(
                vin=self.vin,
                holder=_debtor(),
                registration_certificate_number=f"RC{self.rng.randrange(10**10):010d}",
                idempotency_key=_new_key(),
            ),
            timeout=30,
        )
        return f"title of {self.vin} is on the ledger in block {answer.title.block_number}"

    async def search_before(self) -> str:
        """No lien is registered yet."""
        certificate = await self._search()
        expect(not certificate.hits, "a fresh VIN has hits")
        return f"certificate {certificate.certificate_number}: no lien as of block {certificate.as_of_block} of {certificate.ledger_height}"

    async def appraise(self) -> str:
        """The car is appraised, recorded."""
        self.appraisal = await self._appraise(42_000)
        estimate = self.appraisal.estimates[0]
        steps = sum(step.amount.units * 10**9 + step.amount.nanos for step in estimate.waterfall)
        expect(steps == estimate.p50.units * 10**9 + estimate.p50.nanos, "the waterfall does not sum to the P50")
        interval = f"P10 {_money(estimate.p10)}, P90 {_money(estimate.p90)}"
        return f"wholesale P50 {_money(estimate.p50)} ({interval}) by {self.appraisal.model_version}"

    async def price(self) -> str:
        """Pricing quotes a loan on the recorded appraisal."""
        answer = await self._pricing().Quote(
            pricing_service_pb2.QuoteRequest(
                appraisal_id=self.appraisal.appraisal_id,
                borrower=quote_pb2.Borrower(probability_of_default=0.02),
                amount=money_pb2.Money(currency_code="CNY", units=_LOAN_CNY),
                term_months=_TERM_MONTHS,
                repayment_method=quote_pb2.REPAYMENT_METHOD_EQUAL_PAYMENT,
                fees=[
                    quote_pb2.Fee(kind="GPS", amount=money_pb2.Money(currency_code="CNY", units=300), timing=quote_pb2.FEE_TIMING_UPFRONT)
                ],
                lender_type=quote_pb2.LENDER_TYPE_MICRO_LOAN,
                product_type=quote_pb2.PRODUCT_TYPE_OWNER,
                purpose=quote_pb2.LOAN_PURPOSE_OPERATING,
                idempotency_key=_new_key(),
            ),
            timeout=30,
        )
        self.quote = answer.quote
        reasons = "; ".join(reason.message for reason in self.quote.reasons)
        expect(self.quote.decision == quote_pb2.DECISION_OFFER, f"the loan was declined: {reasons}")
        return (
            f"{_money(self.quote.amount)} over {self.quote.term_months} months at {self.quote.annual_rate_irr:.2%} a year all in "
            f"(cap {self.quote.rate_cap.rule} {self.quote.rate_cap.limit:.2%}), LTV {self.quote.ltv_p50:.0%}"
        )

    async def accept(self) -> str:
        """The borrower accepts."""
        answer = await self._pricing().AcceptQuote(
            pricing_service_pb2.AcceptQuoteRequest(quote_id=self.quote.quote_id, idempotency_key=_new_key()), timeout=20
        )
        expect(answer.quote.status == quote_pb2.QUOTE_STATUS_ACCEPTED, "the quote is not accepted")
        return f"quote {self.quote.quote_id} accepted"

    def _registration(self, require_first_rank: bool) -> lien_service_pb2.RegisterLienRequest:
        return lien_service_pb2.RegisterLienRequest(
            vin=self.vin,
            lien_class=lien_pb2.LIEN_CLASS_MORTGAGE,
            secured_amount=money_pb2.Money(currency_code="CNY", units=_LOAN_CNY),
            debtor=_debtor(),
            contract_hash=hashlib.sha256(self.loan_id.encode()).hexdigest(),
            require_first_rank=require_first_rank,
            idempotency_key=_new_key(),
        )

    async def register_lien(self) -> str:
        """The lender registers its lien with first rank."""
        began = time.perf_counter()
        answer = await self._liens().RegisterLien(self._registration(require_first_rank=True), timeout=30)
        self.lien_register_seconds = time.perf_counter() - began
        self.lien = answer.lien
        return f"{self.lien.registration_number} committed in block {self.lien.block_number} after {self.lien_register_seconds:.3f} s"

    async def watch(self) -> str:
        """The lender has the collateral watched."""
        answer = await self._watches().WatchLoan(
            collateral_watch_service_pb2.WatchLoanRequest(
                loan_id=self.loan_id, vin=self.vin, quote_id=self.quote.quote_id, outstanding=self.quote.amount, idempotency_key=_new_key()
            ),
            timeout=20,
        )
        return f"loan {self.loan_id} is watched at LTV {answer.watch.ltv_p50:.0%}"

    async def second_lender_searches(self) -> str:
        """The second lender, through its own registry, sees the lien."""
        certificate = await self._search("org2", min_block=self.lien.block_number)
        numbers = [hit.lien.registration_number for hit in certificate.hits]
        expect(numbers == [self.lien.registration_number], f"the second lender sees {numbers}")
        return f"it sees {numbers[0]} of {certificate.hits[0].lien.secured_party_msp_id}"

    async def second_lender_claims_first_rank(self) -> str:
        """Its own claim of first rank is refused."""
        try:
            await self._liens_org2().RegisterLien(self._registration(require_first_rank=True), timeout=30)
        except grpc.aio.AioRpcError as error:
            reason, metadata = error_reason(error)
            expect(error.code() == grpc.StatusCode.FAILED_PRECONDITION, f"refused with {error.code()}")
            expect(reason == "FIRST_RANK_TAKEN", f"refused with reason {reason}")
            expect(metadata.get("registration_number") == self.lien.registration_number, f"metadata is {metadata}")
            return f"refused: {reason}, held by {metadata['registration_number']}"
        raise StepFailed("a second first-rank claim was registered")

    async def second_lender_registers_behind(self) -> str:
        """A second lien is lawful and stands behind."""
        answer = await self._liens_org2().RegisterLien(self._registration(require_first_rank=False), timeout=30)
        self.second_lien = answer.lien
        certificate = await self._search(min_block=self.second_lien.block_number)
        numbers = [hit.lien.registration_number for hit in certificate.hits]
        expect(numbers == [self.lien.registration_number, self.second_lien.registration_number], f"in rank: {numbers}")
        return f"{self.second_lien.registration_number} stands behind {self.lien.registration_number}"

    async def connect_device(self) -> str:
        """A device is bound to the car, with the owner's consent to its data."""
        devices = self.clients.stub(device_service_pb2_grpc.DeviceServiceStub, self.stack.telematics, "device-ingest")
        await devices.RegisterDevice(
            device_service_pb2.RegisterDeviceRequest(
                device_id=self.drive.device_id(self.vin),
                vin=self.vin,
                protocol=device_pb2.DEVICE_PROTOCOL_GB32960,
                credential=self.drive.credential(self.vin),
                idempotency_key=_new_key(),
            ),
            timeout=20,
        )
        consents = self.clients.stub(data_consent_service_pb2_grpc.DataConsentServiceStub, self.stack.telematics, "originator")
        expires_at = Timestamp()
        expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=365))
        await consents.GrantConsent(
            data_consent_service_pb2.GrantConsentRequest(
                vin=self.vin,
                purpose=data_consent_service_pb2.DATA_PURPOSE_COLLATERAL_MONITORING,
                expires_at=expires_at,
                idempotency_key=_new_key(),
            ),
            timeout=20,
        )
        return f"device {self.drive.device_id(self.vin)} registered, consent given for a year"

    async def drive_car(self) -> str:
        """The device logs in over TCP and sends its records; each is acknowledged once it is on Kafka."""
        self.frames_acknowledged = await replay(self.stack.gb32960, self.drive, self.vin)
        expect(self.frames_acknowledged > 0, "no frame was acknowledged")
        return f"{self.frames_acknowledged} GB/T 32960 records acknowledged ({self.drive.source})"

    async def read_state(self) -> str:
        """The car's state arrives."""
        stub = self.clients.stub(telematics_service_pb2_grpc.TelematicsServiceStub, self.stack.telematics, "collections")

        async def ask() -> telematics_service_pb2.VehicleState:
            return (await stub.GetVehicleState(telematics_service_pb2.GetVehicleStateRequest(vin=self.vin), timeout=10)).state

        state = await eventually(ask, lambda s: s.HasField("odometer_km"), "the vehicle state")
        return f"odometer {state.odometer_km:,.1f} km at {state.device_time.ToDatetime():%Y-%m-%d %H:%M} UTC"

    async def remark(self) -> str:
        """A new recorded appraisal re-marks the loan."""
        before = (await self._watches().GetWatch(collateral_watch_service_pb2.GetWatchRequest(loan_id=self.loan_id), timeout=10)).watch
        self.appraisal = await self._appraise(95_000)

        async def ask() -> watch_pb2.Watch:
            return (await self._watches().GetWatch(collateral_watch_service_pb2.GetWatchRequest(loan_id=self.loan_id), timeout=10)).watch

        after = await eventually(ask, lambda w: w.appraisal_id == self.appraisal.appraisal_id, "the re-mark")
        expect(after.ltv_p50 > before.ltv_p50, f"LTV went from {before.ltv_p50} to {after.ltv_p50}")
        return f"LTV {before.ltv_p50:.1%} -> {after.ltv_p50:.1%} after a reading of 95,000 km"

    async def discharge(self) -> str:
        """Both loans are paid off and both liens discharged."""
        for stub, lien in ((self._liens_org2(), self.second_lien), (self._liens(), self.lien)):
            request = lien_service_pb2.DischargeLienRequest(
                registration_number=lien.registration_number, reason="PAID_OFF", idempotency_key=_new_key()
            )
            answer = await stub.DischargeLien(request, timeout=30)
            expect(answer.lien.status == lien_pb2.LIEN_STATUS_DISCHARGED, "the lien is not discharged")
            lien.CopyFrom(answer.lien)
        history = await self._liens().GetLienHistory(
            lien_service_pb2.GetLienHistoryRequest(registration_number=self.lien.registration_number), timeout=10
        )
        changes = [entry.change for entry in history.entries]
        expect(changes == ["lien.registered", "lien.discharged"], f"history is {changes}")
        newest = history.entries[-1].block_number

        async def ask() -> certificate_pb2.SearchCertificate:
            return await self._search(min_block=newest)

        certificate = await eventually(ask, lambda c: c.as_of_block >= newest, "the read model at the discharge")
        active = [hit for hit in certificate.hits if hit.lien.status == lien_pb2.LIEN_STATUS_ACTIVE]
        expect(not active, f"still active: {active}")

        async def ask_watch() -> watch_pb2.Watch:
            return (await self._watches().GetWatch(collateral_watch_service_pb2.GetWatchRequest(loan_id=self.loan_id), timeout=10)).watch

        await eventually(ask_watch, lambda w: w.stage == watch_pb2.WATCH_STAGE_CLOSED, "the end of the watch")
        return f"certificate {certificate.certificate_number}: clean as of block {certificate.as_of_block}; the watch is closed"

    async def check_events(self) -> str:
        """Every event of it is on Kafka, each with an identifier of its own."""
        expected = {
            "carlien.lien.event.v1": 5,  # title, two registrations, two discharges
            "carlien.valuation.appraisal.v1": 2,
            "carlien.pricing.quote.v1": 2,  # made, accepted
            "carlien.telematics.frame.v1": self.frames_acknowledged,
        }

        async def ask() -> dict[str, int]:
            found = await asyncio.to_thread(events_of, self.stack.kafka, self.vin)
            return {topic: len({event.ce_id for event in events}) for topic, events in found.items()}

        def complete(got: dict[str, int]) -> bool:
            return got.get("carlien.pricing.watch.v1", 0) >= 3 and all(got.get(topic, 0) >= number for topic, number in expected.items())

        self.events = await eventually(ask, complete, "all events")
        for topic, number in expected.items():
            expect(self.events[topic] == number, f"{topic} has {self.events[topic]} events, expected {number}")
        return f"{sum(self.events.values())} events on {len(self.events)} topics, all with distinct identifiers"


def _debtor() -> lien_pb2.Debtor:
    return lien_pb2.Debtor(id_type="USCC", id_number="91310000MA1FL0000X", name="示例商贸有限公司")


STEPS: tuple[tuple[str, Callable[[Loan], Awaitable[str]]], ...] = (
    ("issue a title for the car", Loan.issue_title),
    ("search the registry", Loan.search_before),
    ("appraise the car", Loan.appraise),
    ("quote the loan", Loan.price),
    ("accept the quote", Loan.accept),
    ("register the lien with first rank", Loan.register_lien),
    ("watch the loan", Loan.watch),
    ("the second lender searches", Loan.second_lender_searches),
    ("the second lender claims first rank", Loan.second_lender_claims_first_rank),
    ("the second lender registers behind", Loan.second_lender_registers_behind),
    ("connect the device", Loan.connect_device),
    ("drive", Loan.drive_car),
    ("read the car's state", Loan.read_state),
    ("re-mark the loan", Loan.remark),
    ("discharge", Loan.discharge),
    ("read the events back", Loan.check_events),
)
