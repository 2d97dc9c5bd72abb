"""Re-level a whole book or price guide from a small sample of current prices (a nowcast).

A market's level moves by up to 30 % in two years while the *relative* value of cars keeps. So the ratio of a
current price to the older value is smooth over the market: one common shift, bent a little by price, age and fuel, plus
what a make and a model family do of their own. A Gaussian process over those (kriging; Rasmussen & Williams 2006, ch. 2)
estimates all of it from a few hundred prices, shrinks what few prices say, and tells how sure it is. Its two scales are chosen
by marginal likelihood on the sample alone; outlying prices get their noise raised (a Huber weight).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIGNAL_SCALES = (0.25, 0.5, 0.75, 1.0, 1.5)
NOISE_SCALES = (0.4, 0.6, 0.8, 1.0)
"""Tried multiples of the sample's robust standard deviation."""
MAKE_SHARE, FAMILY_SHARE = 0.7, 1.0
"""Variance of a make's and of a family's own shift, as multiples of the smooth part's."""
LENGTH_PRICE, LENGTH_AGE, LENGTH_MAKE_PRICE = 1.0, 3.0, 2.0
"""How far shifts stay alike: standard deviations of log price (over the market; within a make), years."""
FUEL_DISTANCE = 1.0
"""How unlike two fuels are, in length scales."""
ROUNDS = 6
OUTLIER = 1.5
"""Residuals beyond this many noise standard deviations count less."""
MIN_SAMPLE = 5
CHUNK = 20_000


@dataclass(frozen=True)
class Cars:
    """What decides how alike two cars' shifts are; arrays (n,). `family` is a model family of one make."""

    log_value: Floats
    age_years: Floats
    make: Ints
    family: Ints
    fuel: Ints

    def take(self, rows: Ints | slice) -> "Cars":
        """A selection."""
        return Cars(self.log_value[rows], self.age_years[rows], self.make[rows], self.family[rows], self.fuel[rows])


@dataclass(frozen=True)
class Shift:
    """The market's shift as learned from a sample; log ratio of current price to older value."""

    sample: Cars
    centre: float
    scale_price: float
    signal: float
    noise: float
    weights: Floats
    factor: Floats

    def at(self, cars: Cars) -> tuple[Floats, Floats]:
        """Mean shift (n,) of each car and its standard deviation (n,), without the noise of a single price."""
        mean, deviation = np.empty(len(cars.make)), np.empty(len(cars.make))
        total = self.signal**2 * (1 + MAKE_SHARE + FAMILY_SHARE)
        for begin in range(0, len(cars.make), CHUNK):
            part = slice(begin, begin + CHUNK)
            kernel = self.signal**2 * _alike(cars.take(part), self.sample, self.scale_price)
            mean[part] = self.centre + kernel @ self.weights
            solved = np.linalg.solve(self.factor, kernel.T)
            deviation[part] = np.sqrt(np.maximum(total - np.einsum("ij,ij->j", solved, solved), 0.0))
        return mean, deviation


def learn_shift(sample: Cars, log_ratio: Floats) -> Shift:
    """Learn the shift from log ratios (n,) of current prices to older values; ValueError below MIN_SAMPLE prices."""
    n = len(log_ratio)
    if n < MIN_SAMPLE:
        raise ValueError(f"{n} prices are too few to re-level a market; {MIN_SAMPLE} are the least")
    centre = float(np.median(log_ratio))
    deviation = log_ratio - centre
    spread = max(1.4826 * float(np.median(np.abs(deviation))), 1e-4)
    scale_price = float(np.std(sample.log_value)) or 1.0
    alike = _alike(sample, sample, scale_price)
    clipped = np.clip(deviation, -3 * spread, 3 * spread)
    candidates = [(s * spread, e * spread) for s in SIGNAL_SCALES for e in NOISE_SCALES]
    signal, noise = max(candidates, key=lambda scales: _log_likelihood(alike, clipped, *scales))
    variance = np.full(n, noise**2)
    weights: Floats = np.zeros(n)
    factor: Floats = np.eye(n)
    for _ in range(ROUNDS):
        covariance = signal**2 * alike + np.diag(variance)
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, deviation))
        residual = np.abs(variance * weights)
        variance = noise**2 * np.maximum(1.0, residual / (OUTLIER * noise))
    return Shift(sample, centre, scale_price, signal, noise, weights, factor)


def _alike(a: Cars, b: Cars, scale_price: float) -> Floats:
    """(n, m) covariance in units of the smooth part's variance."""
    price = ((a.log_value[:, None] - b.log_value[None]) / scale_price) ** 2
    age = ((a.age_years[:, None] - b.age_years[None]) / LENGTH_AGE) ** 2
    fuel = FUEL_DISTANCE**2 * (a.fuel[:, None] != b.fuel[None])
    smooth = np.exp(-0.5 * (price / LENGTH_PRICE**2 + age + fuel))
    make = (a.make[:, None] == b.make[None]) * np.exp(-0.5 * price / LENGTH_MAKE_PRICE**2)
    family = a.family[:, None] == b.family[None]
    return np.asarray(smooth + MAKE_SHARE * make + FAMILY_SHARE * family)


def _log_likelihood(alike: Floats, deviation: Floats, signal: float, noise: float) -> float:
    factor = np.linalg.cholesky(signal**2 * alike + noise**2 * np.eye(len(deviation)))
    solved = np.linalg.solve(factor, deviation)
    return float(-0.5 * solved @ solved - np.log(np.diag(factor)).sum())
