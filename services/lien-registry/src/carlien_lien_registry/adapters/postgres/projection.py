"""The read model's writing side: blocks into versions, events into the outbox, one transaction with the checkpoint."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from carlien.lien.v1 import events_pb2
from carlien_common import outbox
from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.commitments import entries_of, lien_entries, lien_record
from carlien_lien_registry.adapters.postgres import tree
from carlien_lien_registry.adapters.postgres.alerts import ChangeAlerts
from carlien_lien_registry.adapters.postgres.rows import (
    LIEN_COLUMNS,
    RECORD_COLUMNS,
    TITLE_COLUMNS,
    lien_change,
    lien_row,
    record_change,
    record_row,
    registered_at,
    title_change,
    title_row,
)
from carlien_lien_registry.adapters.records import kind_of
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Position
from carlien_lien_registry.service.ports import CheckpointMoved, FollowedBlock, LedgerCheckpoint, LedgerForked

TOPIC: Final = "carlien.lien.event.v1"
_REGISTERED: Final = "lien.registered"
_ISSUED: Final = "title.issued"

ToEvent = Callable[[Change], events_pb2.LienEvent]


class PostgresProjection:
    """Projection on PostgreSQL."""

    def __init__(self, pool: Pool, to_event: ToEvent, event_source: str, msp_id: str) -> None:
        """Take the pool, the conversion to the event message, the CloudEvents source, and who we are."""
        self._pool = pool
        self._to_event = to_event
        self._source = event_source
        self._alerts = ChangeAlerts(msp_id, event_source)

    async def checkpoint(self) -> LedgerCheckpoint:
        """Return how far the read model has come."""
        row = await self._pool.fetchrow("SELECT block_number, block_hash FROM ledger_checkpoint")
        if row is None:
            raise LookupError("the checkpoint row is missing: the schema wasn't migrated")
        return LedgerCheckpoint(row["block_number"], row["block_hash"])

    async def apply(self, blocks: Sequence[FollowedBlock]) -> Mapping[str, tuple[Change, ...]]:
        """Take blocks in; those it has already are skipped. Returns what it stored, by transaction."""
        async with self._pool.acquire() as conn, conn.transaction():
            # The lock makes replicas take turns: the second one finds the block applied and skips it.
            row = await conn.fetchrow("SELECT block_number, block_hash, events_block FROM ledger_checkpoint FOR UPDATE")
            if row is None:
                raise LookupError("the checkpoint row is missing: the schema wasn't migrated")
            fresh = [block for block in blocks if block.number > row["block_number"]]
            if not fresh:
                return {}
            if fresh[0].number != row["block_number"] + 1:
                raise CheckpointMoved
            _require_chain(LedgerCheckpoint(row["block_number"], row["block_hash"]), fresh)
            told = [change for block in fresh for outcome in block.outcomes if outcome.valid for change in outcome.changes]
            changes = place_registrations(told, await _registered(conn, told))
            in_tree = tree.TreeChanges()
            await _store_liens(conn, changes, in_tree)
            await _store_titles(conn, changes, in_tree)
            await _store_records(conn, changes, in_tree)
            await tree.store(conn, in_tree)
            await tree.store_anchors(conn, changes)
            await _mark_writes(conn, fresh)
            news = [change for change in changes if change.position.block_number > row["events_block"]]
            await self._emit(conn, news)
            await self._alerts.write(conn, news)
            last = fresh[-1]
            await conn.execute(
                "UPDATE ledger_checkpoint SET block_number = $1, tx_count = $2, block_hash = $3, "
                "events_block = greatest(events_block, $1), applied_at = now()",
                last.number,
                len(last.outcomes),
                last.header_hash,
            )
        by_tx: dict[str, tuple[Change, ...]] = {}
        for change in changes:
            by_tx[change.tx_id] = (*by_tx.get(change.tx_id, ()), change)
        return by_tx

    async def reset(self) -> None:
        """Empty the read model, to be built again from block 0. Writes, certificates and what was emitted stay."""
        async with self._pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT 1 FROM ledger_checkpoint FOR UPDATE")
            await conn.execute("TRUNCATE lien_versions, title_versions, record_versions, tree_entries, tree_changes, anchors")
            await conn.execute("UPDATE ledger_checkpoint SET block_number = -1, tx_count = 0, block_hash = '', applied_at = now()")

    async def _emit(self, conn: Connection, changes: Iterable[Change]) -> None:
        # A posted root is no event of a car.
        told = (change for change in changes if change.anchor is None)
        entries = [outbox.Entry(change.vin, self._to_event(change), f"carlien.{change.kind}.v1", change.event_id) for change in told]
        await outbox.append_all(conn, topic=TOPIC, ce_source=self._source, entries=entries)


def _require_chain(checkpoint: LedgerCheckpoint, blocks: Sequence[FollowedBlock]) -> None:
    number, previous = checkpoint.block_number, checkpoint.block_hash
    for block in blocks:
        if block.number != number + 1:
            raise LedgerForked(f"block {block.number} follows block {number}")
        if number >= 0 and block.previous_hash != previous:
            raise LedgerForked(
                f"block {block.number} doesn't name the block {number} that the read model was built from: the peer is of another "
                "network, or its ledger was made anew; if that is meant, run carlien-lien rebuild --yes"
            )
        number, previous = block.number, block.header_hash


def place_registrations(changes: Iterable[Change], known: Mapping[str, Position]) -> list[Change]:
    """Put into each lien where it was registered: known from earlier blocks, or from an earlier change among these."""
    places, placed = dict(known), []
    for change in changes:
        if change.lien is not None:
            if change.kind == _REGISTERED:
                places[change.lien.registration_number] = change.position
            place = places[change.lien.registration_number]
            if place != change.lien.position:
                change = replace(change, lien=replace(change.lien, position=place))
        placed.append(change)
    return placed


async def _registered(conn: Connection, changes: Iterable[Change]) -> dict[str, Position]:
    numbers = {change.lien.registration_number for change in changes if change.lien is not None and change.kind != _REGISTERED}
    if not numbers:
        return {}
    rows = await conn.fetch(
        "SELECT registration_number, registered_block, registered_tx_index, registered_change_index FROM lien_versions "
        "WHERE registration_number = ANY($1) AND superseded_block IS NULL",
        list(numbers),
    )
    return {row["registration_number"]: registered_at(row) for row in rows}


async def _store_liens(conn: Connection, changes: Iterable[Change], in_tree: tree.TreeChanges) -> None:
    by_number: dict[str, list[Change]] = {}
    for change in changes:
        if change.lien is not None:
            by_number.setdefault(change.lien.registration_number, []).append(change)
    pairs = [pair for versions in by_number.values() for pair in _with_next(versions)]
    if not pairs:
        return
    older = [(number, versions[0].position.block_number) for number, versions in by_number.items() if versions[0].kind != _REGISTERED]
    if older:
        ended = await conn.fetch(
            "UPDATE lien_versions v SET superseded_block = u.block FROM unnest($1::text[], $2::bigint[]) u (number, block) "
            "WHERE v.registration_number = u.number AND v.superseded_block IS NULL RETURNING v.*",
            [number for number, _ in older],
            [block for _, block in older],
        )
        for row in ended:
            in_tree.ends(lien_change(row), row["superseded_block"])
    rows = []
    for change, next_block in pairs:
        if change.lien is not None:
            record = lien_record(change.lien)
            rows.append(lien_row(change, next_block, record))
            in_tree.stands(change, next_block, lien_entries(change.lien, record))
    await conn.copy_records_to_table("lien_versions", records=rows, columns=LIEN_COLUMNS)


async def _store_titles(conn: Connection, changes: Iterable[Change], in_tree: tree.TreeChanges) -> None:
    by_vin: dict[str, list[Change]] = {}
    for change in changes:
        if change.title is not None:
            by_vin.setdefault(change.vin, []).append(change)
    pairs = [pair for versions in by_vin.values() for pair in _with_next(versions)]
    if not pairs:
        return
    older = [(vin, versions[0].position.block_number) for vin, versions in by_vin.items() if versions[0].kind != _ISSUED]
    if older:
        ended = await conn.fetch(
            "UPDATE title_versions v SET superseded_block = u.block FROM unnest($1::text[], $2::bigint[]) u (vin, block) "
            "WHERE v.vin = u.vin AND v.superseded_block IS NULL RETURNING v.*",
            [vin for vin, _ in older],
            [block for _, block in older],
        )
        for row in ended:
            in_tree.ends(title_change(row), row["superseded_block"])
    rows = [title_row(change, next_block) for change, next_block in pairs]
    await conn.copy_records_to_table("title_versions", records=rows, columns=TITLE_COLUMNS)
    for change, next_block in pairs:
        in_tree.stands(change, next_block, entries_of(change))


async def _store_records(conn: Connection, changes: Iterable[Change], in_tree: tree.TreeChanges) -> None:
    by_key: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.record is not None:
            by_key.setdefault((kind_of(change.record), change.record.key), []).append(change)
    if not by_key:
        return
    ended = await conn.fetch(
        "UPDATE record_versions v SET superseded_block = u.block "
        "FROM unnest($1::text[], $2::text[], $3::bigint[]) u (kind, record_key, block) "
        "WHERE v.kind = u.kind AND v.record_key = u.record_key AND v.superseded_block IS NULL RETURNING v.*",
        [kind for kind, _ in by_key],
        [key for _, key in by_key],
        [versions[0].position.block_number for versions in by_key.values()],
    )
    for row in ended:
        in_tree.ends(record_change(row), row["superseded_block"])
    pairs = [pair for versions in by_key.values() for pair in _with_next(versions)]
    rows = [record_row(change, next_block) for change, next_block in pairs]
    await conn.copy_records_to_table("record_versions", records=rows, columns=RECORD_COLUMNS)
    for change, next_block in pairs:
        in_tree.stands(change, next_block, entries_of(change))


def _with_next(versions: list[Change]) -> list[tuple[Change, int | None]]:
    """Pair each version with the block that supersedes it, None for the newest."""
    pairs: list[tuple[Change, int | None]] = [(one, after.position.block_number) for one, after in pairwise(versions)]
    return [*pairs, (versions[-1], None)]


async def _mark_writes(conn: Connection, blocks: Sequence[FollowedBlock]) -> None:
    found = [(outcome.tx_id, block.number) for block in blocks for outcome in block.outcomes if outcome.valid]
    if found:
        await conn.execute(
            "UPDATE ledger_writes w SET state = 'COMMITTED', block_number = u.block, updated_at = now() "
            "FROM unnest($1::text[], $2::bigint[]) u (tx_id, block) WHERE w.tx_id = u.tx_id AND w.state = 'PENDING'",
            [tx_id for tx_id, _ in found],
            [block for _, block in found],
        )
