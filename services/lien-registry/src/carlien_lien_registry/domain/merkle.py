"""A sparse Merkle tree over the public registry, and proofs against its root.

The tree has 2^20 buckets. A record stands in the bucket of every subject it can be searched by (its car, serial key, debtor,
number): the bucket is the first 20 bits of the subject's key. A bucket's node is the hash of its entries in order, so whoever
shows the whole bucket and the 20 siblings up to the root has shown everything under that subject, or that there is nothing.
The root depends on the set of entries alone, never on the order in which they came.

Leaves and inner nodes are hashed with different prefixes (RFC 6962, section 2.1), so that none can pass for the other.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

DEPTH: Final = 20
# The node of everything that is empty, a bucket or a half of the tree.
EMPTY: Final = bytes(32)
KEY_BYTES: Final = 32
ENTRY_BYTES: Final = KEY_BYTES + 1 + 32
# The kind of a registration's entry; other kinds of records follow it.
LIEN_KIND: Final = 1
ROOT: Final = 1
_FIRST_BUCKET: Final = 1 << DEPTH

Node = Callable[[int], bytes]


def subject_key(subject: str) -> bytes:
    """The key of a subject such as `vin:LSVAA4182E2184847`."""
    return hashlib.sha256(subject.encode()).digest()


def bucket_of(key: bytes) -> int:
    """The bucket in which everything under that key stands."""
    return int.from_bytes(key[:4], "big") >> (32 - DEPTH)


def entry(key: bytes, kind: int, record: bytes) -> bytes:
    """One entry: a record of some kind under a subject."""
    return key + bytes((kind,)) + hashlib.sha256(record).digest()


def bucket_hash(entries: Sequence[bytes]) -> bytes:
    """The node of a bucket; `entries` must be in ascending order without repeats."""
    return hashlib.sha256(b"\x00" + b"".join(entries)).digest() if entries else EMPTY


def split(entries: bytes) -> list[bytes]:
    """A bucket's entries again; ValueError unless they are whole and in ascending order, the one form they may have."""
    if len(entries) % ENTRY_BYTES:
        raise ValueError("entries of the wrong length")
    parts = [entries[at : at + ENTRY_BYTES] for at in range(0, len(entries), ENTRY_BYTES)]
    if any(one >= after for one, after in pairwise(parts)):
        raise ValueError("entries out of order")
    return parts


def root_of(bucket: int, leaf: bytes, siblings: Sequence[bytes]) -> bytes:
    """The root to which a bucket's node leads with its siblings, the lowest first; ValueError unless there are 20."""
    if len(siblings) != DEPTH or any(len(one) not in (0, 32) for one in siblings):
        raise ValueError("siblings of the wrong number or length")
    place, node = _FIRST_BUCKET + bucket, leaf
    for sibling in siblings:
        other = sibling or EMPTY
        node = _inner(other, node) if place & 1 else _inner(node, other)
        place >>= 1
    return node


def changed(node: Node, buckets: Mapping[int, bytes]) -> dict[int, bytes]:
    """All nodes that differ once these buckets have these hashes, by place; `node` reads the tree as it was."""
    nodes = {_FIRST_BUCKET + bucket: leaf for bucket, leaf in buckets.items()}
    places: Iterable[int] = nodes
    while parents := {place >> 1 for place in places if place > ROOT}:
        for parent in parents:
            left, right = 2 * parent, 2 * parent + 1
            nodes[parent] = _inner(
                nodes[left] if left in nodes else node(left),
                nodes[right] if right in nodes else node(right),
            )
        places = parents
    return nodes


class Tree:
    """All nodes of one state of the tree, 64 MiB when full; what was never written costs next to nothing."""

    def __init__(self) -> None:
        """Start empty."""
        self._nodes = bytearray(2 * _FIRST_BUCKET * 32)

    @property
    def root(self) -> bytes:
        """The root."""
        return self.node(ROOT)

    def node(self, place: int) -> bytes:
        """A node by its place: the root is 1, the children of n are 2n and 2n + 1."""
        return bytes(self._nodes[place * 32 : place * 32 + 32])

    def write(self, nodes: Mapping[int, bytes]) -> None:
        """Put in what `changed` found."""
        for place, node in nodes.items():
            self._nodes[place * 32 : place * 32 + 32] = node

    def leaf(self, bucket: int) -> bytes:
        """The node of a bucket."""
        return self.node(_FIRST_BUCKET + bucket)

    def siblings(self, bucket: int) -> tuple[bytes, ...]:
        """The siblings on the way from a bucket to the root, the lowest first, empty where that side is empty."""
        place = _FIRST_BUCKET + bucket
        found = []
        while place > ROOT:
            sibling = self.node(place ^ 1)
            found.append(b"" if sibling == EMPTY else sibling)
            place >>= 1
        return tuple(found)


def _inner(left: bytes, right: bytes) -> bytes:
    return EMPTY if left == EMPTY and right == EMPTY else hashlib.sha256(b"\x01" + left + right).digest()
