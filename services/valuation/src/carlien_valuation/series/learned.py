"""Ridge and LightGBM on the same windows: they learn what a series does beyond its market."""

from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np

from carlien_valuation.series.baselines import TwoWitnesses
from carlien_valuation.series.features import Pairs, features, training_pairs
from carlien_valuation.series.forecast import Fitted, Forecast
from carlien_valuation.series.panel import Floats, Panel

MIN_ROWS, MIN_ANCHORS = 200, 2
"""Fewer training rows or anchor months than this, and the level answers alone: one anchor is one market phase."""


def enough(pairs: Pairs | None) -> TypeGuard[Pairs]:
    """Whether there is something to learn from."""
    return pairs is not None and len(pairs.y) >= MIN_ROWS and len(np.unique(pairs.anchor)) >= MIN_ANCHORS


class RatePredictor(Protocol):
    """Mean monthly log change beyond the market's, from features (n, F) and horizon."""

    def __call__(self, x: Floats, horizon: int, /) -> Floats:
        """(n,)"""
        ...


@dataclass(frozen=True)
class BeyondMarket:
    """The market's level plus a learned rate."""

    market: Fitted
    x: Floats
    rate: RatePredictor

    def forecast(self, horizon: int) -> Forecast:
        """Trend to the horizon plus horizon times the learned monthly rate."""
        base = self.market.forecast(horizon)
        return Forecast(base.log_p50 + horizon * self.rate(self.x, horizon))


@dataclass(frozen=True)
class FellBack:
    """The market's level, because there was too little to learn from."""

    market: Fitted

    def forecast(self, horizon: int) -> Forecast:
        """The level's answer, labelled as such."""
        base = self.market.forecast(horizon)
        return Forecast(base.log_p50, base.fallback or TwoWitnesses.name)


@dataclass(frozen=True)
class Ridge:
    """Linear in standardised features; Huber weights against jumps, ridge penalty against the small sample."""

    penalty: float = 0.5
    name: str = "ridge"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """Iteratively reweighted least squares."""
        market = TwoWitnesses().fit(known, longest)
        pairs = training_pairs(known, longest, seed=0)
        if not enough(pairs):
            return FellBack(market)
        mean, scale = np.nanmean(pairs.x, axis=0), np.nanstd(pairs.x, axis=0) + 1e-9
        coefficients = huber_ridge(_standardise(pairs.x, mean, scale), pairs.y, pairs.weight, self.penalty)
        return BeyondMarket(market, features(known, known.n_months - 1), lambda x, _: _standardise(x, mean, scale) @ coefficients)


def _standardise(x: Floats, mean: Floats, scale: Floats) -> Floats:
    """Clipped at 4 standard deviations, missing at the mean, with an intercept as last column."""
    z = np.nan_to_num(np.clip((x - mean) / scale, -4, 4))
    return np.column_stack([z, np.ones(len(z))])


def huber_ridge(x: Floats, y: Floats, weight: Floats, penalty: float, rounds: int = 8) -> Floats:
    """Coefficients (F,) of a ridge regression, the last one unpenalised; residuals beyond 1.35 robust sd count less.

    `penalty` is in units of the total weight (1 = as much as all observations of a standardised feature).
    """
    ridge = np.eye(x.shape[1]) * penalty * weight.sum()
    ridge[-1, -1] = 0.0
    robust = weight.copy()
    coefficients = np.zeros(x.shape[1])
    for _ in range(rounds):
        coefficients = np.linalg.solve(x.T @ (x * robust[:, None]) + ridge, x.T @ (robust * y))
        residual = np.abs(y - x @ coefficients)
        limit = 1.35 * 1.4826 * float(np.median(residual)) + 1e-12
        robust = weight / np.maximum(1.0, residual / limit)
    return coefficients


@dataclass(frozen=True)
class Boosted:
    """LightGBM with absolute loss on the mean monthly change; shallow and heavily sampled, the samples are few and alike."""

    seeds: tuple[int, ...] = (1, 2, 3)
    rounds: int = 200
    threads: int = 1
    name: str = "lightgbm"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """One booster per seed; the forecast is their mean."""
        import lightgbm as lgb

        market = TwoWitnesses().fit(known, longest)
        pairs = training_pairs(known, longest, seed=0)
        if not enough(pairs):
            return FellBack(market)
        x = np.column_stack([pairs.x, pairs.k])
        boosters = [
            lgb.train(self._parameters(seed), lgb.Dataset(x, pairs.y * 100, weight=pairs.weight), self.rounds) for seed in self.seeds
        ]

        def rate(x: Floats, horizon: int) -> Floats:
            at = np.column_stack([x, np.full(len(x), horizon)])
            return np.asarray(np.mean([booster.predict(at) for booster in boosters], axis=0)) / 100

        return BeyondMarket(market, features(known, known.n_months - 1), rate)

    def _parameters(self, seed: int) -> dict[str, object]:
        return {
            "objective": "l1", "learning_rate": 0.03, "num_leaves": 8, "min_data_in_leaf": 40, "feature_fraction": 0.5,
            "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0, "verbose": -1, "num_threads": self.threads,
            "seed": seed, "deterministic": True, "force_row_wise": True,
        }  # fmt: skip
