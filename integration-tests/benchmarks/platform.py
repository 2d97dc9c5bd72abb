"""What a call costs before anything is done for it."""

from benchmarks import interceptor
from benchmarks.measure import Figure, Session, empty_rpc


async def run(session: Session) -> list[Figure]:
    """Measure an empty rpc, alone and at 64 at once, and what the interceptor adds to it."""
    alone = await empty_rpc(session, session.stack.pricing, 1, 500)
    crowd = await empty_rpc(session, session.stack.pricing, 64)
    return [
        Figure("empty rpc, one by one, median", alone.median, "s"),
        Figure("empty rpc, 64 at once", crowd.rate, "1/s"),
        Figure("empty rpc, 64 at once, p99", crowd.quantile(0.99), "s"),
        *await interceptor.run(session),
    ]
