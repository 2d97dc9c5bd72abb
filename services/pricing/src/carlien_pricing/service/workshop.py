"""Makes a quote out of its inputs: everything that takes processor time and nothing that waits, so that it can run in a process of
its own. What comes back is finished: texts to store and the answer to send.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Protocol

from carlien_pricing.domain.counteroffers import counteroffers
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.legality import rate_caps
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import PricedQuote, QuoteInputs
from carlien_pricing.domain.revisions import CURRENT
from carlien_pricing.domain.step_downs import step_downs
from carlien_pricing.service.ports import QuoteRecord, QuoteStatus
from carlien_pricing.service.replaying import Codec

EncodeQuote = Callable[[QuoteRecord], bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """What a quote is to be made of."""

    quote_id: str
    inputs: QuoteInputs
    currency: str
    with_counteroffers: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class FinishedQuote:
    """A quote as it is stored and answered. `inputs` and `result` are canonical texts, `answer` an encoded QuoteResponse."""

    quote_id: str
    vin: str
    currency: str
    status: QuoteStatus
    quoted_at: datetime
    expires_at: datetime
    policies_version: str
    engine_version: str
    software_version: str
    input_hash: str
    inputs: str
    result: str
    answer: bytes
    product: str
    blocking: tuple[str, ...]
    """Codes of the reasons that declined it; empty for an offer."""
    price_seconds: float
    """Processor time of the price itself, simulation included."""


class QuoteMaker(Protocol):
    """Makes quotes somewhere."""

    async def make(self, order: Order) -> FinishedQuote:
        """INVALID for inputs that are no loan; UNAVAILABLE PRICING_INTERRUPTED where the process that made it was lost."""
        ...


class Workshop:
    """Makes quotes here and now."""

    def __init__(self, policies: PolicyBundle, codec: Codec, encode: EncodeQuote, software_version: str) -> None:
        self._policies, self._codec, self._encode, self._software = policies, codec, encode, software_version

    def make(self, order: Order) -> FinishedQuote:
        """A price, counteroffers where they are wanted or needed, and what would lower the rate."""
        inputs, policies = order.inputs, self._policies
        begun = time.process_time()
        priced = price(inputs, policies)
        price_seconds = time.process_time() - begun
        offers = counteroffers(inputs, priced, policies) if order.with_counteroffers or not priced.offered else ()
        downs = step_downs(inputs, priced, policies)
        text = self._codec.write_inputs(inputs)
        record = QuoteRecord(
            quote_id=order.quote_id,
            currency=order.currency,
            inputs=inputs,
            priced=priced,
            counteroffers=offers,
            step_downs=downs,
            input_hash=self._codec.hash_inputs(text, policies.version, CURRENT.version),
            engine_version=CURRENT.version,
            software_version=self._software,
            quoted_at=order.now,
            expires_at=self._expiry(inputs, priced, order.now),
            status=QuoteStatus.OPEN if priced.offered else QuoteStatus.DECLINED,
        )
        return FinishedQuote(
            quote_id=record.quote_id,
            vin=inputs.car.vin,
            currency=record.currency,
            status=record.status,
            quoted_at=record.quoted_at,
            expires_at=record.expires_at,
            policies_version=policies.version,
            engine_version=record.engine_version,
            software_version=record.software_version,
            input_hash=record.input_hash,
            inputs=text,
            result=self._codec.write_result(priced, offers, downs),
            answer=self._encode(record),
            product=inputs.request.product,
            blocking=tuple(reason.code for reason in priced.reasons if reason.blocking),
            price_seconds=price_seconds,
        )

    def _expiry(self, inputs: QuoteInputs, priced: PricedQuote, now: datetime) -> datetime:
        """The policy's validity, cut short where a cap would be broken: an offer doesn't outlive the rules it was made under.

        Only for a contract of today; the date of any other contract is the caller's statement.
        """
        request = inputs.request
        hours = self._policies.economics_on(request.quote_date).quote_validity_hours
        end = now + timedelta(hours=hours)
        if request.quote_date != now.date():
            return end
        day = now.date() + timedelta(days=1)
        while day <= end.date():
            if not all(cap.kept for cap in rate_caps(self._policies.law, request.lender, day, priced.cost)):
                return datetime.combine(day, time_of_day.min, UTC)
            day += timedelta(days=1)
        return end
