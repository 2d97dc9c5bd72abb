"""The entity-embedding network: P10, P50 and P90 of log price, non-increasing in every guarded input by construction.

Categories become embeddings (Guo & Berkhahn 2016); together with the free inputs they drive an ordinary network whose output
enters every layer of a second one without sign. The guarded inputs (age, odometer, condition, accident) enter that second
network only, negated and placed between training quantiles, along weights that are kept non-negative by taking absolute
values; a mix of convex, concave and saturating activations keeps it a universal approximator of monotone functions
(Runje & Shankaranarayana 2023). Trained with the pinball loss of the three quantiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

QUANTILES = (0.1, 0.5, 0.9)
LOSS_WEIGHTS = (0.3, 2.0, 0.3)
WIDTH, HIDDEN = 128, 96
DRIVE = 2 * HIDDEN + 3
BATCH = 256
UNKNOWN_SHARE = 0.02
"""Share of categories hidden while training, so that the code for unknown ones is learned too."""


@dataclass(frozen=True, slots=True)
class NetInputs:
    """float32 guarded (n, m) piecewise-linear places of the negated guarded columns, free (n, f); int32 codes (n, c)."""

    guarded: np.ndarray
    free: np.ndarray
    codes: np.ndarray
    rows: np.ndarray | None = None
    """(n,): which row of free and codes, then fewer than n, each row of guarded belongs to; None: its own."""

    def take(self, rows: np.ndarray) -> "NetInputs":
        """The inputs of some row numbers."""
        own = rows if self.rows is None else self.rows[rows]
        return NetInputs(self.guarded[rows], self.free[own], self.codes[own])

    def __len__(self) -> int:
        return len(self.guarded)


def guarded_knots(guarded: np.ndarray) -> list[np.ndarray]:
    """Training quantiles of each negated guarded column, 16 to 24 intervals."""
    return [
        np.unique(np.quantile(-column, np.linspace(0, 1, 25 if index else 17))).astype(np.float32)
        for index, column in enumerate(guarded.astype(np.float64).T)
    ]


def place_guarded(guarded: np.ndarray, knots: list[np.ndarray]) -> np.ndarray:
    """Places between knots, each non-increasing in its guarded column; beyond the last knot the value stays. (n, m)."""
    places = []
    for column, edges in zip(-guarded.T, knots, strict=True):
        if len(edges) < 2:
            places.append(np.zeros((len(column), 1), np.float32))
            continue
        places.append(np.clip((column[:, None] - edges[:-1]) / (edges[1:] - edges[:-1]), 0, 1).astype(np.float32))
    return np.concatenate(places, axis=1)


class MonotoneNet(tf.Module):  # type: ignore[misc]
    """See the module's text. Output (n, 3): standardised log-price quantiles, not yet sorted."""

    def __init__(self, sizes: list[int], free: int, guarded: int, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)

        def variable(values: np.ndarray) -> Any:
            return tf.Variable(values.astype(np.float32))

        def dense(inputs: int, outputs: int, gain: float = 1.0) -> Any:
            return variable(random.normal(0, gain * np.sqrt(2 / max(inputs, 1)), (inputs, outputs)))

        def positive(inputs: int, outputs: int, scale: float) -> Any:
            return variable(np.abs(random.normal(0, scale, (inputs, outputs))))

        self.embeddings = [variable(random.normal(0, 0.05, (size, min(16, max(2, int(1.6 * size**0.4)))))) for size in sizes]
        inputs = free + sum(int(table.shape[1]) for table in self.embeddings)
        self.w1, self.b1 = dense(inputs, WIDTH), variable(np.zeros(WIDTH))
        self.w2, self.b2 = dense(WIDTH, WIDTH), variable(np.zeros(WIDTH))
        self.m1, self.z1, self.c1 = positive(guarded, HIDDEN, 1 / np.sqrt(guarded)), dense(WIDTH, HIDDEN, 0.7), variable(np.zeros(HIDDEN))
        self.m2, self.z2, self.c2 = positive(HIDDEN, HIDDEN, 0.5 / np.sqrt(HIDDEN)), dense(WIDTH, HIDDEN, 0.5), variable(np.zeros(HIDDEN))
        self.m3, self.z3 = positive(HIDDEN, 3, 0.3 / np.sqrt(HIDDEN)), dense(WIDTH, 3, 0.2)
        self.skip, self.c3 = positive(guarded, 3, 0.3 / np.sqrt(guarded)), variable(np.array([-0.1, 0.0, 0.1]))

    def __call__(self, guarded: Any, free: Any, codes: Any) -> Any:
        """Quantiles (n, 3) from NetInputs' three tensors."""
        return self.head(guarded, self.tower(free, codes))

    def tower(self, free: Any, codes: Any) -> Any:
        """What the free inputs drive the monotone layers with, (n, DRIVE): the same for a car at any age and odometer."""
        looked_up = [tf.gather(table, codes[:, index]) for index, table in enumerate(self.embeddings)]
        features = tf.concat([*looked_up, free], axis=1)
        hidden = tf.nn.silu(features @ self.w1 + self.b1)
        hidden += tf.nn.silu(hidden @ self.w2 + self.b2)
        return tf.concat([hidden @ self.z1 + self.c1, hidden @ self.z2 + self.c2, hidden @ self.z3 + self.c3], axis=1)

    def head(self, guarded: Any, drive: Any) -> Any:
        """Quantiles (n, 3) from the guarded inputs and what drives the layers they pass."""
        to_first, to_second, to_last = tf.split(drive, (HIDDEN, HIDDEN, 3), axis=1)
        first = _mixed(guarded @ tf.abs(self.m1) + to_first)
        second = _mixed(first @ tf.abs(self.m2) + to_second)
        return second @ tf.abs(self.m3) + guarded @ tf.abs(self.skip) + to_last


def _mixed(values: Any) -> Any:
    """A third each of a convex, a concave and a saturating non-decreasing activation."""
    third = HIDDEN // 3
    return tf.concat([tf.nn.elu(values[:, :third]), -tf.nn.elu(-values[:, third : 2 * third]), tf.tanh(values[:, 2 * third :])], axis=1)


def epochs_for(rows: int) -> int:
    """Passes over the data: small sets need more of them to see as many steps."""
    return int(np.clip(2_000_000 / max(rows, 1), 15, 60))


class Trainer:
    """Trains networks on subsets of one data set. All share one compiled step: compiling costs as much as some epochs.

    inputs (n rows); target (n,) standardised log price; sizes of the embeddings.
    """

    def __init__(self, inputs: NetInputs, target: np.ndarray, sizes: list[int], rate: float = 2e-3) -> None:
        self._sizes, self._rate = sizes, rate
        self._widths = inputs.free.shape[1], inputs.guarded.shape[1]
        self._category_count = inputs.codes.shape[1]
        self._net = MonotoneNet(sizes, *self._widths, seed=0)
        self._variables = list(self._net.trainable_variables)
        self._optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=1e-2)
        self._optimizer.build(self._variables)
        self._step = self._compiled(inputs, target)

    def _compiled(self, inputs: NetInputs, target: np.ndarray) -> Callable[..., None]:
        guarded, free, codes, truth = (
            tf.constant(values) for values in (inputs.guarded, inputs.free, inputs.codes, target.astype(np.float32))
        )
        quantiles, weights = tf.constant(QUANTILES), tf.constant(LOSS_WEIGHTS)

        @tf.function(jit_compile=True, reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
        def step(chosen: Any, seen: Any, rate: Any) -> None:
            with tf.GradientTape() as tape:
                known = tf.gather(codes, chosen) * seen
                error = tf.gather(truth, chosen)[:, None] - self._net(tf.gather(guarded, chosen), tf.gather(free, chosen), known)
                loss = tf.reduce_mean(tf.maximum(quantiles * error, (quantiles - 1) * error) * weights)
            gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self._variables)]
            clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
            self._optimizer.learning_rate.assign(rate)
            self._optimizer.apply_gradients(zip(clipped, self._variables, strict=True))

        return step  # type: ignore[no-any-return]

    def fit(self, rows: np.ndarray, seed: int, epochs: int) -> MonotoneNet:
        """One network from its own random start, on the given row numbers; AdamW with a one-cycle cosine rate."""
        fresh = MonotoneNet(self._sizes, *self._widths, seed)
        for variable, start in zip(self._variables, fresh.trainable_variables, strict=True):
            variable.assign(start)
        for state in self._optimizer.variables:
            state.assign(tf.zeros_like(state))
        batch = min(BATCH, len(rows))
        steps = len(rows) // batch
        random = np.random.default_rng(seed)
        done, total = 0, max(epochs * steps, 1)
        for _ in range(epochs):
            order = rows[random.permutation(len(rows))].astype(np.int32)
            seen = (random.random((len(rows), self._category_count)) >= UNKNOWN_SHARE).astype(np.int32)
            for start in range(0, steps * batch, batch):
                rate = self._rate * min(1.0, (done + 1) / (steps + 1)) * (0.5 * (1 + np.cos(np.pi * done / total)) + 1e-3)
                self._step(
                    tf.constant(order[start : start + batch]), tf.constant(seen[start : start + batch]), tf.constant(rate, tf.float32)
                )
                done += 1
        for end, variable in zip(fresh.trainable_variables, self._variables, strict=True):
            end.assign(variable)
        return fresh


class Network(Protocol):
    """What a stack needs of trained networks."""

    def predict(self, inputs: NetInputs) -> np.ndarray:
        """Standardised quantiles (n, 3), non-decreasing along the second axis."""
        ...


def predict_net(net: MonotoneNet, inputs: NetInputs) -> np.ndarray:
    """Quantiles of one network; see Network."""
    return Bag([net]).predict(inputs)


class Bag(tf.Module):  # type: ignore[misc]
    """The mean of several networks' sorted quantiles (sorting and averaging keep each quantile monotone), in two compiled halves."""

    def __init__(self, nets: list[MonotoneNet], chunk: int = 8192) -> None:
        super().__init__()
        self.nets = nets
        self._chunk = chunk
        first = nets[0]
        guarded, categories = int(first.skip.shape[0]), len(first.embeddings)
        free = int(first.w1.shape[0]) - sum(int(table.shape[1]) for table in first.embeddings)
        self.tower = tf.function(
            lambda free, codes: tf.concat([one.tower(free, codes) for one in self.nets], axis=1),
            input_signature=[tf.TensorSpec((None, free), tf.float32), tf.TensorSpec((None, categories), tf.int32)],
            autograph=False,
        )
        self.head = tf.function(
            self._mean_head,
            input_signature=[tf.TensorSpec((None, guarded), tf.float32), tf.TensorSpec((None, DRIVE * len(nets)), tf.float32)],
            autograph=False,
        )

    def _mean_head(self, guarded: Any, drive: Any) -> Any:
        parts = tf.split(drive, len(self.nets), axis=1)
        return tf.add_n([tf.sort(one.head(guarded, part), axis=1) for one, part in zip(self.nets, parts, strict=True)]) / len(self.nets)

    def predict(self, inputs: NetInputs) -> np.ndarray:
        """See Network."""
        parts = [
            np.asarray(self.head(part.guarded, self.tower(part.free, part.codes)))
            for start in range(0, len(inputs), self._chunk)
            for part in (inputs.take(np.arange(start, min(start + self._chunk, len(inputs)))),)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)

    def save(self, directory: str) -> None:
        """Write a SavedModel with the functions `tower` and `head`."""
        tf.saved_model.save(self, directory, signatures={"tower": self.tower, "head": self.head})
