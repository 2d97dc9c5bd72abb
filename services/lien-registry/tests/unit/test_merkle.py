"""The tree against its own definition computed the long way, and proofs that can't be forged by what a forger can do."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_lien_registry.domain.merkle import DEPTH, EMPTY, Tree, bucket_hash, bucket_of, changed, entry, root_of, split, subject_key

_STEPS = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40)


def _entry(number: int) -> bytes:
    return entry(subject_key(f"vin:{number}"), 1, str(number).encode())


def _root_by_definition(entries: Sequence[bytes], depth: int = 0) -> bytes:
    """The root as the module's docstring defines it, by recursion over halves."""
    if not entries:
        return EMPTY
    if depth == DEPTH:
        return hashlib.sha256(b"\x00" + b"".join(sorted(entries))).digest()
    halves: tuple[list[bytes], list[bytes]] = ([], [])
    for one in entries:
        halves[bucket_of(one) >> (DEPTH - 1 - depth) & 1].append(one)
    left, right = (_root_by_definition(half, depth + 1) for half in halves)
    return hashlib.sha256(b"\x01" + left + right).digest()


def _built(numbers: Sequence[int]) -> tuple[Tree, dict[int, list[bytes]]]:
    buckets: dict[int, list[bytes]] = {}
    for number in sorted(set(numbers)):
        one = _entry(number)
        buckets.setdefault(bucket_of(one), []).append(one)
    for entries in buckets.values():
        entries.sort()
    tree = _TREE
    tree.write(changed(tree.node, {bucket: bucket_hash(entries) for bucket, entries in buckets.items()}))
    return tree, buckets


# One for all examples, emptied again after each: 64 MiB each would be slow.
_TREE = Tree()


def _emptied(buckets: dict[int, list[bytes]]) -> None:
    _TREE.write(changed(_TREE.node, dict.fromkeys(buckets, EMPTY)))
    assert _TREE.root == EMPTY


@settings(max_examples=30, deadline=None)
@given(_STEPS)
def test_the_root_depends_on_the_entries_alone(steps: list[tuple[int, bool]]) -> None:
    entries: dict[int, set[bytes]] = {}
    for number, present in steps:
        one = _entry(number)
        bucket = bucket_of(one)
        held = entries.setdefault(bucket, set())
        (held.add if present else held.discard)(one)
        _TREE.write(changed(_TREE.node, {bucket: bucket_hash(sorted(held))}))
    assert _TREE.root == _root_by_definition([one for held in entries.values() for one in held])
    _emptied({bucket: [] for bucket in entries})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(0, 1000))
def test_what_is_in_a_bucket_and_what_is_not_is_proven(numbers: list[int], asked: int) -> None:
    tree, buckets = _built(numbers)
    bucket = bucket_of(_entry(asked))
    entries = buckets.get(bucket, [])
    siblings = tree.siblings(bucket)
    assert root_of(bucket, bucket_hash(entries), siblings) == tree.root
    assert (_entry(asked) in entries) is (asked in numbers)
    if entries:
        assert root_of(bucket, bucket_hash(entries[1:]), siblings) != tree.root, "an entry left out"
    invented = sorted({*entries, _entry(2_000)})
    assert root_of(bucket, bucket_hash(invented), siblings) != tree.root, "an entry put in"
    assert root_of(bucket ^ 1, bucket_hash(entries), siblings) != tree.root or not entries, "another bucket's"
    _emptied(buckets)


def test_an_inner_node_can_t_pass_for_a_bucket() -> None:
    tree, buckets = _built([1, 2, 3])
    bucket = next(iter(buckets))
    with pytest.raises(ValueError, match="number or length"):
        root_of(bucket >> 1, tree.leaf(bucket), tree.siblings(bucket)[1:])
    _emptied(buckets)


@pytest.mark.parametrize("entries", [b"x", _entry(1) + _entry(1), b"".join(sorted([_entry(1), _entry(2)], reverse=True))])
def test_entries_have_one_form(entries: bytes) -> None:
    with pytest.raises(ValueError, match="entries"):
        split(entries)
