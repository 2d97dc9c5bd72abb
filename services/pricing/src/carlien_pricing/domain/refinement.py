"""What an additive scorecard can't say, on top of it: boosted trees over several attributes at once, taken apart by attribute.

The trees keep the directions that attributes have. Their sum is exact: on the way down a tree each split moves the value from the
node's to the child's, and that difference belongs to the attribute that was asked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_LEAF = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes by number, the root first. `attribute` -1: a leaf. A value up to the threshold goes left; a missing one as stated."""

    attribute: tuple[int, ...]
    threshold: tuple[float, ...]
    missing_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    """Log-odds of the node; an inner one's is the mean of what it was fitted on."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """Trees over named attributes; `scale` is how far they are believed (found out of sample)."""

    names: tuple[str, ...]
    trees: tuple[Tree, ...]
    scale: float
    turning: tuple[str, ...] = ()
    """Attributes without a direction: nobody declared one, and beside the others their effect turns."""

    def contributions(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Log-odds by attribute; the empty name holds what all share."""
        found = dict.fromkeys(self.names, 0.0)
        common = 0.0
        cells = [math.nan if (cell := values.get(name)) is None else cell for name in self.names]
        for tree in self.trees:
            node = 0
            common += tree.value[0]
            while (asked := tree.attribute[node]) != _LEAF:
                cell = cells[asked]
                goes_left = tree.missing_left[node] if math.isnan(cell) else cell <= tree.threshold[node]
                child = tree.left[node] if goes_left else tree.right[node]
                found[self.names[asked]] += tree.value[child] - tree.value[node]
                node = child
        return {"": self.scale * common, **{name: self.scale * value for name, value in found.items()}}
