"""A global LSTM: one network for all series, trained on every window that ends before the origin.

Inputs are the last `WINDOW` monthly changes of the series, of its model's other years and of the market (the
level is not removed, so that the network sees the market's phase), and the same static features the other methods get.
The forecast is the mean over seeds.
"""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from carlien_valuation.series.baselines import TwoWitnesses
from carlien_valuation.series.features import Pairs, feature_names, features, training_pairs
from carlien_valuation.series.forecast import Fitted
from carlien_valuation.series.learned import BeyondMarket, FellBack, enough
from carlien_valuation.series.panel import Floats, Panel

WINDOW = 12
CHANNELS = 4
MAX_WINDOWS = 40_000
"""More windows of one panel repeat each other; a seeded sample keeps a fit to seconds."""


def windows(panel: Panel, column: int) -> Floats:
    """(S, WINDOW, CHANNELS) percent: own change, whether it was seen, others of the model, market; zeros before the panel starts."""
    start = max(0, column - WINDOW)
    change = np.diff(panel.log_price[:, start : column + 1], axis=1)
    width = change.shape[1]
    seen = ~np.isnan(change)
    own = np.where(seen, change, 0.0)
    market = np.diff(panel.market_level[start : column + 1])
    out = np.zeros((panel.n_series, WINDOW, CHANNELS))
    if not width:
        return out
    total = np.zeros((int(panel.code.max()) + 1, width))
    count = np.zeros_like(total)
    np.add.at(total, panel.code, own)
    np.add.at(count, panel.code, seen)
    others = (total[panel.code] - own) / (count[panel.code] - seen + 1.0)
    out[:, -width:, 0] = own * 100
    out[:, -width:, 1] = seen
    out[:, -width:, 2] = others * 100
    out[:, -width:, 3] = market * 100
    return np.clip(out, -10, 10)


@dataclass
class Network:
    """The compiled network; traced once and retrained by resetting its weights, as tracing costs more than a fit."""

    hidden: int = 16
    epochs: int = 7
    batch: int = 256
    rate: float = 3e-3
    _built: dict[str, Any] = field(default_factory=dict)

    def _build(self) -> dict[str, Any]:
        if self._built:
            return self._built
        # This small net gains nothing from more threads. By environment, since TensorFlow may be at work already in this process.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
        import tensorflow as tf

        n_static = len(feature_names()) + 1
        sequence = tf.keras.Input((WINDOW, CHANNELS))
        static = tf.keras.Input((n_static,))
        read = tf.keras.layers.LSTM(self.hidden)(sequence)
        joined = tf.keras.layers.Concatenate()([read, static])
        dropout = tf.keras.layers.Dropout(0.2)
        joined = dropout(joined)
        dense = tf.keras.layers.Dense(24, activation="relu")(joined)
        model = tf.keras.Model([sequence, static], tf.keras.layers.Dense(1)(dense))
        optimizer = tf.keras.optimizers.Adam(self.rate)
        optimizer.build(model.trainable_variables)
        signature = [
            tf.TensorSpec([None, WINDOW, CHANNELS]), tf.TensorSpec([None, n_static]), tf.TensorSpec([None]), tf.TensorSpec([None]),
        ]  # fmt: skip

        @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
        def step(s: Any, x: Any, y: Any, w: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(w * tf.abs(model([s, x], training=True)[:, 0] - y)) / tf.reduce_sum(w)
            optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
            return loss

        @tf.function(input_signature=signature[:2])  # type: ignore[untyped-decorator]
        def predict(s: Any, x: Any) -> Any:
            return model([s, x], training=False)[:, 0]

        self._built = {"tf": tf, "model": model, "optimizer": optimizer, "step": step, "predict": predict, "dropout": dropout}
        return self._built

    def train(self, sequence: Floats, static: Floats, y: Floats, weight: Floats, seed: int) -> list[Any]:
        """Weights after training from scratch with a seed; the learning rate falls by a cosine to a twentieth."""
        built = self._build()
        tf = built["tf"]
        tf.keras.utils.set_random_seed(seed)
        fresh = tf.keras.models.clone_model(built["model"])
        built["model"].set_weights(fresh.get_weights())
        built["dropout"].seed_generator.state.assign([seed, 0])  # or a second fit would differ from the first
        for variable in built["optimizer"].variables:
            variable.assign(tf.zeros_like(variable))
        arrays = [np.asarray(a, dtype=np.float32) for a in (sequence, static, y, weight)]
        random = np.random.default_rng(seed)
        for epoch in range(self.epochs):
            progress = epoch / max(self.epochs - 1, 1)
            built["optimizer"].learning_rate.assign(self.rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * progress))))
            order = random.permutation(len(y))
            for begin in range(0, len(order), self.batch):
                rows = order[begin : begin + self.batch]
                built["step"](*(tf.constant(a[rows]) for a in arrays))
        return list(built["model"].get_weights())

    def predict(self, weights: list[Any], sequence: Floats, static: Floats) -> Floats:
        """(n,) outputs of the compiled network with these weights."""
        built = self._build()
        built["model"].set_weights(weights)
        tf = built["tf"]
        answer = built["predict"](tf.constant(sequence, tf.float32), tf.constant(static, tf.float32))
        return np.asarray(answer, dtype=np.float64)


@dataclass(frozen=True)
class GlobalLstm:
    """The method around the network. Output: mean monthly log change beyond the market's, in percent."""

    seeds: tuple[int, ...] = (1, 2, 3)
    network: Network = field(default_factory=Network)
    name: str = "lstm"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """Train one network per seed on all windows that end, with their targets, within the panel."""
        market = TwoWitnesses().fit(known, longest)
        pairs = training_pairs(known, longest, seed=0)
        if not enough(pairs):
            return FellBack(market)
        if len(pairs.y) > MAX_WINDOWS:
            pairs = pairs.take(np.sort(np.random.default_rng(0).choice(len(pairs.y), MAX_WINDOWS, replace=False)))
        mean, scale = np.nanmean(pairs.x, axis=0), np.nanstd(pairs.x, axis=0) + 1e-9

        def static(x: Floats, k: Floats) -> Floats:
            return np.column_stack([np.nan_to_num(np.clip((x - mean) / scale, -4, 4)), k / 12])

        sequences = _sequences(known, pairs)
        inputs = static(pairs.x, pairs.k.astype(np.float64))
        trained = [self.network.train(sequences, inputs, pairs.y * 100, pairs.weight, seed) for seed in self.seeds]
        current = windows(known, known.n_months - 1)

        def rate(x: Floats, horizon: int) -> Floats:
            at = static(x, np.full(len(x), float(horizon)))
            return np.asarray(np.mean([self.network.predict(weights, current, at) for weights in trained], axis=0)) / 100

        return BeyondMarket(market, features(known, known.n_months - 1), rate)


def _sequences(known: Panel, pairs: Pairs) -> Floats:
    by_anchor = {int(a): windows(known, int(a)) for a in np.unique(pairs.anchor)}
    out: Floats = np.empty((len(pairs.y), WINDOW, CHANNELS))
    for a, window in by_anchor.items():
        rows = pairs.anchor == a
        out[rows] = window[pairs.series[rows]]
    return out
