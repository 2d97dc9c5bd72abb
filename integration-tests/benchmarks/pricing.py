"""Quotes with every service on the same machine, committed with their outbox row; then the core and the watch by themselves."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from google.type import money_pb2

from benchmarks.measure import Figure, Session, closed_loop, empty_rpc
from carlien.pricing.v1 import pricing_service_pb2, pricing_service_pb2_grpc, quote_pb2
from loan_scenario.cars import car, fresh_vin

_BY_ITSELF = Path(__file__).parents[2] / "services" / "pricing" / "benchmarks" / "bench.py"


async def _by_itself() -> list[Figure]:
    """Run the service's own benchmark in a process of its own: it counts that process's processor time."""
    command = (sys.executable, str(_BY_ITSELF), "core", "watch")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{_BY_ITSELF.name} failed with {process.returncode}")
    # What it logs while it makes its database comes first on the same stream.
    rows = json.loads(output[output.index(b"[\n") :])
    return [Figure(**row) for row in rows]


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
        *await _by_itself(),
    ]
