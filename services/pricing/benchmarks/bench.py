"""Numbers of pricing by itself, as JSON rows: [{name, value, unit, reference, ratio, target, met}].

    python services/pricing/benchmarks/bench.py core                        # needs nothing
    source .local/env && python services/pricing/benchmarks/bench.py watch  # needs PostgreSQL

`make bench B=pricing` runs both, after Quote through all services (integration-tests/benchmarks/pricing.py). core is processor time, so
that a busy machine doesn't spoil what is said of the code, beside exponentials of the same machine; watch is wall time, beside plain
rows inserted into the same database.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

import numpy as np
from pricing_builders import inputs, request, value

from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.domain.book import STRESSES, Book, reprice
from carlien_pricing.domain.counteroffers import counteroffers
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.watch_state import Mark, Watch
from carlien_pricing.service.ports import HeldAppraisal

BUNDLE = load_bundle()


def row(name: str, figure: float, unit: str, target: float, reference: float | None = None, *, at_least: bool) -> dict[str, Any]:
    """One line of the report."""
    met = figure >= target if at_least else figure <= target
    ratio = None if reference is None else round(figure / reference, 6)
    return {
        "name": name, "value": round(figure, 3), "unit": unit, "reference": reference and round(reference, 3), "ratio": ratio,
        "target": f"{'>=' if at_least else '<='} {target:g} {unit}", "met": met,
    }  # fmt: skip


def cpu_seconds(work: Any, repeats: int) -> float:
    """Best mean CPU time of one call, in five rounds."""
    work()
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - begun) / repeats)
    return best


def core() -> list[dict[str, Any]]:
    """Pricing alone, in memory."""
    quote = inputs(request=request(term_months=60), usage=UsageFacts(known=True, has_device=True, hours_silent=30.0))
    asked = inputs(request=request(amount=Decimal("95000.00"), term_months=48), usage=UsageFacts(known=True))
    declined = price(asked, BUNDLE)
    generator = np.random.default_rng(1)
    n = 100_000
    p50 = generator.uniform(3e4, 3e5, n)
    book = Book(
        np.arange(n).astype(str),
        p50 * generator.uniform(0.2, 0.9, n),
        generator.integers(1, 61, n),
        generator.uniform(0.05, 0.2, n),
        generator.uniform(0.05, 0.25, n),
        generator.uniform(0.003, 0.12, n),
        p50,
        p50 * generator.uniform(0.7, 0.95, n),
        generator.random(n) < 0.7,
        generator.integers(0, 5, n),
        generator.integers(0, 3, n),
        generator.integers(0, 2, n),
        generator.integers(1, 6, n),
        generator.integers(0, 120, n).astype(np.float64),
        generator.uniform(0.003, 0.12, n),
    )
    quote_seconds = cpu_seconds(lambda: price(quote, BUNDLE), 50)
    economics = BUNDLE.economics_on(quote.request.quote_date)
    begun = time.process_time()
    reprice(book, economics, BUNDLE, STRESSES[0])
    book_seconds = time.process_time() - begun
    numbers = generator.standard_normal((60, 2000)).astype(np.float32)
    exponentials = 1 / cpu_seconds(lambda: np.exp(numbers), 50)
    return [
        row("pricing core, 2,000 paths x 60 months", 1 / quote_seconds, "quotes/s/core", 400, exponentials, at_least=True),
        row("pricing counteroffers", 1000 * cpu_seconds(lambda: counteroffers(asked, declined, BUNDLE), 3), "ms", 150, at_least=False),
        row("pricing book of 100,000 loans", book_seconds, "s", 60, at_least=False),
    ]


async def watch(loans: int = 100_000, events: int = 20_000, batch: int = 500) -> list[dict[str, Any]]:
    """Appraisal events against watched loans, from the consumer's handler to the committed transaction."""
    import asyncpg

    from carlien_common.domain.clock import utc_now
    from carlien_common.postgres import migrate
    from carlien_pricing.adapters.outlet import Outlet
    from carlien_pricing.adapters.postgres import PostgresStore
    from carlien_pricing.domain.watch_state import Cause
    from carlien_pricing.messages import watch_response
    from carlien_pricing.service.watching import Watching

    admin_dsn = os.environ["POSTGRES_ADMIN_DSN"]
    name = f"pricing_bench_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(admin_dsn)._replace(path=f"/{name}"))
    try:
        await migrate(dsn, "carlien_pricing")
        async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
            store = PostgresStore(pool, Outlet("/bench", "quotes", "watches"))
            watching = Watching(store, BUNDLE, utc_now, watch_response)
            now = datetime.now(UTC)
            mark = Mark("A-0", Decimal("100000.00"), Decimal("85000.00"), now)
            first = Watch("", "", "Q", "CNY", Decimal("0.01"), Decimal("60000.00"), mark, mark.p50, now)
            for start in range(0, loans, 5000):
                block = [replace(first, loan_id=f"L{i:08d}", vin=f"V{i:08d}") for i in range(start, min(start + 5000, loans))]
                async with store.transaction() as tx:
                    await tx.put_watches(block, [], Cause.REQUEST)
            generator = np.random.default_rng(1)
            begun = time.perf_counter()
            for start in range(0, events, batch):
                held = []
                for i in range(start, start + batch):
                    p50 = Decimal(int(generator.integers(55_000, 110_000)))
                    facts = value(appraisal_id=f"A-{i + 1}", p50=p50, p10=p50 * Decimal("0.85"))
                    newer = Mark(facts.appraisal_id, p50, facts.p10, now + timedelta(seconds=i + 1))
                    held.append(HeldAppraisal(facts.appraisal_id, f"V{int(generator.integers(0, loans)):08d}", facts, newer))
                async with store.transaction() as tx:
                    await watching.appraised(tx, held)
            seconds = time.perf_counter() - begun
            plain = await _plain_rows(pool, events, batch)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
    return [row(f"pricing watch, {loans} loans", events / seconds, "events/s", 5000, plain, at_least=True)]


async def _plain_rows(pool: Any, events: int, batch: int) -> float:
    """Rows a second of a kilobyte, in transactions of the same size."""
    async with pool.acquire() as connection:
        await connection.execute("CREATE TABLE plain (id text PRIMARY KEY, body text)")
        begun = time.perf_counter()
        for start in range(0, events, batch):
            ids = [f"R{number:08d}" for number in range(start, start + batch)]
            await connection.execute("INSERT INTO plain SELECT * FROM unnest($1::text[], $2::text[])", ids, ["x" * 1000] * batch)
        return events / (time.perf_counter() - begun)


def main() -> None:
    """Runs what the arguments name."""
    chosen = sys.argv[1:] or ["core"]
    rows = []
    if "core" in chosen:
        rows += core()
    if "watch" in chosen:
        rows += asyncio.run(watch())
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
