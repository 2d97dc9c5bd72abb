"""The Merkle tree's entries in PostgreSQL: written with the blocks, read as of any block. Nodes are kept in memory alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from carlien_common.postgres import Connection, Pool
from carlien_lien_registry.adapters.commitments import entries_of
from carlien_lien_registry.adapters.postgres.rows import ANCHOR_COLUMNS, anchor_row
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.merkle import bucket_of
from carlien_lien_registry.service.ports import Agreement, AnchorState

# The one place that hashes a bucket outside domain.merkle: a million buckets are hashed where they are stored.
_BUCKETS: Final = """
    SELECT bucket, sha256('\\x00'::bytea || string_agg(entry, ''::bytea ORDER BY entry)) AS node FROM tree_entries
    WHERE {which} block_number <= $1 AND (superseded_block IS NULL OR superseded_block > $1) GROUP BY bucket"""
_CHANGED: Final = "SELECT DISTINCT unnest(buckets) AS bucket FROM tree_changes WHERE block_number > $1 AND block_number <= $2"
_PREFETCH: Final = 20_000
# Posted roots that are looked at for agreement: of these many newest blocks.
_LOOKED_AT: Final = 1_000
_STATE: Final = f"""
    SELECT c.block_number, coalesce((SELECT max(block_number) FROM tree_changes), -1) AS changed, a.msp_id, a.posted, a.known
    FROM ledger_checkpoint c LEFT JOIN LATERAL (
        SELECT msp_id, max(block_number) AS posted, max(block_number) FILTER (WHERE block_number <= c.block_number) AS known
        FROM (SELECT msp_id, block_number FROM anchors ORDER BY block_number DESC LIMIT {_LOOKED_AT}) newest
        GROUP BY msp_id
    ) a ON true"""  # noqa: S608 - a constant
_AGREEMENTS: Final = f"""
    SELECT block_number, root, array_agg(msp_id ORDER BY msp_id) AS msp_ids FROM (
        SELECT * FROM anchors WHERE block_number <= (SELECT block_number FROM ledger_checkpoint)
        ORDER BY block_number DESC LIMIT {_LOOKED_AT}
    ) newest
    GROUP BY block_number, root HAVING array_agg(msp_id) @> $1 ORDER BY block_number DESC LIMIT $2"""  # noqa: S608 - a constant


@dataclass
class TreeChanges:
    """What a batch of blocks changes in the tree."""

    rows: list[tuple[int, bytes, int, int | None]] = field(default_factory=list)
    ended: list[tuple[int, bytes, int]] = field(default_factory=list)
    buckets: dict[int, set[int]] = field(default_factory=dict)

    def stands(self, change: Change, until: int | None, entries: Iterable[bytes]) -> None:
        """A record with these entries stands from its change until another block's change replaces it."""
        block = change.position.block_number
        if until == block:
            return
        for entry in entries:
            bucket = bucket_of(entry)
            self.rows.append((bucket, entry, block, until))
            self.buckets.setdefault(block, set()).add(bucket)
            if until is not None:
                self.buckets.setdefault(until, set()).add(bucket)

    def ends(self, before: Change, block: int) -> None:
        """A record of an earlier batch is replaced in this block."""
        for entry in entries_of(before):
            bucket = bucket_of(entry)
            self.ended.append((bucket, entry, block))
            self.buckets.setdefault(block, set()).add(bucket)


async def store(conn: Connection, changes: TreeChanges) -> None:
    """Write a batch's changes of the tree."""
    if changes.ended:
        await conn.execute(
            "UPDATE tree_entries t SET superseded_block = u.block FROM unnest($1::integer[], $2::bytea[], $3::bigint[]) "
            "u (bucket, entry, block) WHERE t.bucket = u.bucket AND t.entry = u.entry AND t.superseded_block IS NULL",
            *(list(column) for column in zip(*changes.ended, strict=True)),
        )
    if changes.rows:
        columns = ("bucket", "entry", "block_number", "superseded_block")
        await conn.copy_records_to_table("tree_entries", records=changes.rows, columns=columns)
    if changes.buckets:
        records = [(block, sorted(buckets)) for block, buckets in sorted(changes.buckets.items())]
        await conn.copy_records_to_table("tree_changes", records=records, columns=("block_number", "buckets"))


async def store_anchors(conn: Connection, changes: Iterable[Change]) -> None:
    """Write the roots that a batch's transactions posted."""
    rows = [anchor_row(change) for change in changes if change.anchor is not None]
    if rows:
        await conn.copy_records_to_table("anchors", records=rows, columns=ANCHOR_COLUMNS)


async def entries_as_of(conn: Connection, buckets: Sequence[int], block_number: int) -> Mapping[int, Sequence[bytes]]:
    """Return the entries of some buckets as of a block, in ascending order."""
    rows = await conn.fetch(
        "SELECT bucket, entry FROM tree_entries WHERE bucket = ANY($1) AND block_number <= $2 "
        "AND (superseded_block IS NULL OR superseded_block > $2) ORDER BY bucket, entry",
        list(buckets),
        block_number,
    )
    found: dict[int, list[bytes]] = {bucket: [] for bucket in buckets}
    for row in rows:
        found[row["bucket"]].append(row["entry"])
    return found


class PostgresTree:
    """TreeStore on PostgreSQL."""

    def __init__(self, pool: Pool, required_msp_ids: Sequence[str], own_msp_id: str) -> None:
        """Take the pool, whose roots must agree, and who we are."""
        self._pool = pool
        self._required = list(required_msp_ids)
        self._own = own_msp_id

    async def changed_buckets(self, after: int, until: int) -> Mapping[int, bytes]:
        """Return the nodes as of block `until` of all buckets that changed after block `after`; an emptied one is all zeros."""
        async with self._pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            if after < 0:
                rows = [row async for row in conn.cursor(_BUCKETS.format(which=""), until, prefetch=_PREFETCH)]
                return {row["bucket"]: row["node"] for row in rows}
            buckets = [row["bucket"] for row in await conn.fetch(_CHANGED, after, until)]
            if not buckets:
                return {}
            found = await conn.fetch(_BUCKETS.format(which="bucket = ANY($2) AND"), until, buckets)
        return dict.fromkeys(buckets, bytes(32)) | {row["bucket"]: row["node"] for row in found}

    async def state(self) -> AnchorState:
        """Return where the registry and its anchors stand."""
        rows = await self._pool.fetch(_STATE)
        if not rows:
            raise LookupError("the checkpoint row is missing: the schema wasn't migrated")
        read_model, changed = rows[0]["block_number"], rows[0]["changed"]
        posted = {row["msp_id"]: row["posted"] for row in rows}
        known = [row["known"] for row in rows if row["msp_id"] in self._required and row["msp_id"] != self._own]
        silent = tuple(msp_id for msp_id in self._required if posted.get(msp_id, -1) < max(0, changed))
        agreed = await self.agreements(1)
        others = max((block for block in known if block is not None), default=-1)
        return AnchorState(read_model, changed, posted.get(self._own, -1), others, silent, agreed[0] if agreed else None)

    async def agreements(self, limit: int) -> Sequence[Agreement]:
        """Return the newest blocks on whose root all required organisations agree, newest first."""
        rows = await self._pool.fetch(_AGREEMENTS, self._required, limit)
        return [Agreement(row["block_number"], row["root"], tuple(row["msp_ids"])) for row in rows]

    async def posted(self, block_number: int) -> Mapping[int, Mapping[bytes, Sequence[str]]]:
        """Return who posted which root for a block."""
        query = "SELECT root, array_agg(msp_id) AS msp_ids FROM anchors WHERE block_number = $1 GROUP BY root"
        rows = await self._pool.fetch(query, block_number)
        return {block_number: {row["root"]: row["msp_ids"] for row in rows}}
