"""The networks as they are served: TensorFlow's weights, read from the SavedModel and multiplied by numpy.

The answers are those of the SavedModel's compiled functions to the last bits of a float32. Calling those costs a millisecond before
anything is computed, and most batches of a server hold a few cars; measured, numpy takes 0.14 ms for one car instead of 1.0 ms and two
thirds of the processor time for 256.
The first half reads what doesn't change with age and odometer, so that a car's states in a waterfall or along a loan share it, as
do cars of one description.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from carlien_valuation.training.net import HIDDEN, NetInputs

CHUNK = 4096
"""Rows computed at a time."""

_THIRD = HIDDEN // 3


class SavedNetwork:
    """A SavedModel's networks; see `net.MonotoneNet` for what is computed."""

    def __init__(self, directory: Path) -> None:
        self._nets = [_Weights(net) for net in tf.saved_model.load(str(directory)).nets]

    def predict(self, inputs: NetInputs) -> np.ndarray:
        """Standardised quantiles (n, 3)."""
        with np.errstate(over="ignore"):  # exp(-x) of a far outlier is infinite, and what is divided by it is rightly 0
            parts = [self._chunk(inputs, slice(start, start + CHUNK)) for start in range(0, len(inputs), CHUNK)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)

    def _chunk(self, inputs: NetInputs, chunk: slice) -> np.ndarray:
        if inputs.rows is None:
            free, codes, rows = inputs.free[chunk], inputs.codes[chunk], None
        else:
            used, rows = np.unique(inputs.rows[chunk], return_inverse=True)
            free, codes = inputs.free[used], inputs.codes[used]
        guarded = inputs.guarded[chunk]
        quantiles = np.zeros((len(guarded), 3), np.float32)
        for net in self._nets:
            drive = net.tower(free, codes)
            quantiles += np.sort(net.head(guarded, drive if rows is None else drive[rows]), axis=1)
        result: np.ndarray = quantiles / np.float32(len(self._nets))
        return result


class _Weights:
    """One network's arrays, those that meet the same input side by side."""

    def __init__(self, net: Any) -> None:
        self._embeddings = [table.numpy() for table in net.embeddings]
        self._w1, self._b1, self._w2, self._b2 = (one.numpy() for one in (net.w1, net.b1, net.w2, net.b2))
        self._drive = np.concatenate([net.z1.numpy(), net.z2.numpy(), net.z3.numpy()], axis=1)
        self._shift = np.concatenate([net.c1.numpy(), net.c2.numpy(), net.c3.numpy()])
        self._guarded = np.abs(np.concatenate([net.m1.numpy(), net.skip.numpy()], axis=1))
        self._m2, self._m3 = np.abs(net.m2.numpy()), np.abs(net.m3.numpy())

    def tower(self, free: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """See `MonotoneNet.tower`, (n, DRIVE)."""
        looked_up = [table[codes[:, index]] for index, table in enumerate(self._embeddings)]
        hidden = _silu(np.concatenate([*looked_up, free], axis=1) @ self._w1 + self._b1)
        hidden += _silu(hidden @ self._w2 + self._b2)
        result: np.ndarray = hidden @ self._drive + self._shift
        return result

    def head(self, guarded: np.ndarray, drive: np.ndarray) -> np.ndarray:
        """See `MonotoneNet.head`, (n, 3)."""
        placed = guarded @ self._guarded
        first = _mixed(placed[:, :HIDDEN] + drive[:, :HIDDEN])
        second = _mixed(first @ self._m2 + drive[:, HIDDEN : 2 * HIDDEN])
        result: np.ndarray = second @ self._m3 + placed[:, HIDDEN:] + drive[:, 2 * HIDDEN :]
        return result


def _silu(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = values / (1 + np.exp(-values))
    return result


def _mixed(values: np.ndarray) -> np.ndarray:
    """See `net._mixed`; in place."""
    convex, concave, saturating = values[:, :_THIRD], values[:, _THIRD : 2 * _THIRD], values[:, 2 * _THIRD :]
    np.maximum(convex, np.expm1(np.minimum(convex, 0)), out=convex)
    np.minimum(concave, -np.expm1(-np.maximum(concave, 0)), out=concave)
    np.tanh(saturating, out=saturating)
    return values
