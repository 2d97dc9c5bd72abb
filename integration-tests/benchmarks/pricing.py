"""Quotes with every service on the same machine, committed with their outbox row."""

from datetime import UTC, datetime
from uuid import uuid4

from google.type import money_pb2

from benchmarks.measure import Figure, Session, closed_loop, empty_rpc
from carlien.pricing.v1 import pricing_service_pb2, pricing_service_pb2_grpc, quote_pb2
from loan_scenario.cars import car, fresh_vin


async def run(session: Session) -> list[Figure]:
    """Measure Quote from a vehicle: appraisal recorded, registry searched, state asked, priced, stored."""
    stub = session.clients.stub(pricing_service_pb2_grpc.PricingServiceStub, session.stack.pricing, "originator")
    year = datetime.now(UTC).year

    async def quote(_: int) -> object:
        return await stub.Quote(
            pricing_service_pb2.QuoteRequest(
                vehicle=car(fresh_vin(session.rng), session.rng.randrange(10_000, 150_000), year - 3),
                borrower=quote_pb2.Borrower(probability_of_default=0.02),
                amount=money_pb2.Money(currency_code="CNY", units=30_000),
                term_months=36,
                repayment_method=quote_pb2.REPAYMENT_METHOD_EQUAL_PAYMENT,
                lender_type=quote_pb2.LENDER_TYPE_MICRO_LOAN,
                product_type=quote_pb2.PRODUCT_TYPE_OWNER,
                purpose=quote_pb2.LOAN_PURPOSE_OPERATING,
                idempotency_key=str(uuid4()),
            ),
            timeout=60,
        )

    await closed_loop(quote, 16, 8)
    empty = await empty_rpc(session, session.stack.pricing, 8)
    load = await closed_loop(quote, 200, 8)
    return [
        Figure("Quote, 8 at once", load.rate, "1/s", empty.rate, load.rate / empty.rate, ">= 60/s", load.rate >= 60),
        Figure("Quote, 8 at once, p95", load.quantile(0.95), "s", target="< 250 ms", met=load.quantile(0.95) < 0.25),
    ]
