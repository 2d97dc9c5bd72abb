"""The read model against the ledger: every row is derived again from the blocks and compared."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import asyncpg

from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.commitments import entries_of
from carlien_lien_registry.adapters.postgres.projection import place_registrations
from carlien_lien_registry.adapters.postgres.rows import (
    ANCHOR_COLUMNS,
    LIEN_COLUMNS,
    RECORD_COLUMNS,
    TITLE_COLUMNS,
    anchor_row,
    canonical,
    lien_row,
    record_row,
    title_row,
)
from carlien_lien_registry.adapters.records import kind_of
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Position
from carlien_lien_registry.domain.merkle import bucket_of
from carlien_lien_registry.service.ports import FollowedBlock, LedgerFeed

_PREFETCH: Final = 5_000

Row = tuple[object, ...]
RowKey = tuple[object, ...]


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

    def __init__(self, table: str, columns: tuple[str, ...], key_columns: int, row: "Callable[[Change, int | None], Row]") -> None:
        self.table = table
        self.columns = columns
        self._key_columns = key_columns
        self._row = row
        self._last: dict[str, Change] = {}
        self._digests: dict[RowKey, bytes] = {}

    def take(self, name: str, change: Change) -> None:
        before = self._last.get(name)
        if before is not None:
            self._put(before, change.position.block_number)
        self._last[name] = change
        self._put(change, None)

    def _put(self, change: Change, superseded_block: int | None) -> None:
        row = self._row(change, superseded_block)
        self._digests[row[: self._key_columns]] = _digest(row)

    def compare(self, row: asyncpg.Record) -> Finding | None:
        values = tuple(row)
        key: RowKey = values[: self._key_columns]
        expected = self._digests.pop(key, None)
        if expected is None:
            return Finding("UNKNOWN", self.table, key)
        return None if expected == _digest(values) else Finding("DIFFERS", self.table, key)

    def missing(self) -> list[Finding]:
        return [Finding("MISSING", self.table, key) for key in self._digests]


class _ExpectedTree:
    """What must stand in each bucket, over all blocks, folded into one number: 2^20 of them at most, however much there is."""

    def __init__(self) -> None:
        self._folds: dict[int, int] = {}

    def turn(self, bucket: int, entry: bytes, block_number: int, superseded_block: int | None) -> None:
        """Put in what isn't there, take out what is: what agrees vanishes."""
        # A keyed sum would resist a forger better; whoever can write here can't choose what the ledger makes us expect.
        value = hashlib.sha256(repr((bytes(entry), block_number, superseded_block)).encode()).digest()
        self._folds[bucket] = self._folds.get(bucket, 0) ^ int.from_bytes(value, "big")

    def findings(self) -> list[Finding]:
        return [Finding("DIFFERS", "tree_entries", (bucket,)) for bucket, fold in sorted(self._folds.items()) if fold]


async def audit(pool: Pool, feed: LedgerFeed, on_block: Callable[[int], None] = lambda _: None) -> Audit:
    """Compare the read model, as of its checkpoint, with the blocks up to there; OutcomeUnknown where the peer doesn't answer."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        checkpoint: int = await conn.fetchval("SELECT block_number FROM ledger_checkpoint")
        expected = _Model()
        if checkpoint >= 0:
            await _replay(feed, checkpoint, expected, on_block)
        findings: list[Finding] = []
        rows = 0
        for table in expected.tables:
            async for row in _rows(conn, table.table, table.columns):
                rows += 1
                finding = table.compare(row)
                if finding is not None:
                    findings.append(finding)
            findings += table.missing()
        async for row in _rows(conn, "tree_entries", ("bucket", "entry", "block_number", "superseded_block")):
            rows += 1
            expected.tree.turn(*row)
        return Audit(checkpoint, rows, findings + expected.tree.findings())


class _Model:
    """The read model as the blocks make it."""

    def __init__(self) -> None:
        self.liens = _Expected("lien_versions", LIEN_COLUMNS, 4, lien_row)
        self.titles = _Expected("title_versions", TITLE_COLUMNS, 4, title_row)
        self.records = _Expected("record_versions", RECORD_COLUMNS, 5, record_row)
        self.anchors = _Expected("anchors", ANCHOR_COLUMNS, 2, anchor_row)
        self.tree = _ExpectedTree()
        self._standing: dict[tuple[str, str], Change] = {}

    @property
    def tables(self) -> tuple[_Expected, ...]:
        return (self.liens, self.titles, self.records, self.anchors)

    def take(self, change: Change) -> None:
        if change.lien is not None:
            name = ("lien", change.lien.registration_number)
            self.liens.take(name[1], change)
        elif change.title is not None:
            name = ("title", change.vin)
            self.titles.take(name[1], change)
        elif change.record is not None:
            name = (kind_of(change.record), change.record.key)
            self.records.take("/".join(name), change)
        else:
            self.anchors.take(change.event_id, change)
            return
        block = change.position.block_number
        before = self._standing.get(name)
        if before is not None:
            # Stood until now, not for good.
            self._turn(before, None)
            self._turn(before, block)
        self._standing[name] = change
        self._turn(change, None)

    def _turn(self, change: Change, until: int | None) -> None:
        block = change.position.block_number
        if until == block:
            return
        for entry in entries_of(change):
            self.tree.turn(bucket_of(entry), entry, block, until)


async def _replay(feed: LedgerFeed, until: int, expected: _Model, on_block: Callable[[int], None]) -> None:
    places: dict[str, Position] = {}
    async for block in feed.blocks(0):
        for change in place_registrations(_changes(block), places):
            if change.lien is not None:
                places[change.lien.registration_number] = change.lien.position
            expected.take(change)
        on_block(block.number)
        if block.number >= until:
            return


def _changes(block: FollowedBlock) -> Iterable[Change]:
    return (change for outcome in block.outcomes if outcome.valid for change in outcome.changes)


async def _rows(conn: Connection, table: str, columns: tuple[str, ...]) -> AsyncIterator[asyncpg.Record]:
    query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - constants
    async for row in conn.cursor(query, prefetch=_PREFETCH):
        yield row


def _digest(row: Row) -> bytes:
    return hashlib.sha256(repr(canonical(row)).encode()).digest()
