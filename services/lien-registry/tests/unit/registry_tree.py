"""The registry's tree in memory, for tests of what is built on it: a TreeStore on changes, and proofs by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carlien_lien_registry.adapters.commitments import entries_of, lien_record
from carlien_lien_registry.domain import merkle
from carlien_lien_registry.domain.certificate import Proof, SubjectProof
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Anchor, Lien
from carlien_lien_registry.service.ports import Agreement, AnchorState


@dataclass
class FakeTreeStore:
    """A TreeStore on a list of changes and posted roots; every organisation has its own view of how far the ledger is read."""

    changes: list[Change]
    anchors: list[Anchor]
    required: Sequence[str]
    own: str
    read_model: int = -1

    def buckets(self, as_of_block: int) -> dict[int, list[bytes]]:
        latest = {
            (change.lien.registration_number if change.lien else change.vin): change
            for change in self.changes
            if change.position.block_number <= as_of_block
        }
        found: dict[int, list[bytes]] = {}
        for change in latest.values():
            for entry in entries_of(change):
                found.setdefault(merkle.bucket_of(entry), []).append(entry)
        return {bucket: sorted(entries) for bucket, entries in found.items()}

    async def changed_buckets(self, after: int, until: int) -> Mapping[int, bytes]:
        before, now = self.buckets(after), self.buckets(until)
        return {
            bucket: merkle.bucket_hash(now.get(bucket, []))
            for bucket in before.keys() | now.keys()
            if before.get(bucket) != now.get(bucket)
        }

    async def state(self) -> AnchorState:
        known = [anchor for anchor in self.anchors if anchor.block_number <= self.read_model]
        changed = [change.position.block_number for change in self.changes if change.position.block_number <= self.read_model]
        newest = max(changed, default=-1)
        return AnchorState(
            self.read_model,
            newest,
            max((one.block_number for one in self.anchors if one.msp_id == self.own), default=-1),
            max((one.block_number for one in known if one.msp_id != self.own), default=-1),
            tuple(org for org in self.required if all(one.block_number < newest for one in self.anchors if one.msp_id == org)),
            self.agreement(known),
        )

    def agreement(self, anchors: Iterable[Anchor]) -> Agreement | None:
        posted: dict[tuple[int, bytes], set[str]] = {}
        for one in anchors:
            posted.setdefault((one.block_number, one.root), set()).add(one.msp_id)
        agreed = [Agreement(block, root, tuple(sorted(by))) for (block, root), by in posted.items() if by >= set(self.required)]
        return max(agreed, key=lambda one: one.block_number, default=None)


@dataclass
class HandTree:
    """Entries of registrations and the nodes above them, without 64 MiB for each example."""

    entries: dict[int, list[bytes]] = field(default_factory=dict)
    nodes: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, liens: Iterable[Lien]) -> "HandTree":
        made = cls()
        for lien in liens:
            change = Change("lien.registered", lien.vin, lien.position, lien.tx_id, lien.registered_at, lien=lien)
            for entry in entries_of(change):
                made.entries.setdefault(merkle.bucket_of(entry), []).append(entry)
        for entries in made.entries.values():
            entries.sort()
        leaves = {bucket: merkle.bucket_hash(entries) for bucket, entries in made.entries.items()}
        made.nodes = merkle.changed(lambda _: merkle.EMPTY, leaves)
        return made

    @property
    def root(self) -> bytes:
        return self.nodes.get(merkle.ROOT, merkle.EMPTY)

    def proof(self, subjects: Iterable[str], liens: Iterable[Lien], anchored_by: tuple[str, ...] = ("Org1MSP", "Org2MSP")) -> Proof:
        return Proof(self.root, anchored_by, tuple(self._subject(one) for one in subjects), tuple(lien_record(one) for one in liens))

    def _subject(self, subject: str) -> SubjectProof:
        bucket = merkle.bucket_of(merkle.subject_key(subject))
        place, siblings = (1 << merkle.DEPTH) + bucket, []
        while place > merkle.ROOT:
            siblings.append(self.nodes.get(place ^ 1, b""))
            place >>= 1
        return SubjectProof(subject, b"".join(self.entries.get(bucket, [])), tuple(siblings))
