"""Joint simulation of default, market and car value on fixed common random numbers.

One market factor per path moves car values and default rates together, so losses are worse than the closed form, which takes
them as independent, says. Defaults are integrated out (each path carries its default probabilities, no coin is tossed), which
leaves a smooth, low-noise estimate. The numbers are drawn once from a stated seed: the same inputs give the same answer.
"""

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.collateral import Recovery, ValuePath
from carlien_pricing.domain.normal import normal_cdf

Array = npt.NDArray[np.float64]
Array32 = npt.NDArray[np.float32]

PATHS = 2000
MONTHS = 60
SEED = 20260101
_BINS = 400
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class LossDistribution:
    """Of one loan, in currency, discounted to today. `shortfall_probability[m-1]` = P(value < balance) in month m."""

    expected_loss: float
    percentile_99: float
    expected_shortfall_99: float
    shortfall_probability: Array
    paths: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Months x paths, so that a loan of n months is a contiguous slice."""

    market: Array32  # standard random walk, common to all cars
    own: Array32  # this car's random walk
    now: Array32  # appraisal error, 1 x paths
    level: npt.NDArray[np.intp]  # market walk scaled to unit variance, as a flat index into months x _LEVELS


# The market's level enters default probabilities through this grid of standard deviations: 1/16 apart.
_PER_DEVIATION = 16
_LEVEL_GRID = np.arange(-5 * _PER_DEVIATION, 5 * _PER_DEVIATION + 1) / _PER_DEVIATION
_LEVELS = len(_LEVEL_GRID)
_EXTRA = 24  # months beyond the term that a recovery may take


@lru_cache(maxsize=4)
def _numbers(seed: int, paths: int) -> _Numbers:
    """Antithetic pairs: the mean of every factor is exactly zero."""
    generator = np.random.Generator(np.random.PCG64(seed))

    def draw(rows: int) -> Array:
        half = generator.standard_normal((rows, paths // 2))
        return np.concatenate([half, -half], axis=1)

    market = np.cumsum(draw(MONTHS + _EXTRA), axis=0)
    own = np.cumsum(generator.permuted(draw(MONTHS + _EXTRA), axis=1), axis=0)
    now = generator.permuted(draw(1), axis=1)
    months = np.arange(1, MONTHS + 1)[:, None]
    level = np.clip(np.rint(market[:MONTHS] / np.sqrt(months) * _PER_DEVIATION) + _LEVELS // 2, 0, _LEVELS - 1).astype(np.intp)
    return _Numbers(
        market.astype(np.float32),
        own.astype(np.float32),
        now.astype(np.float32),
        level + (months - 1) * _LEVELS,
    )


def simulate_losses(
    path: ValuePath,
    recovery: Recovery,
    cumulative_pd: Array,
    exposure: Array,
    annual_rate: float,
    market_correlation: float,
    paths: int = PATHS,
    seed: int = SEED,
) -> LossDistribution:
    """Loss distribution of a loan over its term of n <= 60 months.

    `cumulative_pd[m-1]` and `exposure[m-1]` for month m; `path` reaches to month n + lag; `market_correlation` is the share of
    the borrower's latent variable (Vasicek) that the car market explains.
    """
    n, lag = len(exposure), recovery.lag_months
    z, space = _numbers(seed, paths), _workspace(n, paths)
    months = np.arange(1, n + 1)
    sale = slice(lag, lag + n)  # a default in month m is sold in month m + lag: row m + lag - 1

    own = (path.own[months + lag] / np.sqrt(months + lag)).astype(np.float32)[:, None]
    deviation = np.multiply(z.market[sale], np.float32(path.market_volatility), out=space.loss)
    # z.own is a random walk of variance m in month m: scaled to the path's own deviation then.
    deviation += np.multiply(z.own[sale], own, out=space.other)
    deviation += np.float32(path.spread_now) * z.now
    discount = (1 + annual_rate / 12) ** -lag
    net = (1 - recovery.liquidation_cost) * recovery.forced_sale_ratio * discount
    proceeds = np.exp(deviation, out=deviation)
    proceeds *= (path.median[months + lag] * net).astype(np.float32)[:, None]
    if path.floor is not None:
        floor = path.floor[months + lag] * ((1 - recovery.liquidation_cost) * discount)
        np.maximum(proceeds, floor.astype(np.float32)[:, None], out=proceeds)
    if recovery.prior_claims:
        proceeds -= np.float32(recovery.prior_claims * discount)
        np.maximum(proceeds, np.float32(0), out=proceeds)
    # loss = (1 - u) [rho max(owed - proceeds, 0) + (1 - rho) owed], discounted to today
    owed = exposure.astype(np.float32)[:, None]
    rho, keep = np.float32(recovery.recoverability), 1 - recovery.unsecured_recovery
    loss = np.subtract(owed, proceeds, out=proceeds)
    np.maximum(loss, np.float32(0), out=loss)
    short = np.flatnonzero(loss > 0)  # of booleans it is several times faster
    loss *= rho
    loss += (1 - rho) * owed
    today = (keep * (1 + annual_rate / 12) ** -months.astype(np.float64)).astype(np.float32)[:, None]
    loss *= today

    marginal = _conditional_marginals(cumulative_pd, z.level[:n], market_correlation, space.other, space.marginal)
    expected = float(np.einsum("ij,ij->", loss, marginal, dtype=np.float64)) / paths
    quantile, beyond = _tail(loss, marginal, short, ((1 - rho) * owed * today)[:, 0], 0.99)
    return LossDistribution(expected, quantile, beyond, _shortfall_probability(path, exposure), paths, seed)


@dataclass(frozen=True, slots=True)
class _Workspace:
    """Months x paths. Fresh arrays of this size come from the system page by page, which costs more than the arithmetic."""

    loss: Array32
    other: Array32
    marginal: Array32


_local = threading.local()


def _workspace(months: int, paths: int) -> _Workspace:
    """This thread's arrays, for one simulation at a time."""
    held: dict[int, _Workspace] = _local.__dict__.setdefault("held", {})
    if paths not in held:
        held[paths] = _Workspace(*(np.empty((MONTHS, paths), np.float32) for _ in range(3)))
    space = held[paths]
    return _Workspace(space.loss[:months], space.other[:months], space.marginal[:months])


def _conditional_marginals(
    cumulative_pd: Array, level: npt.NDArray[np.intp], correlation: float, reached: Array32, marginal: Array32
) -> Array32:
    """Default probability of each month given the market: Phi((Phi^-1(PD_m) - sqrt(rho) M_m) / sqrt(1 - rho)), never falling in m.

    Returns `marginal`; `reached` is left with the probability by each month.
    """
    root, rest = math.sqrt(correlation), math.sqrt(1 - correlation)
    threshold = np.array([_NORMAL.inv_cdf(p) for p in np.clip(cumulative_pd, 1e-12, 1 - 1e-12).tolist()])
    table = normal_cdf((threshold[:, None] - root * _LEVEL_GRID) / rest).astype(np.float32)
    np.take(table.ravel(), level, out=reached, mode="clip")  # no index is out of range; the default mode would copy
    # Row by row: numpy's accumulate over the first axis is ten times slower.
    before = reached[0]
    for now in reached[1:]:
        before = np.maximum(now, before, out=now)
    marginal[0] = reached[0]
    np.subtract(reached[1:], reached[:-1], out=marginal[1:])
    return marginal


def _tail(loss: Array32, marginal: Array32, short: npt.NDArray[np.intp], least: Array32, level: float) -> tuple[float, float]:
    """Quantile and expected shortfall of the mixture 'no default: 0; default in month m on path i: loss', by a histogram.

    Where the sale brings enough, the loss is the month's `least`: only the few places that are `short` differ from path to path.
    """
    top = float(loss.max())
    if top <= 0:
        return 0.0, 0.0
    scale, paths = np.float32((_BINS - 1) / top), loss.shape[1]
    masses = marginal.ravel()[short].astype(np.float64)
    # Of nothing at all bincount makes integers.
    weight = np.bincount((loss.ravel()[short] * scale).astype(np.intp), weights=masses, minlength=_BINS).astype(np.float64)
    enough = marginal.sum(axis=1, dtype=np.float64) - np.bincount(short // paths, weights=masses, minlength=len(loss))
    weight += np.bincount((least * scale).astype(np.intp), weights=np.maximum(enough, 0.0), minlength=_BINS)
    weight = weight[::-1] / paths
    centre = (np.arange(_BINS, dtype=np.float64) + 0.5)[::-1] * top / (_BINS - 1)
    from_top = np.cumsum(weight)
    tail_mass = 1 - level
    if from_top[-1] <= tail_mass:
        return 0.0, float((weight * centre).sum() / tail_mass)
    cut = int(np.searchsorted(from_top, tail_mass))
    rest = tail_mass - float(weight[:cut].sum())
    quantile = float(centre[cut])
    return quantile, (float((weight[:cut] * centre[:cut]).sum()) + rest * quantile) / tail_mass


def _shortfall_probability(path: ValuePath, exposure: Array) -> Array:
    """P(V_m < balance_m): exact under the model, so it needs no simulation."""
    months = slice(1, len(exposure) + 1)
    with np.errstate(divide="ignore"):
        d = (np.log(exposure) - np.log(path.median[months])) / np.maximum(path.deviation()[months], 1e-9)
    below = normal_cdf(d)
    return below if path.floor is None else np.where(path.floor[months] >= exposure, 0.0, below)
