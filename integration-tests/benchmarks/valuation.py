"""Appraise over gRPC against an empty rpc behind the same TLS and interceptor."""

from datetime import UTC, datetime

from benchmarks.measure import Figure, Session, closed_loop, empty_rpc
from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc
from loan_scenario.cars import car, fresh_vin


async def run(session: Session) -> list[Figure]:
    """Measure single and batched appraisals, record=false, one price type."""
    stub = session.clients.stub(valuation_service_pb2_grpc.ValuationServiceStub, session.stack.valuation, "originator")
    year = datetime.now(UTC).year
    requests = [
        valuation_service_pb2.AppraiseRequest(
            vehicle=car(fresh_vin(session.rng), session.rng.randrange(10_000, 150_000), year - session.rng.randrange(1, 8)),
            price_types=[appraisal_pb2.PRICE_TYPE_WHOLESALE],
        )
        for _ in range(256)
    ]

    async def appraise(number: int) -> object:
        return await stub.Appraise(requests[number % len(requests)], timeout=30)

    await closed_loop(appraise, 300, 64)
    empty = await empty_rpc(session, session.stack.valuation, 64)
    single = await closed_loop(appraise, 3000, 64)
    ratio = single.rate / empty.rate
    return [
        Figure("Appraise, 64 at once", single.rate, "1/s", empty.rate, ratio, ">= 40 % of an empty rpc", ratio >= 0.4),
        Figure("Appraise, 64 at once, p99", single.quantile(0.99), "s", target="< 30 ms", met=single.quantile(0.99) < 0.03),
    ]
