"""The read model against the ledger: every row is derived again from the blocks and compared."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import asyncpg

from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.postgres.projection import place_registrations
from carlien_lien_registry.adapters.postgres.rows import LIEN_COLUMNS, TITLE_COLUMNS, canonical, lien_row, title_row
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Position
from carlien_lien_registry.service.ports import FollowedBlock, LedgerFeed

_PREFETCH: Final = 5_000

Row = tuple[object, ...]
RowKey = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that isn't what the ledger says: DIFFERS, MISSING, or UNKNOWN to the ledger."""

    kind: str
    table: str
    key: RowKey


@dataclass
class Audit:
    """What was compared, and what didn't agree."""

    as_of_block: int
    rows: int
    findings: list[Finding]


class _Expected:
    """Digests of the rows there must be. A digest a row keeps a million registrations within some hundred megabytes."""

    def __init__(self, row: "Callable[[Change, int | None], Row]") -> None:
        self._row = row
        self._last: dict[str, Change] = {}
        self._digests: dict[RowKey, bytes] = {}

    def take(self, name: str, change: Change) -> None:
        before = self._last.get(name)
        if before is not None:
            self._digests[_key(name, before.position)] = _digest(self._row(before, change.position.block_number))
        self._last[name] = change
        self._digests[_key(name, change.position)] = _digest(self._row(change, None))

    def compare(self, table: str, row: asyncpg.Record, columns: tuple[str, ...]) -> Finding | None:
        key: RowKey = (row[0], row[1], row[2], row[3])
        expected = self._digests.pop(key, None)
        if expected is None:
            return Finding("UNKNOWN", table, key)
        return None if expected == _digest(tuple(row[column] for column in columns)) else Finding("DIFFERS", table, key)

    def missing(self, table: str) -> list[Finding]:
        return [Finding("MISSING", table, key) for key in self._digests]


async def audit(pool: Pool, feed: LedgerFeed, on_block: Callable[[int], None] = lambda _: None) -> Audit:
    """Compare the read model, as of its checkpoint, with the blocks up to there; OutcomeUnknown where the peer doesn't answer."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        checkpoint: int = await conn.fetchval("SELECT block_number FROM ledger_checkpoint")
        liens, titles = _Expected(lien_row), _Expected(title_row)
        if checkpoint >= 0:
            await _replay(feed, checkpoint, liens, titles, on_block)
        findings: list[Finding] = []
        rows = 0
        for table, columns, expected in (("lien_versions", LIEN_COLUMNS, liens), ("title_versions", TITLE_COLUMNS, titles)):
            async for row in _rows(conn, table, columns):
                rows += 1
                finding = expected.compare(table, row, columns)
                if finding is not None:
                    findings.append(finding)
            findings += expected.missing(table)
        return Audit(checkpoint, rows, findings)


async def _replay(feed: LedgerFeed, until: int, liens: _Expected, titles: _Expected, on_block: Callable[[int], None]) -> None:
    places: dict[str, Position] = {}
    async for block in feed.blocks(0):
        for change in place_registrations(_changes(block), places):
            if change.lien is not None:
                places[change.lien.registration_number] = change.lien.position
                liens.take(change.lien.registration_number, change)
            if change.title is not None:
                titles.take(change.vin, change)
        on_block(block.number)
        if block.number >= until:
            return


def _changes(block: FollowedBlock) -> Iterable[Change]:
    return (change for outcome in block.outcomes if outcome.valid for change in outcome.changes)


async def _rows(conn: Connection, table: str, columns: tuple[str, ...]) -> AsyncIterator[asyncpg.Record]:
    query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - constants
    async for row in conn.cursor(query, prefetch=_PREFETCH):
        yield row


def _key(name: str, position: Position) -> RowKey:
    return (name, position.block_number, position.tx_index, position.change_index)


def _digest(row: Row) -> bytes:
    return hashlib.sha256(repr(canonical(row)).encode()).digest()
