"""Stored writes: `ledger_writes`, and the private details that follow a registration."""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Final

import asyncpg

from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.postgres import Pool
from carlien_lien_registry.adapters.postgres.together import Together
from carlien_lien_registry.service.ports import Endorsed, LedgerCall, Write, WriteRequest, WriteState

_COLUMNS: Final = (
    "write_id, org, rpc, idempotency_key, fingerprint, function, arguments, as_registrar, state, attempt, tx_id, envelope, "
    "block_number, error, result, context"
)


# A row per write, and one per private detail of theirs: `write` counts the writes of the statement from 1.
_BEGIN: Final = """
    WITH given AS (
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::jsonb[], $7::boolean[], $8::text[], $9::bytea[],
            $10::bytea[], $11::jsonb[]
        ) WITH ORDINALITY given (
            org, rpc, idempotency_key, fingerprint, function, arguments, as_registrar, tx_id, envelope, result, context, write
        )
    ), written AS (
        INSERT INTO ledger_writes
            (org, rpc, idempotency_key, fingerprint, function, arguments, as_registrar, state, attempt, tx_id, envelope, result, context)
        SELECT org, rpc, idempotency_key, fingerprint, function, ARRAY(SELECT jsonb_array_elements_text(arguments)), as_registrar,
            'PENDING', 1, tx_id, envelope, result, context
        FROM given
        ON CONFLICT (org, rpc, idempotency_key) DO UPDATE SET
            state = 'PENDING', attempt = 1, tx_id = excluded.tx_id, envelope = excluded.envelope, error = NULL,
            result = excluded.result, context = excluded.context, function = excluded.function,
            arguments = excluded.arguments, as_registrar = excluded.as_registrar, updated_at = now()
        WHERE ledger_writes.state = 'FAILED' AND ledger_writes.fingerprint = excluded.fingerprint
        RETURNING write_id, org, rpc, idempotency_key
    ), begun AS (
        SELECT write, write_id FROM given JOIN written USING (org, rpc, idempotency_key)
    ), private AS (
        INSERT INTO private_details (write_id, details, details_hash)
        SELECT write_id, details, encode(sha256(details), 'hex')
        FROM unnest($12::bigint[], $13::bytea[]) private (write, details) JOIN begun USING (write)
        ON CONFLICT DO NOTHING
    )
    SELECT write, write_id FROM begun"""


class PostgresWrites:
    """WriteStore on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool
        self._finds = Together(self._find)
        self._begins = Together(self._begin)

    async def find(self, org: str, rpc: str, key: str) -> Write | None:
        """Return the write of that name, if any."""
        return await self._finds.add((org, rpc, key))

    async def _find(self, names: Sequence[tuple[str, str, str]]) -> Sequence[Write | None]:
        query = f"""
            SELECT {_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) named (org, rpc, idempotency_key)
            JOIN ledger_writes USING (org, rpc, idempotency_key)"""  # noqa: S608 - constants
        rows = await self._pool.fetch(query, *(list(column) for column in zip(*names, strict=True)))
        found = {(row["org"], row["rpc"], row["idempotency_key"]): _write(row) for row in rows}
        return [found.get(name) for name in names]

    async def begin(self, request: WriteRequest, endorsed: Endorsed) -> Write:
        """Store it PENDING; a FAILED one of that name starts anew, a live one of another process is returned instead."""
        write_id = await self._begins.add((request, endorsed))
        name = (request.org, request.rpc, request.key)
        if write_id is not None:
            return Write(write_id, *name, request.fingerprint, request.call, WriteState.PENDING, 1, endorsed, context=request.context)
        found = await self.find(*name)
        if found is None:
            raise LookupError("a write can't vanish")
        return found

    async def _begin(self, writes: Sequence[tuple[WriteRequest, Endorsed]]) -> Sequence[int | None]:
        given = [
            (
                *(request.org, request.rpc, request.key, request.fingerprint, request.call.function),
                *(json.dumps(request.call.arguments), request.call.as_registrar, endorsed.tx_id, endorsed.envelope),
                *(endorsed.result, request.context),
            )
            for request, endorsed in writes
        ]
        private = [(write, details) for write, (request, _) in enumerate(writes, start=1) for details in request.details]
        rows = await self._pool.fetch(
            _BEGIN,
            *(list(column) for column in zip(*given, strict=True)),
            [write for write, _ in private],
            [details for _, details in private],
        )
        begun = {row["write"]: row["write_id"] for row in rows}
        return [begun.get(write) for write in range(1, len(writes) + 1)]

    async def replace(self, write: Write, endorsed: Endorsed) -> Write:
        """Give a PENDING write its next envelope, unless another process did."""
        query = f"""
            UPDATE ledger_writes SET tx_id = $3, envelope = $4, result = $5, attempt = attempt + 1, updated_at = now()
            WHERE write_id = $1 AND tx_id = $2 AND state = 'PENDING' RETURNING {_COLUMNS}"""  # noqa: S608 - constants
        row = await self._pool.fetchrow(query, write.write_id, write.endorsed.tx_id, endorsed.tx_id, endorsed.envelope, endorsed.result)
        return _write(row) if row else await self.reload(write)

    async def fail(self, write: Write, error: DomainError) -> None:
        """Store that this envelope has no effect; its private details go."""
        told = {"kind": error.kind.value, "reason": error.reason, "message": error.message, "metadata": error.metadata}
        async with self._pool.acquire() as conn, conn.transaction():
            failed = await conn.fetchval(
                "UPDATE ledger_writes SET state = 'FAILED', error = $3, updated_at = now() "
                "WHERE write_id = $1 AND tx_id = $2 AND state = 'PENDING' RETURNING true",
                write.write_id,
                write.endorsed.tx_id,
                json.dumps(told),
            )
            if failed:
                await conn.execute("DELETE FROM private_details WHERE write_id = $1", write.write_id)

    async def reload(self, write: Write) -> Write:
        """Return it as it is now."""
        row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM ledger_writes WHERE write_id = $1", write.write_id)  # noqa: S608
        if row is None:
            raise LookupError("a write can't vanish")
        return _write(row)

    async def pending(self, older_than: dt.timedelta, limit: int) -> Sequence[Write]:
        """Return PENDING writes untouched for that long, oldest first."""
        query = f"""
            SELECT {_COLUMNS} FROM ledger_writes WHERE state = 'PENDING' AND updated_at <= now() - $1::interval
            ORDER BY updated_at LIMIT $2"""  # noqa: S608 - constants
        return [_write(row) for row in await self._pool.fetch(query, older_than, limit)]

    async def count_pending(self) -> int:
        """Return how many envelopes wait for their outcome."""
        return int(await self._pool.fetchval("SELECT count(*) FROM ledger_writes WHERE state = 'PENDING'"))


def _write(row: asyncpg.Record) -> Write:
    error = None
    if row["error"] is not None:
        told = json.loads(row["error"])
        error = DomainError(ErrorKind(told["kind"]), told["reason"], told["message"], metadata=told["metadata"])
    return Write(
        write_id=row["write_id"],
        org=row["org"],
        rpc=row["rpc"],
        key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        call=LedgerCall(row["function"], tuple(row["arguments"]), row["as_registrar"]),
        state=WriteState(row["state"]),
        attempt=row["attempt"],
        endorsed=Endorsed(row["tx_id"], row["envelope"], row["result"]),
        block_number=row["block_number"],
        error=error,
        context=row["context"],
    )
