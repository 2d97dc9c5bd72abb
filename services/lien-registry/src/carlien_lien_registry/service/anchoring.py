"""Anchors: the root of the registry's Merkle tree, posted on the ledger, and the tree as of the newest block all agree on.

Organisations look at different blocks at different moments, and roots agree only for the same block. So whoever finds that
another one posted a root for a newer block than its own answers for that block; only who is ahead proposes a new one. At most one
root a second, and only after blocks that changed the registry: a posted root alone calls for no other.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.logs import get_logger
from carlien_lien_registry import metrics
from carlien_lien_registry.domain import merkle
from carlien_lien_registry.service.following import Progress
from carlien_lien_registry.service.ports import Agreement, AnchorLedger, AnchorState, OutcomeUnknown, TreeStore

log = get_logger(__name__)

_POST_SECONDS: Final = 1.0
_WAKE_SECONDS: Final = 1.0
# A posted root that hasn't shown up after this is taken for lost.
_LOST_SECONDS: Final = 10.0
# So long without a new agreement although there are changes: some organisation doesn't post, waiting for it is in vain.
_STALLED_SECONDS: Final = 5.0
# So long, and somebody should look after it.
_MISSED_SECONDS: Final = 60.0
# From so many changed buckets on the work is done in a thread, since it would hold up calls.
_MANY: Final = 2_000


@dataclass(frozen=True, slots=True)
class Path:
    """Where a subject stands in the tree."""

    subject: str
    bucket: int
    leaf: bytes
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Anchored:
    """A moment's agreement, and the ways of some subjects to its root."""

    agreement: Agreement
    paths: tuple[Path, ...]


@dataclass
class _Tip:
    """The tree at a newer block than the agreed one, as what differs from that one."""

    block_number: int
    nodes: dict[int, bytes]


class Anchoring:
    """Keeps the tree, posts roots, follows agreement."""

    def __init__(self, store: TreeStore, ledger: AnchorLedger, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the parts."""
        self._store = store
        self._ledger = ledger
        self._progress = progress
        self._clock = clock
        self._tree = merkle.Tree()
        self._agreement: Agreement | None = None
        self._tip: _Tip | None = None
        self._refused: Agreement | None = None
        self._changed = -1
        self._looked_at = -1
        self._unsettled_since: float | None = None
        self._missed: tuple[str, ...] = ()
        self._sent = (-1, float("-inf"))
        self._moved = asyncio.Condition()

    def prove(self, subjects: Iterable[str]) -> Anchored | None:
        """Return the ways of these subjects to the newest root all agree on; None where there is none yet."""
        if self._agreement is None:
            return None
        paths = []
        for subject in subjects:
            bucket = merkle.bucket_of(merkle.subject_key(subject))
            paths.append(Path(subject, bucket, self._tree.leaf(bucket), self._tree.siblings(bucket)))
        return Anchored(self._agreement, tuple(paths))

    async def covered(self, block_number: int, timeout: float) -> bool:
        """Wait until the agreed root takes that block into account; False where it won't within the time."""
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self._stalled() or self._covers(block_number))
        except TimeoutError:
            return False
        return self._covers(block_number)

    async def run(self, is_transient: Callable[[BaseException], bool]) -> None:
        """Keep at it for good. A database or ledger that is away is waited for."""
        while True:
            seen = self._progress.block_number
            try:
                await self.step()
            except Exception as error:
                if not isinstance(error, OutcomeUnknown | DomainError) and not is_transient(error):
                    raise
                log.warning("anchor_failed", error=str(error))
            await asyncio.sleep(0.1)
            await self._progress.reached(seen + 1, _WAKE_SECONDS)

    async def step(self) -> None:
        """Look once: take over a new agreement, post a root where one is due."""
        state = await self._store.state()
        await self._settle(state.agreed)
        await self._look(state)
        block = self._due(state)
        if block is None:
            return
        root = await self._root(block)
        self._sent = (block, self._clock())
        try:
            await self._ledger.post(block, root)
        except DomainError as error:
            # Another replica of ours has posted it.
            if error.kind is not ErrorKind.DUPLICATE:
                raise
        metrics.ANCHORS_POSTED.inc()

    def _due(self, state: AnchorState) -> int | None:
        sent, sent_at = self._sent
        since_sent = self._clock() - sent_at
        if since_sent < _POST_SECONDS or self._progress.behind_seconds() > _STALLED_SECONDS:
            return None
        own = max(state.own, sent) if since_sent < _LOST_SECONDS else state.own
        if max(state.changed, state.others) < 0:
            # An empty registry is anchored, too: "nothing is registered" is worth proving.
            return 0 if own < 0 else None
        block = state.others if state.others > own else state.changed
        return block if block > own and block >= self._base_block else None

    async def _settle(self, agreed: Agreement | None) -> None:
        if agreed is None or agreed.block_number <= self._base_block:
            if agreed is not None and agreed.block_number == self._base_block:
                # More organisations may have posted the same root since.
                self._agreement = agreed
            return
        if self._tip is not None and self._tip.block_number == agreed.block_number:
            # What we posted ourselves, a moment ago.
            nodes = self._tip.nodes
        else:
            nodes = await _changed(self._tree.node, await self._store.changed_buckets(self._base_block, agreed.block_number))
        if nodes.get(merkle.ROOT, self._tree.root) != agreed.root:
            if agreed != self._refused:
                self._refused = agreed
                metrics.ANCHORS_REFUSED.inc()
                log.error(
                    "anchor_differs",
                    block_number=agreed.block_number,
                    hint="this read model isn't what the organisations agreed on: run carlien-lien audit, then rebuild",
                )
            return
        if len(nodes) > _MANY and self._agreement is None:
            await asyncio.to_thread(self._tree.write, nodes)
        else:
            self._tree.write(nodes)
        self._agreement, self._unsettled_since = agreed, None
        metrics.ANCHORED_BLOCK.set(agreed.block_number)
        if self._tip is not None:
            if self._tip.block_number <= agreed.block_number:
                self._tip = None
            else:
                self._tip.nodes = {place: node for place, node in self._tip.nodes.items() if self._tree.node(place) != node}

    async def _look(self, state: AnchorState) -> None:
        self._changed, self._looked_at = state.changed, state.read_model
        if self._agreement is not None and self._changed <= self._base_block:
            self._unsettled_since, self._missed = None, ()
        elif self._unsettled_since is None:
            self._unsettled_since = self._clock()
        elif self._clock() - self._unsettled_since > _MISSED_SECONDS and state.silent != self._missed:
            self._missed = state.silent
            log.warning(
                "anchors_missing",
                msp_ids=list(state.silent),
                agreed_block=self._base_block,
                hint="certificates carry no proof of what came after agreed_block (-1: none at all) until each of these organisations "
                "posts roots; CARLIEN_ANCHOR_MSP_IDS names the organisations that must (all members of the channel where it is unset)",
            )
        async with self._moved:
            self._moved.notify_all()

    async def _root(self, block: int) -> bytes:
        tip = self._tip if self._tip is not None and self._tip.block_number <= block else _Tip(self._base_block, {})
        under, tree = tip.nodes, self._tree
        buckets = await self._store.changed_buckets(tip.block_number, block)
        nodes = await _changed(lambda place: under[place] if place in under else tree.node(place), buckets)
        self._tip = _Tip(block, {**under, **nodes})
        return self._tip.nodes.get(merkle.ROOT, tree.root)

    @property
    def _base_block(self) -> int:
        return -1 if self._agreement is None else self._agreement.block_number

    def _covers(self, block_number: int) -> bool:
        # Where nothing changed between the agreed block and that one, the agreed root is that one's, too.
        return self._agreement is not None and self._looked_at >= block_number and self._base_block >= min(block_number, self._changed)

    def _stalled(self) -> bool:
        return self._unsettled_since is not None and self._clock() - self._unsettled_since > _STALLED_SECONDS


async def _changed(node: merkle.Node, buckets: Mapping[int, bytes]) -> dict[int, bytes]:
    if len(buckets) > _MANY:
        return await asyncio.to_thread(merkle.changed, node, buckets)
    return merkle.changed(node, buckets)
