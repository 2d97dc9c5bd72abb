"""Trees as they are served: LightGBM's own boosters, evaluated eight times faster than it does.

LightGBM walks one car down one tree after another, which is a chain of mispredicted jumps. Here every node of a tree is compared for
64 cars at once: each comparison that fails rules out the leaves of its left branch, and the first leaf that is left is the car's
(QuickScorer, Lucchese et al. 2015; across rows after Lucchese et al. 2016). Comparisons and masks are plain vector instructions, made
by Numba. The sum of leaves is LightGBM's to the last bits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import lightgbm as lgb
import numba
import numpy as np

MAX_LEAVES = 64
"""The leaves of a tree are the bits of a word: 32 or 64 of them."""

BLOCK = 64
"""Cars compared together."""

_NUMERIC, _NUMERIC_MISSING_LEFT, _CATEGORICAL = 0, 1, 2
_DE_BRUIJN = 0x03F79D71B4CB0A89
# Position of the lowest set bit: multiplying an isolated bit by a de Bruijn sequence gives each position another top six bits.
_POSITION = np.zeros(64, np.int64)
for _bit in range(64):
    _POSITION[((_DE_BRUIJN << _bit) & (2**64 - 1)) >> 58] = _bit


@dataclass(frozen=True, slots=True)
class Forest:
    """The mean of some boosters: the nodes of all trees in a row; `first` and `leaf` (trees + 1,) say where each tree's own begin."""

    feature: np.ndarray
    """int32: the column that is compared."""
    threshold: np.ndarray
    """float32: left where the value is not above it; the largest float32 that doesn't exceed LightGBM's double."""
    kind: np.ndarray
    """int32: 0 numeric; 1 numeric where missing goes left; 2 + place in `words` of a set of category codes that go left."""
    mask: np.ndarray
    """uint32 where no tree has more than 32 leaves, else uint64: the leaves that remain when a car goes right."""
    words: np.ndarray
    """uint32: sets of category codes: how many words, the words, and an empty one for all codes beyond."""
    first: np.ndarray
    leaf: np.ndarray
    values: np.ndarray
    """float64: what each leaf adds."""

    @property
    def trees(self) -> int:
        """How many there are."""
        return len(self.first) - 1

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """The boosters' mean (n,) for a float32 matrix (n, columns) in which NaN is missing and category codes are whole and >= 0."""
        if len(matrix) == 0:
            return np.zeros(0)
        blocks = blocked(matrix)
        total = np.zeros((len(blocks), blocks.shape[2]))
        _add_leaves(
            blocks, self.feature, self.threshold, self.kind, self.mask, self.every, self.words, self.first, self.leaf, self.values, total
        )  # fmt: skip
        return total.ravel()[: len(matrix)]

    @property
    def every(self) -> np.unsignedinteger[Any]:
        """All leaves."""
        every: np.unsignedinteger[Any] = self.mask.dtype.type(np.iinfo(self.mask.dtype).max)
        return every

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """As named arrays, to be saved."""
        return {f"{prefix}{field.name}": getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def of_arrays(prefix: str, arrays: dict[str, np.ndarray]) -> "Forest":
        """From what `arrays` gave; raises KeyError where one is missing."""
        return Forest(**{field.name: arrays[f"{prefix}{field.name}"] for field in fields(Forest)})


def blocked(matrix: np.ndarray) -> np.ndarray:
    """Rows of a matrix (n, columns) as float32 (blocks, columns, cars): BLOCK cars beside each other, fewer where there are fewer."""
    rows, columns = matrix.shape
    block = min(BLOCK, -(-rows // 8) * 8)
    count = -(-rows // block)
    padded = np.zeros((count * block, columns), np.float32)
    padded[:rows] = matrix
    return np.ascontiguousarray(padded.reshape(count, block, columns).transpose(0, 2, 1))


@numba.njit(error_model="numpy")
def rule_out(
    begin: int,
    end: int,
    columns: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    kind: np.ndarray,
    mask: np.ndarray,
    every: np.unsignedinteger[Any],
    words: np.ndarray,
    left_over: np.ndarray,
) -> None:
    """Leave in `left_over` (cars,) what the nodes [begin, end) leave of it, for `columns` (columns, cars). The inner loops are what is
    vectorised.
    """
    cars = len(left_over)
    for node in range(begin, end):
        column, edge, remaining, what = columns[feature[node]], threshold[node], mask[node], kind[node]
        if what == _NUMERIC:
            for car in range(cars):
                left_over[car] &= every if column[car] <= edge else remaining
        elif what == _NUMERIC_MISSING_LEFT:
            for car in range(cars):
                left_over[car] &= remaining if column[car] > edge else every
        else:
            beyond = np.int32(words[what - _CATEGORICAL])
            codes = words[what - _CATEGORICAL + 1 :]
            for car in range(cars):
                code = np.int32(column[car])
                word = codes[np.uint64(min(code >> 5, beyond))]
                left_over[car] &= every if (word >> np.uint32(code & 31)) & np.uint32(1) else remaining


@numba.njit(error_model="numpy")
def add_first(left_over: np.ndarray, base: int, values: np.ndarray, sums: np.ndarray) -> None:
    """Add to `sums` (cars,) the value of each car's first leaf that is left."""
    for car in range(len(left_over)):
        leaves = np.uint64(left_over[car])
        lowest = leaves & (~leaves + np.uint64(1))
        sums[car] += values[base + _POSITION[(lowest * np.uint64(_DE_BRUIJN)) >> np.uint64(58)]]


@numba.njit(error_model="numpy")
def _add_leaves(
    blocks: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    kind: np.ndarray,
    mask: np.ndarray,
    every: np.unsignedinteger[Any],
    words: np.ndarray,
    first: np.ndarray,
    leaf: np.ndarray,
    values: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add every tree's leaf to `total` (blocks, cars) for `blocks` (blocks, columns, cars)."""
    left_over = np.empty(blocks.shape[2], mask.dtype)
    for block in range(blocks.shape[0]):
        for tree in range(len(first) - 1):
            left_over[:] = every
            rule_out(first[tree], first[tree + 1], blocks[block], feature, threshold, kind, mask, every, words, left_over)
            add_first(left_over, leaf[tree], values, total[block])


def forest_of(boosters: Sequence[lgb.Booster], skipped_columns: int = 0) -> Forest:
    """The mean of boosters, each with the trees early stopping chose, in one Forest.

    `skipped_columns`: how many columns the boosters' matrix lacks at the left of the one that `predict` will get.
    """
    parts: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(Forest)}
    nodes, leaves, words = 0, 0, 0
    for booster in boosters:
        text = booster.model_to_string(num_iteration=booster.best_iteration if booster.best_iteration > 0 else None)
        for tree in _trees(text):
            one = _flattened(tree, words, skipped_columns)
            one["first"], one["leaf"] = np.array([nodes], np.int32), np.array([leaves], np.int32)
            nodes, leaves, words = nodes + len(one["feature"]), leaves + len(one["values"]), words + len(one["words"])
            for name, values in one.items():
                parts[name].append(values)
    parts["first"].append(np.array([nodes], np.int32))
    parts["leaf"].append(np.array([leaves], np.int32))
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    largest = int(np.diff(whole["leaf"]).max(initial=0))
    return Forest(
        **whole | {"values": whole["values"] / len(boosters), "mask": whole["mask"].astype(np.uint32 if largest <= 32 else np.uint64)}
    )


def _trees(text: str) -> list[dict[str, np.ndarray]]:
    """The lists of numbers of every tree in LightGBM's text form."""
    wanted = "split_feature|threshold|decision_type|left_child|right_child|leaf_value|cat_boundaries|cat_threshold"
    return [
        {name: np.array(numbers.split(), float) for name, numbers in re.findall(rf"^({wanted})=(.*)$", block, re.MULTILINE)}
        for block in re.split(r"^Tree=\d+$", text.split("\nend of trees")[0], flags=re.MULTILINE)[1:]
    ]


def _flattened(tree: dict[str, np.ndarray], words_before: int, skipped_columns: int) -> dict[str, np.ndarray]:
    """One tree as the arrays of a Forest."""
    nothing = np.zeros(0)
    left, right = tree.get("left_child", nothing).astype(int), tree.get("right_child", nothing).astype(int)
    split, decision = tree.get("split_feature", nothing).astype(int), tree.get("decision_type", nothing).astype(int)
    bounds, sets = tree.get("cat_boundaries", nothing).astype(int), tree.get("cat_threshold", nothing).astype(np.uint32)
    order, spans = _left_to_right(left, right)
    if len(order) > MAX_LEAVES:
        raise ValueError(f"a tree of {len(order)} leaves; at most {MAX_LEAVES} can be served")
    nodes = sorted(spans, key=lambda node: (decision[node] & 1, split[node], node))
    thresholds: list[np.float32] = []
    kinds, masks, words = list[int](), list[int](), list[int]()
    for node in nodes:
        begin, end = spans[node]
        masks.append(~(((1 << (end - begin)) - 1) << begin) & (2**64 - 1))
        cut = float(tree["threshold"][node])
        if decision[node] & 1:
            chosen = sets[bounds[int(cut)] : bounds[int(cut) + 1]]
            kinds.append(_CATEGORICAL + words_before + len(words))
            words += [len(chosen), *chosen.tolist(), 0]
            thresholds.append(np.float32(0))
        else:
            # Missing goes where LightGBM learned to send it, or with zero where it saw none.
            missing_left = bool(decision[node] & 2) if (decision[node] >> 2) & 3 == 2 else cut >= 0
            kinds.append(_NUMERIC_MISSING_LEFT if missing_left else _NUMERIC)
            thresholds.append(_not_above(cut))
    return {
        "feature": split[nodes].astype(np.int32) + np.int32(skipped_columns),
        "threshold": np.array(thresholds, np.float32),
        "kind": np.array(kinds, np.int32),
        "mask": np.array(masks, np.uint64),
        "words": np.array(words, np.uint32),
        "values": tree["leaf_value"][order],
    }


def _left_to_right(left: np.ndarray, right: np.ndarray) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Leaves from left to right, and the places [begin, end) of each node's left branch among them."""
    order: list[int] = []
    spans: dict[int, tuple[int, int]] = {}
    # Children below 0 are leaves, ~child their number. A node comes back with the place its left branch began at.
    waiting: list[tuple[int, int | None]] = [(0, None)] if len(left) else [(-1, None)]
    while waiting:
        node, begin = waiting.pop()
        if node < 0:
            order.append(~node)
        elif begin is None:
            waiting += [(node, len(order)), (left[node], None)]
        else:
            spans[node] = begin, len(order)
            waiting.append((right[node], None))
    return order, spans


def _not_above(cut: float) -> np.float32:
    """The largest float32 that isn't above a double: for float32 values, not above the one is not above the other."""
    with np.errstate(over="ignore"):
        nearest = np.float32(cut)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > cut else nearest
