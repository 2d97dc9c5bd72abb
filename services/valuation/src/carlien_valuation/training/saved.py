"""The networks as saved: a compiled TensorFlow function, batched into few shapes so that it is compiled few times."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from carlien_valuation.training.net import NetInputs, in_chunks

BUCKETS = (1, 4, 16, 64, 256, 1024)
"""Rows are padded to the next of these; XLA compiles one program for each."""


class SavedNetwork:
    """A SavedModel's `forward`, compiled by XLA per bucket; larger batches run in chunks of the largest."""

    def __init__(self, directory: Path) -> None:
        loaded = tf.saved_model.load(str(directory))
        self._keep_alive = loaded  # its variables die with it
        self._forward = tf.function(loaded.forward, jit_compile=True, autograph=False)

    def predict(self, inputs: NetInputs) -> np.ndarray:
        """Standardised quantiles (n, 3)."""
        rows = len(inputs.guarded)
        if rows > BUCKETS[-1]:
            parts = [self.predict(inputs.take(np.arange(start, min(start + BUCKETS[-1], rows)))) for start in range(0, rows, BUCKETS[-1])]
            return np.concatenate(parts)
        bucket = next(size for size in BUCKETS if size >= rows)
        return in_chunks(
            self._forward, NetInputs(*(_padded(part, bucket) for part in (inputs.guarded, inputs.free, inputs.codes))), bucket
        )[:rows]

    def warm(self, inputs: NetInputs) -> None:
        """Compile every bucket; `inputs` is any one row."""
        for size in BUCKETS:
            self.predict(inputs.take(np.zeros(size, int)))


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((rows - len(values), values.shape[1]), values.dtype)]) if len(values) < rows else values
