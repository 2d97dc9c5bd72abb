"""Cases in PostgreSQL, and the liens to compare an extract with."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

import asyncpg

from carlien_common import idempotency
from carlien_common.postgres import Pool
from carlien_lien_registry.adapters.postgres.rows import LIEN_COLUMNS, lien_of
from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.reconciliation import Mismatch, MismatchKind
from carlien_lien_registry.domain.search_key import search_key
from carlien_lien_registry.service.reconciling import Case, CaseList, ImportResult
from carlien_lien_registry.service.registry import Asked

_CASE: Final = (
    "mismatch_id, kind, state, source, vin, registration_number, external_certificate_number, ledger_says, registry_says, "
    "opened_at, due_at, ended_at, resolution"
)
_LIENS: Final = f"""
    SELECT {", ".join(LIEN_COLUMNS)} FROM lien_versions
    WHERE superseded_block IS NULL AND (vin = ANY($1) OR search_key = ANY($2) OR secured_party_msp_id = $3)"""  # noqa: S608 - constants


class PostgresReconciliation:
    """ReconciliationStore on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def liens_to_compare(self, vins: Sequence[str], msp_id: str) -> tuple[Sequence[Lien], int]:
        """Return the liens to compare and the block they're as of, of one snapshot."""
        async with self._pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            block: int = await conn.fetchval("SELECT block_number FROM ledger_checkpoint")
            rows = await conn.fetch(_LIENS, list(vins), sorted({search_key(vin) for vin in vins}), msp_id)
        return [lien_of(row) for row in rows], block

    async def keep(self, asked: Asked, source: str, cases: Sequence[Case], result: ImportResult) -> ImportResult:
        """Open what isn't open yet, close what the extract doesn't show any more; a repeat returns the first result."""
        async with self._pool.acquire() as conn, conn.transaction():
            first = await idempotency.claim(conn, asked.org, asked.rpc, asked.key, asked.payload)
            if first is not None:
                return ImportResult(**json.loads(first))
            # Extracts of one source take turns: each closes what the one before it opened.
            await conn.execute("SELECT pg_advisory_xact_lock(hashtext('mismatches:' || $1))", source)
            rows = await conn.fetch(
                "SELECT mismatch_id, kind, source, vin, registration_number, external_certificate_number FROM mismatches "
                "WHERE state = 'OPEN' AND source = $1",
                source,
            )
            open_cases = {tuple(row)[1:]: row["mismatch_id"] for row in rows}
            shown = {case.mismatch.identity for case in cases}
            fresh = {case.mismatch.identity: case for case in cases if case.mismatch.identity not in open_cases}
            gone = [mismatch_id for identity, mismatch_id in open_cases.items() if identity not in shown]
            await conn.executemany(
                f"INSERT INTO mismatches ({_CASE}) VALUES ($1, $2, 'OPEN', $3, $4, $5, $6, $7, $8, $9, $10, NULL, '')",  # noqa: S608
                [_values(case) for case in fresh.values()],
            )
            await conn.execute("UPDATE mismatches SET state = 'GONE', ended_at = now() WHERE mismatch_id = ANY($1)", gone)
            result = replace(result, opened=len(fresh), gone=len(gone))
            await idempotency.store(conn, asked.org, asked.rpc, asked.key, json.dumps(asdict(result)).encode())
        return result

    async def list_cases(self, query: CaseList) -> Sequence[Case]:
        """Return one page of cases, those due first."""
        due_at, mismatch_id = query.after or (dt.datetime.min.replace(tzinfo=dt.UTC), "")
        rows = await self._pool.fetch(
            f"SELECT {_CASE} FROM mismatches WHERE state = $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR vin = $3) "  # noqa: S608
            "AND (due_at, mismatch_id) > ($4, $5) ORDER BY due_at, mismatch_id LIMIT $6",
            query.state,
            query.kind.value if query.kind else "",
            query.vin,
            due_at,
            mismatch_id,
            query.limit,
        )
        return [_case(row) for row in rows]

    async def resolve(self, mismatch_id: str, resolution: str, now: dt.datetime) -> Case | None:
        """Settle an open case; one that has ended is returned as it is."""
        await self._pool.execute(
            "UPDATE mismatches SET state = 'RESOLVED', resolution = $2, ended_at = $3 WHERE mismatch_id = $1 AND state = 'OPEN'",
            mismatch_id,
            resolution,
            now,
        )
        row = await self._pool.fetchrow(f"SELECT {_CASE} FROM mismatches WHERE mismatch_id = $1", mismatch_id)  # noqa: S608 - constants
        return _case(row) if row else None


def _values(case: Case) -> tuple[object, ...]:
    one = case.mismatch
    return (
        *(case.mismatch_id, one.kind.value, one.source, one.vin, one.registration_number, one.external_certificate_number),
        *(one.ledger_says, one.registry_says, case.opened_at, case.due_at),
    )


def _case(row: asyncpg.Record) -> Case:
    mismatch = Mismatch(
        kind=MismatchKind(row["kind"]),
        source=row["source"],
        vin=row["vin"],
        registration_number=row["registration_number"],
        external_certificate_number=row["external_certificate_number"],
        ledger_says=row["ledger_says"],
        registry_says=row["registry_says"],
    )
    return Case(row["mismatch_id"], mismatch, row["state"], row["opened_at"], row["due_at"], row["ended_at"], row["resolution"])
