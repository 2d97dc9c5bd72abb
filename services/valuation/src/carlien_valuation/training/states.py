"""Trees for cars in several states: what the free columns rule out is worked out once per description, and shared.

Of the nodes of a tree a tenth look at age and odometer. A car's states in a waterfall or along a loan, and cars of one description, differ
in nothing else; the leaves that the other nodes leave are the same for all of them.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from carlien_valuation.training.forest import Forest, add_first, blocked, rule_out

CHUNK = 1024
"""States computed at a time: a description takes a word per tree."""


@dataclass(frozen=True, slots=True)
class StateForest:
    """A forest whose first columns, fewer than `split` knows nodes for, are those that states differ in."""

    forest: Forest
    split: np.ndarray
    """(trees,): where in each tree the nodes of the free columns begin; those of the guarded ones come first."""

    @staticmethod
    def of(forest: Forest, guarded: int) -> "StateForest":
        """`guarded`: how many columns, the first ones, states differ in. All are numeric: `forest_of` puts such nodes first, by column."""
        before = np.concatenate([[0], np.cumsum(forest.feature < guarded)])
        split = forest.first[:-1] + before[forest.first[1:]] - before[forest.first[:-1]]
        return StateForest(forest, split.astype(np.int32))

    def predict(self, matrix: np.ndarray, guarded: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """The forest's answer (n,) for states with columns `guarded` (n, g) of the descriptions `rows` (n,), rows of `matrix`; None: each
        its own.
        """
        every = np.arange(len(guarded)) if rows is None else rows
        parts = [self._chunk(matrix, guarded[start : start + CHUNK], every[start : start + CHUNK]) for start in range(0, len(every), CHUNK)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)

    def _chunk(self, matrix: np.ndarray, guarded: np.ndarray, rows: np.ndarray) -> np.ndarray:
        used, own = np.unique(rows, return_inverse=True)
        forest = self.forest
        nodes = forest.feature, forest.threshold, forest.kind, forest.mask, forest.every, forest.words
        descriptions, states = blocked(matrix[used]), blocked(guarded)
        remaining = np.empty((forest.trees, len(descriptions) * descriptions.shape[2]), forest.mask.dtype)
        _leave(descriptions, *nodes, self.split, forest.first, remaining)
        places = np.zeros((len(states), states.shape[2]), np.int64)
        places.ravel()[: len(rows)] = own
        total = np.zeros(places.shape)
        _add_leaves_of_states(states, places, *nodes, forest.first, self.split, remaining, forest.leaf, forest.values, total)
        return total.ravel()[: len(rows)]


@numba.njit(error_model="numpy")
def _leave(
    blocks: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    kind: np.ndarray,
    mask: np.ndarray,
    every: np.unsignedinteger[Any],
    words: np.ndarray,
    split: np.ndarray,
    first: np.ndarray,
    remaining: np.ndarray,
) -> None:
    """Fill `remaining` (trees, descriptions) with the leaves that the nodes of free columns leave."""
    cars = blocks.shape[2]
    for block in range(blocks.shape[0]):
        for tree in range(len(split)):
            left_over = remaining[tree, block * cars : (block + 1) * cars]
            left_over[:] = every
            rule_out(split[tree], first[tree + 1], blocks[block], feature, threshold, kind, mask, every, words, left_over)


@numba.njit(error_model="numpy")
def _add_leaves_of_states(
    blocks: np.ndarray,
    places: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    kind: np.ndarray,
    mask: np.ndarray,
    every: np.unsignedinteger[Any],
    words: np.ndarray,
    first: np.ndarray,
    split: np.ndarray,
    remaining: np.ndarray,
    leaf: np.ndarray,
    values: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add every tree's leaf to `total` (blocks, states); `places` (blocks, states): the description of each."""
    states = blocks.shape[2]
    left_over = np.empty(states, mask.dtype)
    for block in range(blocks.shape[0]):
        for tree in range(len(split)):
            of_tree = remaining[tree]
            for state in range(states):
                left_over[state] = of_tree[places[block, state]]
            rule_out(first[tree], split[tree], blocks[block], feature, threshold, kind, mask, every, words, left_over)
            add_first(left_over, leaf[tree], values, total[block])
