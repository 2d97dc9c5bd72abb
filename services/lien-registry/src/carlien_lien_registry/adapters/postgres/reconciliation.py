"""Cases in PostgreSQL, and the liens to compare an extract with."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any, Final

import asyncpg

from carlien_common import idempotency
from carlien_common.domain.money import Money
from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.postgres.rows import LIEN_COLUMNS, lien_of
from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.reconciliation import ExtractRecord, Mismatch, MismatchKind
from carlien_lien_registry.domain.search_key import search_key
from carlien_lien_registry.service.reconciling import Case, CaseList, Extract, ImportResult
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

    async def keep(self, asked: Asked, extract: Extract, cases: Sequence[Case], result: ImportResult) -> ImportResult:
        """Open what isn't open yet, close what the extract doesn't show any more; a repeat returns the first result."""
        async with self._pool.acquire() as conn, conn.transaction():
            first = await idempotency.claim(conn, asked.org, asked.rpc, asked.key, asked.payload)
            if first is not None:
                return ImportResult(**json.loads(first))
            opened, gone = await _settle(conn, extract, cases)
            await conn.execute(
                "INSERT INTO extracts (source, extracted_at, records, compared_block) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (source) DO UPDATE SET extracted_at = $2, records = $3, compared_block = $4 "
                "WHERE extracts.extracted_at <= $2",
                extract.source,
                extract.extracted_at,
                json.dumps([_record_to_json(record) for record in extract.records]),
                result.as_of_block,
            )
            result = replace(result, opened=opened, gone=gone)
            await idempotency.store(conn, asked.org, asked.rpc, asked.key, json.dumps(asdict(result)).encode())
        return result

    async def keep_again(self, extract: Extract, cases: Sequence[Case], as_of_block: int) -> None:
        """Settle the cases of an extract that is kept already, unless a newer one has come meanwhile."""
        async with self._pool.acquire() as conn, conn.transaction():
            still = await conn.fetchval(
                "UPDATE extracts SET compared_block = $3 WHERE source = $1 AND extracted_at = $2 RETURNING true",
                extract.source,
                extract.extracted_at,
                as_of_block,
            )
            if still:
                await _settle(conn, extract, cases)

    async def extracts(self) -> Sequence[Extract]:
        """Return the newest extract of each source."""
        rows = await self._pool.fetch("SELECT source, extracted_at, records FROM extracts ORDER BY source")
        return [
            Extract(row["source"], row["extracted_at"], tuple(_record_from_json(one) for one in json.loads(row["records"]))) for row in rows
        ]

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


async def _settle(conn: Connection, extract: Extract, cases: Sequence[Case]) -> tuple[int, int]:
    """Open what isn't open yet, close what isn't shown any more; returns how many of each."""
    # Comparisons of one source take turns: each closes what the one before it opened.
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('mismatches:' || $1))", extract.source)
    rows = await conn.fetch(
        "SELECT mismatch_id, kind, source, vin, registration_number, external_certificate_number FROM mismatches "
        "WHERE state = 'OPEN' AND source = $1",
        extract.source,
    )
    open_cases = {tuple(row)[1:]: row["mismatch_id"] for row in rows}
    shown = {case.mismatch.identity for case in cases}
    fresh = {case.mismatch.identity: case for case in cases if case.mismatch.identity not in open_cases}
    # An extract that is too old to compare says nothing about the other cases.
    stale = any(case.mismatch.kind is MismatchKind.STALE_EXTRACT for case in cases)
    gone = [] if stale else [mismatch_id for identity, mismatch_id in open_cases.items() if identity not in shown]
    await conn.executemany(
        f"INSERT INTO mismatches ({_CASE}) VALUES ($1, $2, 'OPEN', $3, $4, $5, $6, $7, $8, $9, $10, NULL, '')",  # noqa: S608
        [_values(case) for case in fresh.values()],
    )
    await conn.execute("UPDATE mismatches SET state = 'GONE', ended_at = now() WHERE mismatch_id = ANY($1)", gone)
    return len(fresh), len(gone)


def _record_to_json(record: ExtractRecord) -> dict[str, object]:
    return {
        "external_certificate_number": record.external_certificate_number,
        "vin": record.vin,
        "active": record.active,
        "amount": str(record.secured_amount.amount),
        "currency": record.secured_amount.currency,
        "registered_on": record.registered_on.isoformat() if record.registered_on else None,
    }


def _record_from_json(told: Mapping[str, Any]) -> ExtractRecord:
    return ExtractRecord(
        external_certificate_number=told["external_certificate_number"],
        vin=told["vin"],
        active=told["active"],
        secured_amount=Money(Decimal(told["amount"]), told["currency"]),
        registered_on=dt.date.fromisoformat(told["registered_on"]) if told["registered_on"] else None,
    )


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
