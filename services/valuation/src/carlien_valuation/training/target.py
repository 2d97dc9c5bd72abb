"""Target encodings: a category becomes the shrunken mean of what is to be explained, nested from make to exact car.

Nested shrinkage: a model's mean is drawn to its make's, an engine version's to its model's, and so on, by the number of
cars behind it (Micci-Barreca 2001). Training rows get their encoding from the other folds only.
"""

from dataclasses import dataclass

import numpy as np

SMOOTHING = 5.0
"""Cars' worth of weight the outer level keeps."""


@dataclass(frozen=True, slots=True)
class TargetEncoder:
    """One table per level, key -> (shrunken mean, count); levels are nested, outermost first."""

    tables: tuple[dict[str, tuple[float, int]], ...]
    centre: float

    def encode(self, keys: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Means (n, levels) and counts (n, levels) for keys[level][row]; an unknown key takes its outer level's mean and count 0."""
        n = len(keys[0])
        means, counts = np.empty((n, len(self.tables)), np.float32), np.zeros((n, len(self.tables)), np.float32)
        outer = np.full(n, self.centre)
        for level, table in enumerate(self.tables):
            found = [table.get(key) for key in keys[level]]
            means[:, level] = [outer[row] if hit is None else hit[0] for row, hit in enumerate(found)]
            counts[:, level] = [0 if hit is None else hit[1] for hit in found]
            outer = means[:, level].astype(float)
        return means, counts


def fit_target(keys: list[list[str]], target: np.ndarray, fold: np.ndarray) -> tuple[TargetEncoder, np.ndarray, np.ndarray]:
    """Fit on all rows, and the out-of-fold means and counts of these same rows, each (n, levels)."""
    levels = len(keys)
    codes: list[np.ndarray] = []
    parents: list[np.ndarray] = []
    names: list[np.ndarray] = []
    for level in range(levels):
        distinct, code = np.unique(np.array(keys[level], object), return_inverse=True)
        first = np.unique(code, return_index=True)[1]
        parents.append(codes[-1][first] if level else np.zeros(len(distinct), int))
        codes.append(code)
        names.append(distinct)

    def fit(rows: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], float]:
        centre = float(target[rows].mean())
        means, counts = [], []
        outer = np.array([centre])
        for level in range(levels):
            size = len(names[level])
            count = np.bincount(codes[level][rows], minlength=size)
            total = np.bincount(codes[level][rows], target[rows], minlength=size)
            outer = (total + SMOOTHING * outer[parents[level]]) / (count + SMOOTHING)
            means.append(outer)
            counts.append(count)
        return means, counts, centre

    everything = np.ones(len(target), bool)
    means, counts, centre = fit(everything)
    encoder = TargetEncoder(
        tuple(
            {str(name): (float(mean), int(count)) for name, mean, count in zip(names[level], means[level], counts[level], strict=True)}
            for level in range(levels)
        ),
        centre,
    )  # fmt: skip
    out, seen = np.empty((len(target), levels), np.float32), np.empty((len(target), levels), np.float32)
    for part in np.unique(fold):
        held = fold == part
        fold_means, fold_counts, _ = fit(~held)
        for level in range(levels):
            out[held, level] = fold_means[level][codes[level][held]]
            seen[held, level] = fold_counts[level][codes[level][held]]
    return encoder, out, seen
