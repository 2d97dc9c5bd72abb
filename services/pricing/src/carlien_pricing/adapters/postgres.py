"""The service's database: rows, and in the same transaction the events that tell of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from carlien.pricing.v1 import events_pb2, pricing_service_pb2
from carlien_common import idempotency, outbox
from carlien_common.postgres import Connection, Pool
from carlien_pricing.adapters.codec import StoredResult, from_json
from carlien_pricing.adapters.outlet import Outlet
from carlien_pricing.adapters.watch_rows import WatchRows, read_appraisal, read_index, read_watch
from carlien_pricing.domain.quote import QuoteInputs
from carlien_pricing.domain.watch_state import IndexLevels, Stage, Watch
from carlien_pricing.metrics import ACCEPTED, DECLINE_REASONS, QUOTES
from carlien_pricing.service.ports import HeldAppraisal, Place, QuoteRecord, QuoteStatus, Told
from carlien_pricing.service.replaying import StoredQuote
from carlien_pricing.service.workshop import FinishedQuote


class PostgresTransaction(WatchRows):
    """service.ports.Transaction on one connection."""

    def __init__(self, connection: Connection, outlet: Outlet) -> None:
        self._connection, self._outlet = connection, outlet

    async def first_answer(self, org: str, rpc: str, key: str, payload: bytes, answer: bytes | None = None) -> bytes | None:
        return await idempotency.claim(self._connection, org, rpc, key, payload, answer)

    async def remember(self, org: str, rpc: str, key: str, answer: bytes) -> None:
        await idempotency.store(self._connection, org, rpc, key, answer)

    async def add_quote(self, made: FinishedQuote, org: str) -> None:
        await self._connection.execute(
            """INSERT INTO quotes (quote_id, org, vin, currency, status, quoted_at, expires_at, policies_version, engine_version,
                                   software_version, input_hash, inputs, result)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)""",
            made.quote_id,
            org,
            made.vin,
            made.currency,
            made.status,
            made.quoted_at,
            made.expires_at,
            made.policies_version,
            made.engine_version,
            made.software_version,
            made.input_hash,
            made.inputs,
            made.result,
        )
        await self._tell_quote(made.vin, "quote.made", made.answer)
        QUOTES.labels(made.product, "decline" if made.blocking else "offer").inc()
        for reason in made.blocking:
            DECLINE_REASONS.labels(reason).inc()

    async def quote_for_update(self, quote_id: str, org: str) -> QuoteRecord | None:
        row = await self._connection.fetchrow("SELECT * FROM quotes WHERE quote_id = $1 AND org = $2 FOR UPDATE", quote_id, org)
        return None if row is None else _quote(row)

    async def accept(self, record: QuoteRecord, answer: bytes) -> None:
        await self._connection.execute(
            "UPDATE quotes SET status = $2, accepted_at = $3 WHERE quote_id = $1", record.quote_id, record.status, record.accepted_at
        )
        await self._tell_quote(record.inputs.car.vin, "quote.accepted", answer)
        ACCEPTED.inc()

    async def _tell_quote(self, vin: str, change: str, answer: bytes) -> None:
        quote = pricing_service_pb2.QuoteResponse.FromString(answer).quote
        await outbox.append(
            self._connection,
            topic=self._outlet.quote_topic,
            key=vin,
            event=events_pb2.QuoteEvent(change=change, quote=quote),
            ce_type=f"carlien.pricing.{change}.v1",
            ce_source=self._outlet.source,
        )


class PostgresStore:
    """service.ports.Store on the pool."""

    def __init__(self, pool: Pool, outlet: Outlet) -> None:
        self._pool, self._outlet = pool, outlet

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with self._pool.acquire() as connection, connection.transaction():
            yield PostgresTransaction(connection, self._outlet)

    def on(self, connection: Connection) -> PostgresTransaction:
        """A transaction that is open already: a consumer's."""
        return PostgresTransaction(connection, self._outlet)

    async def first_answer(self, org: str, rpc: str, key: str, payload: bytes) -> bytes | None:
        async with self._pool.acquire() as connection:
            # Nearly every key is new: one question instead of a claim that is taken back.
            known = "SELECT true FROM idempotency_key WHERE org = $1 AND rpc = $2 AND key = $3"
            if not await connection.fetchval(known, org, rpc, key):
                return None
            attempt = connection.transaction()
            await attempt.start()
            try:
                return await idempotency.claim(connection, org, rpc, key, payload)
            finally:
                await attempt.rollback()

    async def quote(self, quote_id: str, org: str) -> QuoteRecord | None:
        row = await self._pool.fetchrow("SELECT * FROM quotes WHERE quote_id = $1 AND org = $2", quote_id, org)
        return None if row is None else _quote(row)

    async def watch(self, loan_id: str) -> Watch | None:
        return read_watch(await self._pool.fetchval("SELECT state FROM watches WHERE loan_id = $1", loan_id))

    async def list_watches(self, stage: Stage | None, after: str, limit: int) -> Sequence[Watch]:
        rows = await self._pool.fetch(
            "SELECT state FROM watches WHERE ($1::text IS NULL OR stage = $1) AND loan_id > $2 ORDER BY loan_id LIMIT $3",
            stage,
            after,
            limit,
        )
        return [from_json(Watch, row["state"]) for row in rows]

    async def appraisal(self, appraisal_id: str) -> HeldAppraisal | None:
        return await read_appraisal(self._pool, appraisal_id)

    async def index(self) -> IndexLevels | None:
        return await read_index(self._pool)

    async def due_checks(self, now: datetime, limit: int) -> Sequence[Watch]:
        rows = await self._pool.fetch("SELECT state FROM watches WHERE check_at <= $1 ORDER BY check_at LIMIT $2", now, limit)
        return [from_json(Watch, row["state"]) for row in rows]

    async def forget_alerts(self, before: datetime) -> None:
        await self._pool.execute("DELETE FROM alerts WHERE NOT open AND changed_at < $1", before)

    async def now_place(self) -> Place:
        # Everything of an older transaction has been told; of this very snapshot's horizon nothing has.
        return Place(int(await self._pool.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")), 0)

    async def told_after(self, place: Place, loan_id: str, limit: int) -> Sequence[Told]:
        rows = await self._pool.fetch(
            """SELECT tx::text AS tx, sequence, event FROM watch_events
               WHERE (tx, sequence) > ($1::text::xid8, $2) AND tx < pg_snapshot_xmin(pg_current_snapshot())
                     AND ($3 = '' OR loan_id = $3)
               ORDER BY tx, sequence LIMIT $4""",
            str(place.tx),
            place.sequence,
            loan_id,
            limit,
        )
        return [Told(Place(int(row["tx"]), row["sequence"]), row["event"]) for row in rows]

    async def forget_told(self, before: datetime) -> None:
        await self._pool.execute("DELETE FROM watch_events WHERE recorded_at < $1", before)

    async def keep_bundle(self, version: str, files: str) -> None:
        """Stores the policy files in use, so that what is priced with them can be computed again."""
        await self._pool.execute("INSERT INTO policy_bundles (version, files) VALUES ($1, $2) ON CONFLICT DO NOTHING", version, files)

    async def stored_quote(self, quote_id: str) -> StoredQuote | None:
        """Inputs and result exactly as stored, with the policy files in force then, for a replay."""
        row = await self._pool.fetchrow(
            """SELECT quote_id, inputs, result, input_hash, engine_version, policies_version, files
               FROM quotes JOIN policy_bundles ON version = policies_version WHERE quote_id = $1""",
            quote_id,
        )
        return None if row is None else StoredQuote(*row.values())

    async def newest_quotes(self, limit: int) -> list[str]:
        """Identifiers, newest first."""
        return [row["quote_id"] for row in await self._pool.fetch("SELECT quote_id FROM quotes ORDER BY quoted_at DESC LIMIT $1", limit)]

    async def count_watches(self) -> tuple[dict[str, int], dict[tuple[str, int], int]]:
        """For the metrics: loans by stage, and open loans by (LTV band, tier)."""
        stages = await self._pool.fetch("SELECT stage, count(*) AS n FROM watches GROUP BY stage")
        heat = await self._pool.fetch(
            """SELECT width_bucket(ltv, ARRAY[0.5, 0.7, 0.8, 0.9, 1.0, 1.2]::float8[]) AS band, tier, count(*) AS n
               FROM watches WHERE stage <> 'CLOSED' GROUP BY 1, 2"""
        )
        return {row["stage"]: row["n"] for row in stages}, {(LTV_BANDS[row["band"]], row["tier"]): row["n"] for row in heat}


LTV_BANDS = ("<0.5", "0.5-0.7", "0.7-0.8", "0.8-0.9", "0.9-1.0", "1.0-1.2", ">=1.2")


def _quote(row: asyncpg.Record) -> QuoteRecord:
    result = from_json(StoredResult, row["result"])
    return QuoteRecord(
        quote_id=row["quote_id"],
        currency=row["currency"],
        inputs=from_json(QuoteInputs, row["inputs"]),
        priced=result.priced,
        counteroffers=result.counteroffers,
        step_downs=result.step_downs,
        input_hash=row["input_hash"],
        engine_version=row["engine_version"],
        software_version=row["software_version"],
        quoted_at=row["quoted_at"],
        expires_at=row["expires_at"],
        status=QuoteStatus(row["status"]),
        accepted_at=row["accepted_at"],
    )
