"""The networks as saved: two compiled TensorFlow functions, batched into few shapes so that they are compiled few times.

The first half reads what doesn't change with age and odometer, so that a car's states in a waterfall or along a loan share it, as
do cars of one description.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from carlien_valuation.training.net import NetInputs

BUCKETS = (1, 4, 16, 64, 256)
"""Rows are padded to the next of these; XLA compiles one program for each."""


class SavedNetwork:
    """A SavedModel's `tower` and `head`, compiled by XLA per bucket; larger batches run in chunks of the largest."""

    def __init__(self, directory: Path) -> None:
        loaded = tf.saved_model.load(str(directory))
        self._keep_alive = loaded  # its variables die with it
        self._tower, self._head = (tf.function(half, jit_compile=True, autograph=False) for half in (loaded.tower, loaded.head))

    def predict(self, inputs: NetInputs) -> np.ndarray:
        """Standardised quantiles (n, 3)."""
        drive = _bucketed(self._tower, inputs.free, inputs.codes)
        return _bucketed(self._head, inputs.guarded, drive if inputs.rows is None else drive[inputs.rows])


def _bucketed(function: Callable[..., Any], *columns: np.ndarray) -> np.ndarray:
    """A compiled function of rows, (n, width)."""
    rows, most = len(columns[0]), BUCKETS[-1]
    parts = []
    for start in range(0, max(rows, 1), most):
        count = min(rows - start, most)
        bucket = next(size for size in BUCKETS if size >= count)
        parts.append(np.asarray(function(*(tf.constant(_padded(values[start : start + most], bucket)) for values in columns)))[:count])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((rows - len(values), values.shape[1]), values.dtype)]) if len(values) < rows else values
