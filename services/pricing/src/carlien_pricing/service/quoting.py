"""Use cases of quotes: gather the facts, price, keep, accept."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import invalid, not_found, precondition
from carlien_common.domain.ids import new_id
from carlien_common.domain.money import Money
from carlien_pricing.domain.products import EconomicsRow, PolicyBundle
from carlien_pricing.domain.quote import BorrowerFacts, CarFacts, ForecastPoint, QuoteInputs, ValueFacts
from carlien_pricing.domain.schedule import MAX_TERM_MONTHS
from carlien_pricing.domain.usage_model import UsageModel
from carlien_pricing.metrics import PRICE_SECONDS
from carlien_pricing.service.market import HeldMarket
from carlien_pricing.service.ports import (
    BorrowerInput,
    BorrowerModel,
    HeldAppraisal,
    LienRegistry,
    QuoteCommand,
    QuoteRecord,
    QuoteStatus,
    Store,
    Telematics,
    Valuation,
)
from carlien_pricing.service.workshop import Order, QuoteMaker

EncodeQuote = Callable[[QuoteRecord], bytes]

# A recorded appraisal reaches us as an event: so long do we wait for one that a caller names and we don't have yet.
_APPRAISAL_WAIT_SECONDS = 2.0
_APPRAISAL_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What quoting asks."""

    store: Store
    valuation: Valuation
    liens: LienRegistry
    telematics: Telematics
    borrower_model: BorrowerModel | None
    usage_model: UsageModel | None = None


class Quoting:
    """Prices loans."""

    def __init__(self, dependencies: Dependencies, maker: QuoteMaker, policies: PolicyBundle, clock: Clock, encode: EncodeQuote) -> None:
        self._ask, self._maker, self._policies, self._clock, self._encode = dependencies, maker, policies, clock, encode
        self._market = HeldMarket(dependencies.store)

    async def quote(self, command: QuoteCommand, org: str) -> bytes:
        """Prices and stores a loan; the answer as encoded, the first one for a repeated key.

        A loan that may not or should not be made is a decline, which is an answer. DomainError: INVALID for bad input,
        NOT_FOUND APPRAISAL_NOT_FOUND, UNAVAILABLE where valuation or the lien registry don't answer in time.
        """
        answered = await self._ask.store.first_answer(org, "Quote", command.key, command.payload)
        if answered is not None:
            return answered
        # Outside any transaction: a slow dependency must not hold a connection.
        inputs = await self._gather(command, org)
        made = await self._maker.make(Order(new_id(), inputs, command.currency, command.with_counteroffers, self._clock()))
        PRICE_SECONDS.observe(made.price_seconds)
        async with self._ask.store.transaction() as tx:
            answered = await tx.first_answer(org, "Quote", command.key, command.payload, made.answer)
            if answered is not None:
                return answered
            await tx.add_quote(made, org)
        return made.answer

    async def _gather(self, command: QuoteCommand, org: str) -> QuoteInputs:
        loan, collateral, now = command.loan, command.collateral, self._clock()
        economics = self._policies.economics_on(loan.quote_date)
        borrower = self._borrower(command.borrower, economics)
        car, held = collateral.car, None
        if car is None:
            held = await self._held_appraisal(collateral.appraisal_id)
            car = CarFacts(held.vin)
        (value, forecast), lien, usage, market = await asyncio.gather(
            self._value(command, car, org) if held is None else _known(held.facts),
            self._ask.liens.search(car.vin, Money(loan.amount, command.currency)),
            self._ask.telematics.usage(car.vin, now),
            self._market.facts(loan.quote_date),
        )
        if self._ask.usage_model is not None:
            borrower = self._ask.usage_model.apply(borrower, usage.features, now.date())
        if not value.abstained and value.currency != command.currency:
            raise invalid("amount", "CURRENCY_MISMATCH", f"the car is valued in {value.currency}")
        return QuoteInputs(loan, car, value, lien, usage.facts, borrower, forecast, market)

    async def _value(self, command: QuoteCommand, car: CarFacts, org: str) -> tuple[ValueFacts, tuple[ForecastPoint, ...]]:
        """The recorded appraisal, and the forecast over the loan's life and the recovery after it."""
        loan, vehicle = command.loan, command.collateral.vehicle
        economics = self._policies.economics_on(loan.quote_date)
        use = "private" if car.commercial_use is False else "commercial"
        # A contract of tomorrow rests on today's value: nobody appraises the future.
        on = min(loan.quote_date, self.today())
        horizon = min(loan.term_months + economics.recovery_lag_months, MAX_TERM_MONTHS)
        # The key makes a retried quote find the appraisal it recorded before.
        return await asyncio.gather(
            self._ask.valuation.appraise(vehicle, command.currency, on, f"quote:{org}:{command.key}"),
            self._ask.valuation.forecast(
                vehicle, command.currency, on, horizon, loan.annual_mileage_km or economics.annual_mileage_km[use]
            ),
        )

    def _borrower(self, given: BorrowerInput, economics: EconomicsRow) -> BorrowerFacts:
        """The lender's own PD, else the model on the features, else the external score, else the policy's assumption."""
        if given.pd_12m is not None:
            if not 0 < given.pd_12m < 1:
                raise invalid("borrower.probability_of_default", "PROBABILITY_OUT_OF_RANGE", "a PD lies between 0 and 1")
            return BorrowerFacts(given.pd_12m, "LENDER")
        if given.features and self._ask.borrower_model is not None:
            return self._ask.borrower_model.assess(given.features)
        if given.score is not None:
            return BorrowerFacts(economics.score_scale.pd(given.score), "SCORE")
        return BorrowerFacts(economics.unknown_borrower_pd, "POLICY")

    async def _held_appraisal(self, appraisal_id: str) -> HeldAppraisal:
        try:
            async with asyncio.timeout(_APPRAISAL_WAIT_SECONDS):
                while (held := await self._ask.store.appraisal(appraisal_id)) is None:  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(_APPRAISAL_POLL_SECONDS)
                return held
        except TimeoutError:
            raise not_found("APPRAISAL_NOT_FOUND", "no recorded appraisal with this identifier is known here") from None

    async def get(self, quote_id: str, org: str) -> QuoteRecord:
        """NOT_FOUND QUOTE_NOT_FOUND, also for another org's."""
        record = await self._ask.store.quote(quote_id, org)
        if record is None:
            raise not_found("QUOTE_NOT_FOUND", "there is no such quote")
        return record.as_of(self._clock())

    async def accept(self, quote_id: str, key: str, payload: bytes, org: str) -> bytes:
        """Accepts an open offer, once. PRECONDITION QUOTE_EXPIRED, QUOTE_DECLINED, QUOTE_ACCEPTED (by another request)."""
        async with self._ask.store.transaction() as tx:
            answered = await tx.first_answer(org, "AcceptQuote", key, payload)
            if answered is not None:
                return answered
            record = await tx.quote_for_update(quote_id, org)
            if record is None:
                raise not_found("QUOTE_NOT_FOUND", "there is no such quote")
            now = self._clock()
            match record.as_of(now).status:
                case QuoteStatus.EXPIRED:
                    raise precondition("QUOTE_EXPIRED", f"the offer ended at {record.expires_at.isoformat()}")
                case QuoteStatus.DECLINED:
                    raise precondition("QUOTE_DECLINED", "a declined loan can't be accepted")
                case QuoteStatus.ACCEPTED:
                    raise precondition("QUOTE_ACCEPTED", "the offer was accepted already")
                case QuoteStatus.OPEN:
                    pass
            accepted = replace(record, status=QuoteStatus.ACCEPTED, accepted_at=now)
            answer = self._encode(accepted)
            await tx.accept(accepted, answer)
            await tx.remember(org, "AcceptQuote", key, answer)
            return answer

    def today(self) -> date:
        """The date (UTC) of requests that state none."""
        return self._clock().date()

    def policies(self) -> PolicyBundle:
        """What is in force and was."""
        return self._policies


async def _known(facts: ValueFacts) -> tuple[ValueFacts, tuple[ForecastPoint, ...]]:
    return facts, ()
