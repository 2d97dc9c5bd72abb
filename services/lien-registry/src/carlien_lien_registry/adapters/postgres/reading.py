"""The read model's reading side."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.postgres.rows import (
    LIEN_COLUMNS,
    RECORD_COLUMNS,
    TITLE_COLUMNS,
    lien_change,
    lien_of,
    record_change,
    title_change,
    title_of,
)
from carlien_lien_registry.adapters.postgres.tree import entries_as_of
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, Position, Title
from carlien_lien_registry.domain.operations import Record
from carlien_lien_registry.service.ports import Found, LienList, SearchSubject

_LIEN: Final = ", ".join(LIEN_COLUMNS)
_TITLE: Final = ", ".join(TITLE_COLUMNS)
_IN_ORDER: Final = "ORDER BY registered_block, registered_tx_index, registered_change_index"
# bcgov/ppr caps its hit lists the same way.
MAX_HITS: Final = 5_000

# One statement sees one snapshot: the hits and the block they are as of can't disagree.
_CURRENT: Final = f"""
    SELECT c.block_number AS as_of_block, v.* FROM ledger_checkpoint c
    LEFT JOIN LATERAL (
        SELECT {_LIEN} FROM lien_versions WHERE {{condition}} AND (superseded_block IS NULL OR superseded_block > $2)
        {_IN_ORDER}, block_number, tx_index, change_index LIMIT {MAX_HITS}
    ) v ON true"""  # noqa: S608 - constants
_AS_OF: Final = f"""
    SELECT c.block_number AS as_of_block, v.* FROM ledger_checkpoint c
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT DISTINCT ON (registration_number) {_LIEN} FROM lien_versions WHERE {{condition}} AND changed_at <= $2
            ORDER BY registration_number, block_number DESC, tx_index DESC, change_index DESC
        ) newest {_IN_ORDER} LIMIT {MAX_HITS}
    ) v ON true"""  # noqa: S608 - constants
_CONDITIONS: Final = {
    "vin": "vin = $1",
    "search_key": "search_key = $1",
    "debtor": "debtor_hash = ANY($1)",
    "registration_number": "registration_number = $1",
}


_RECORD: Final = ", ".join(RECORD_COLUMNS)
_RECORDS_OF_TX: Final = f"SELECT {_RECORD} FROM record_versions WHERE tx_id = $1"  # noqa: S608 - constants
_RECORDS_OF_CAR: Final = f"""
    SELECT {_RECORD} FROM record_versions WHERE vin = $1 AND kind = $2 AND superseded_block IS NULL
    ORDER BY block_number, tx_index, change_index LIMIT 1000"""  # noqa: S608 - constants
_LIST: Final = f"""
    SELECT {_LIEN} FROM lien_versions
    WHERE superseded_block IS NULL AND secured_party_msp_id = $1 AND registration_number > $2
      AND ($3 = '' OR vin = $3) AND ($4::timestamptz IS NULL OR expires_at < $4)
      AND CASE $5
          WHEN 'ACTIVE' THEN NOT discharged AND (expires_at IS NULL OR expires_at > $6)
          WHEN 'EXPIRED' THEN NOT discharged AND expires_at <= $6
          WHEN 'DISCHARGED' THEN discharged
          ELSE true END
    ORDER BY registration_number LIMIT $7"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class _Statement:
    current: str
    as_of: str


_STATEMENTS: Final = {
    name: _Statement(_CURRENT.format(condition=condition), _AS_OF.format(condition=condition)) for name, condition in _CONDITIONS.items()
}


class PostgresReader:
    """Queries on the read model."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def lien(self, registration_number: str) -> Lien | None:
        """Return the registration as it is now."""
        query = f"SELECT {_LIEN} FROM lien_versions WHERE registration_number = $1 AND superseded_block IS NULL"  # noqa: S608
        row = await self._pool.fetchrow(query, registration_number)
        return lien_of(row) if row else None

    async def history(self, registration_number: str) -> Sequence[Change]:
        """Return the life of one registration in ledger order, empty where there is none."""
        query = f"""
            SELECT {_LIEN} FROM lien_versions WHERE registration_number = $1
            ORDER BY block_number, tx_index, change_index"""  # noqa: S608 - constants
        return [lien_change(row) for row in await self._pool.fetch(query, registration_number)]

    async def title(self, vin: str) -> Title | None:
        """Return the title of a car as it is now."""
        query = f"SELECT {_TITLE} FROM title_versions WHERE vin = $1 AND superseded_block IS NULL"  # noqa: S608 - constants
        row = await self._pool.fetchrow(query, vin)
        return title_of(row) if row else None

    async def title_history(self, vin: str) -> Sequence[Change]:
        """Return every version of a car's title in ledger order, empty where there is none."""
        query = f"SELECT {_TITLE} FROM title_versions WHERE vin = $1 ORDER BY block_number, tx_index, change_index"  # noqa: S608
        return [title_change(row) for row in await self._pool.fetch(query, vin)]

    async def records(self, vin: str, kind: str) -> Sequence[Record]:
        """Return a car's reservations, consents, disputes or court orders as they are now, in ledger order."""
        changes = (record_change(row) for row in await self._pool.fetch(_RECORDS_OF_CAR, vin, kind))
        return [change.record for change in changes if change.record is not None]

    async def reservation_positions(self, tx_ids: Sequence[str]) -> Mapping[str, Position]:
        """Return where reservations stand in the ledger, by their transactions."""
        rows = await self._pool.fetch(
            "SELECT tx_id, block_number, tx_index, change_index FROM record_versions "
            "WHERE tx_id = ANY($1) AND change = 'priority.reserved'",
            list(tx_ids),
        )
        return {row["tx_id"]: Position(row["block_number"], row["tx_index"], row["change_index"]) for row in rows}

    async def list_liens(self, query: LienList) -> Sequence[Lien]:
        """Return one page of registrations in order of number."""
        status = query.status.value if query.status else ""
        rows = await self._pool.fetch(
            _LIST, query.secured_party_msp_id, query.after, query.vin, query.expires_before, status, query.as_of, query.limit
        )
        return [lien_of(row) for row in rows]

    async def changes_of(self, tx_id: str) -> tuple[Change, ...]:
        """Return what a projected transaction changed, in order."""
        changes = [
            lien_change(row)
            for row in await self._pool.fetch(f"SELECT {_LIEN} FROM lien_versions WHERE tx_id = $1", tx_id)  # noqa: S608 - constants
        ]
        if not changes:
            # No transaction changes both.
            rows = await self._pool.fetch(f"SELECT {_TITLE} FROM title_versions WHERE tx_id = $1", tx_id)  # noqa: S608 - constants
            changes = [title_change(row) for row in rows]
        # A change of a lien or title may have used a consent, too; an order may have ended a lien.
        changes += [record_change(row) for row in await self._pool.fetch(_RECORDS_OF_TX, tx_id)]
        return tuple(sorted(changes, key=lambda change: change.position))

    async def search(self, subject: SearchSubject, as_of: dt.datetime | None, since: int = -1, buckets: Sequence[int] = ()) -> Found:
        """Return matching registrations in order of registration, as they are now or were known by `as_of`.

        Without `as_of` also those that matched as of block `since`, what changed after it, and what the tree's buckets held then.
        """
        statement = _STATEMENTS[subject.by]
        if as_of is not None:
            rows = await self._pool.fetch(statement.as_of, subject.value, as_of)
            return Found(tuple(lien_of(row) for row in rows if row["registration_number"] is not None), rows[0]["as_of_block"])
        # One connection for all of it: handing one back to the pool costs a round trip.
        async with self._pool.acquire() as conn:
            rows = await conn.fetch(statement.current, subject.value, since)
            as_of_block: int = rows[0]["as_of_block"]
            rows = [row for row in rows if row["registration_number"] is not None]
            current = {row["registration_number"]: row for row in rows if row["superseded_block"] is None}
            before = {row["registration_number"]: row for row in rows if row["block_number"] <= since}
            # What no longer matches (another debtor, since then) stands under the same number elsewhere.
            elsewhere = await _current(conn, before.keys() - current.keys())
            entries = await entries_as_of(conn, buckets, since) if buckets else {}
        return Found(
            tuple(lien_of(row) for row in current.values()),
            as_of_block,
            tuple(lien_of(row) for row in before.values()),
            tuple(lien_change(row) for row in (*current.values(), *elsewhere) if row["block_number"] > since),
            entries,
            len(rows) == MAX_HITS,
        )


async def _current(conn: Connection, numbers: Collection[str]) -> Sequence[asyncpg.Record]:
    if not numbers:
        return []
    query = f"SELECT {_LIEN} FROM lien_versions WHERE registration_number = ANY($1) AND superseded_block IS NULL"  # noqa: S608
    return list(await conn.fetch(query, list(numbers)))
