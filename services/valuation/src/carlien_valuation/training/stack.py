"""The appraiser: entity-embedding networks and monotone LightGBM, both bagged over grouped folds, stacked and calibrated.

Each fold's models never saw that fold, so their predictions there are honest: they choose the stacking weights and calibrate
the intervals. The final answer averages the folds' models. P10 and P90 mix the networks' quantiles with P50 plus a spread
that LightGBM learns from everything but the guarded columns. So every part is non-increasing in those, the weights are
non-negative and the calibration maps non-decreasing: the answer is non-increasing as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import pandas as pd

from carlien_valuation.training import boosting, net
from carlien_valuation.training.calibrate import LEVELS, QuantileMap, calibrated, fit_group_offsets, fit_map, moved
from carlien_valuation.training.columns import Cars
from carlien_valuation.training.features import Encoded, Encoder, fit_encoder
from carlien_valuation.training.forest import Forest, forest_of
from carlien_valuation.training.split import assign, fingerprints, folds
from carlien_valuation.training.states import StateForest


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a fit may be."""

    folds: int
    epochs: float
    """Share of the usual passes of the networks."""
    tuned: bool


FULL = Effort(folds=5, epochs=1.0, tuned=True)
QUICK = Effort(folds=3, epochs=0.4, tuned=False)
"""For demonstrations: about five times faster, a few percent worse."""

WITNESSES = 500
"""At most so many cars, and at most one in sixty, are seen by no fold's models: they show what averaging the folds gains."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its steps are done, and how many there are."""


def quiet(_: str, __: int, ___: int) -> None:
    """No progress."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A fitted appraiser of log prices; see `fit_stack` and the module's text."""

    encoder: Encoder
    knots: list[np.ndarray]
    centre: float
    scale: float
    network: net.Network
    trees: Forest
    """The mean of the folds' boosters."""
    spreads: tuple[Forest, Forest]
    """P10 and P90 of what P50 leaves, from the columns that are not guarded."""
    weights: tuple[float, float, float]
    """The networks' share in P10, P50 and P90."""
    maps: tuple[QuantileMap, QuantileMap, QuantileMap]
    make_offsets: np.ndarray
    """(makes, 2): what P10 and P90 of each make are moved by, by its code."""
    relative: bool
    """True where what is learned is log(price / price when new)."""
    states: StateForest
    """The trees again, for cars in several states."""
    monotone: bool = True
    """False for what the guarantee is compared with: guarded columns also enter where signs are free. Never saved."""

    def net_inputs(self, encoded: Encoded) -> net.NetInputs:
        """The network's inputs."""
        return net_inputs(encoded, self.knots, monotone=self.monotone)

    def raw(self, encoded: Encoded) -> np.ndarray:
        """Stacked but uncalibrated quantiles of the target, (n, 3)."""
        by_net = self.network.predict(self.net_inputs(encoded)) * self.scale + self.centre
        spread = np.column_stack([one.predict(encoded.boosting) for one in self.spreads])
        by_tree = self.states.predict(encoded.boosting, encoded.guarded, encoded.rows)
        return stacked(by_net, by_tree, spread if encoded.rows is None else spread[encoded.rows], self.weights)

    def log_quantiles(self, cars: Cars) -> np.ndarray:
        """Calibrated log-price quantiles (n, 3): P10, P50, P90."""
        return self.log_quantiles_of(self.encoder.encode(cars))

    def log_quantiles_of(self, encoded: Encoded) -> np.ndarray:
        """The same for cars encoded already."""
        quantiles = moved(calibrated(self.raw(encoded), self.maps), self.make_offsets[self.encoder.makes(encoded)])
        return quantiles + encoded.log_new_price[:, None] if self.relative else quantiles


def net_inputs(encoded: Encoded, knots: list[np.ndarray], *, monotone: bool) -> net.NetInputs:
    """The networks' inputs."""
    guarded = net.place_guarded(encoded.guarded, knots)
    free = encoded.free if monotone else np.concatenate([encoded.free, guarded], axis=1)
    return net.NetInputs(guarded, free, encoded.codes, encoded.rows)


def target_base(encoder: Encoder, cars: Cars, *, relative: bool) -> np.ndarray:
    """What the target is relative to: log price when new (filled where missing), or 0; shape (n,)."""
    return encoder.filled_new_price(cars, encoder.keys(cars)) if relative else np.zeros(len(cars))


def is_relative(cars: Cars) -> bool:
    """Whether so many cars state their price when new that value is learned as a share of it."""
    return bool(np.mean(cars.numbers["new_price"] > 0) >= 0.9)


def stacked(by_net: np.ndarray, by_tree: np.ndarray, spread: np.ndarray, weights: tuple[float, float, float]) -> np.ndarray:
    """Convex mixes: P50 of networks and trees, P10 and P90 of the networks' and P50 plus its spread; sorted, (n, 3).

    by_net (n, 3) quantiles, by_tree (n,) centre, spread (n, 2) lower (negative) and upper distance from P50.
    """
    low, middle, high = weights
    centre = middle * by_net[:, 1] + (1 - middle) * by_tree
    return np.sort(
        np.column_stack([
            low * by_net[:, 0] + (1 - low) * (centre + spread[:, 0]), centre, high * by_net[:, 2] + (1 - high) * (centre + spread[:, 1]),
        ]), axis=1,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitted:
    """A stack and its out-of-fold predictions of the training rows (n, 3): calibrated log prices."""

    stack: Stack
    out_of_fold: np.ndarray
    shape: boosting.Shape


def fit_stack(
    frame: pd.DataFrame,
    cars: Cars,
    log_price: np.ndarray,
    *,
    seed: int,
    progress: Progress = quiet,
    monotone: bool = True,
    effort: Effort = FULL,
) -> Fitted:
    """Fit on checked listings without duplicates. frame as in `listings.checks`, cars its Cars, log_price (n,)."""
    groups = fingerprints(frame)
    fold = folds(groups, effort.folds, seed)
    witness = assign(groups, min(1 / 60, WITNESSES / len(frame)), seed)
    progress("encodings", 0, 1)
    encoder, encoded = fit_encoder(cars, log_price, fold, seed)
    relative = is_relative(cars)
    base = target_base(encoder, cars, relative=relative)
    target = log_price - base
    task = boosting.Task(
        encoded.boosting, target, len(encoder.guarded) if monotone else 0, encoder.categorical_columns(encoded.boosting.shape[1])
    )
    shape = (
        boosting.tune(task, np.flatnonzero((fold != 0) & ~witness), np.flatnonzero(fold == 0), seed, boosting.shapes(len(cars)))
        if effort.tuned
        else boosting.Shape(31, 10, rate=0.1)
    )
    knots = net.guarded_knots(encoded.guarded)
    inputs = net_inputs(encoded, knots, monotone=monotone)
    sizes = [int(column.max()) + 1 for column in encoded.codes.T]
    centre, scale = float(target.mean()), float(target.std())
    trainer = net.Trainer(inputs, (target - centre) / scale, sizes)
    nets, boosters = [], []
    by_net, by_tree = np.empty((len(cars), 3)), np.empty(len(cars))
    unseen = np.flatnonzero(witness)
    net_of_unseen, tree_of_unseen = np.empty((effort.folds, len(unseen), 3)), np.empty((effort.folds, len(unseen)))
    for part in range(effort.folds):
        progress("fold", part, effort.folds)
        train, hold = np.flatnonzero((fold != part) & ~witness), np.flatnonzero((fold == part) & ~witness)
        one = trainer.fit(train, seed + part, epochs=max(3, round(net.epochs_for(len(train)) * effort.epochs)))
        by_net[hold] = net.predict_net(one, inputs.take(hold)) * scale + centre
        net_of_unseen[part] = net.predict_net(one, inputs.take(unseen)) * scale + centre
        booster = boosting.fit_boosting(task, train, hold, shape=shape, quantile=None, seed=seed + part)
        by_tree[hold] = boosting.predict(booster, encoded.boosting[hold])
        tree_of_unseen[part] = boosting.predict(booster, encoded.boosting[unseen])
        nets.append(one)
        boosters.append(booster)
    progress("spread and calibration", 0, 1)
    by_net[unseen], by_tree[unseen] = net_of_unseen.mean(axis=0), tree_of_unseen.mean(axis=0)
    share = choose_share(by_net[:, 1], by_tree, target, 0.5)
    averaged = gain_of_averaging(share * net_of_unseen[:, :, 1] + (1 - share) * tree_of_unseen, target[unseen])
    middle = share * by_net[:, 1] + (1 - share) * by_tree
    lower, spread_low = fit_spread(encoded, encoder, target - middle, fold, 0.1, seed)
    upper, spread_high = fit_spread(encoded, encoder, target - middle, fold, 0.9, seed)
    spread = np.column_stack([spread_low, spread_high])
    weights = (
        choose_share(by_net[:, 0], middle + spread_low, target, 0.1), share, choose_share(by_net[:, 2], middle + spread_high, target, 0.9),
    )  # fmt: skip
    raw = stacked(by_net, by_tree, spread, weights)
    seen, truth, make = raw[~witness], target[~witness], encoder.makes(encoded)
    makes = len(encoder.vocabulary["level0"]) + 1
    trees = forest_of(boosters)
    # As the cards' scores need them, of one fold's models; and as the answer's intervals do, of all folds' average.
    own_maps, own_offsets = _calibration(seen, truth, make[~witness], makes)
    maps, offsets = _calibration(seen, seen[:, 1] + averaged * (truth - seen[:, 1]), make[~witness], makes)
    stack = Stack(
        encoder=encoder,
        knots=knots,
        centre=centre,
        scale=scale,
        network=net.Bag(nets),
        trees=trees,
        spreads=(forest_of([lower], len(encoder.guarded)), forest_of([upper], len(encoder.guarded))),
        weights=weights,
        maps=maps,
        make_offsets=offsets,
        relative=relative,
        states=StateForest.of(trees, len(encoder.guarded)),
        monotone=monotone,
    )
    return Fitted(stack, moved(calibrated(raw, own_maps), own_offsets[make]) + base[:, None], shape)


def gain_of_averaging(members: np.ndarray, truth: np.ndarray) -> float:
    """Absolute error of the members' average over the average of their own, on cars none of them has seen; at most 1 by convexity.

    members (folds, n), truth (n,). The answer averages all folds, but out of fold only one fold's error can be seen: this is how
    much smaller the answer's is. Each car compares both, so that a few hundred tell the ratio to half a percent.
    """
    alone = float(np.abs(members - truth).mean()) if len(truth) else 0.0
    return float(np.abs(members.mean(axis=0) - truth).mean()) / alone if alone else 1.0


def _calibration(
    raw: np.ndarray, truth: np.ndarray, make: np.ndarray, makes: int
) -> tuple[tuple[QuantileMap, QuantileMap, QuantileMap], np.ndarray]:
    """Maps of the raw quantiles (n, 3) and the makes' offsets."""
    low, middle, high = (fit_map(raw[:, index], truth, level) for index, level in enumerate(LEVELS))
    maps = low, middle, high
    return maps, fit_group_offsets(calibrated(raw, maps), truth, make, makes)


def fit_spread(
    encoded: Encoded, encoder: Encoder, rest: np.ndarray, fold: np.ndarray, level: float, seed: int
) -> tuple[lgb.Booster, np.ndarray]:
    """A small quantile booster of what P50 leaves (n,), blind to the guarded columns; and its out-of-fold predictions (n,)."""
    guarded = encoded.guarded.shape[1]
    matrix = encoded.boosting[:, guarded:]
    task = boosting.Task(matrix, rest, 0, encoder.categorical_columns(matrix.shape[1]))
    shape = boosting.Shape(15, max(20, len(rest) // 500), features=0.7)
    predicted = np.empty(len(rest))
    trees = []
    for part in np.unique(fold):
        train, hold = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        booster = boosting.fit_boosting(task, train, hold, shape=shape, quantile=level, seed=seed)
        predicted[hold] = boosting.predict(booster, matrix[hold])
        trees.append(max(booster.best_iteration, 1))
    every = np.arange(len(rest))
    return boosting.fit_boosting(task, every, every[:0], shape=shape, quantile=level, seed=seed, trees=int(np.mean(trees))), predicted


def choose_share(one: np.ndarray, other: np.ndarray, target: np.ndarray, level: float) -> float:
    """The share of `one` in a mix with `other`, 0 to 1 in twentieths, with the least absolute relative error (P50) or pinball loss."""
    losses = []
    for share in np.linspace(0, 1, 21):
        error = target - (share * one + (1 - share) * other)
        loss = np.abs(np.expm1(-error)) if level == 0.5 else np.maximum(level * error, (level - 1) * error)
        losses.append((float(loss.mean()), float(share)))
    return min(losses)[1]
