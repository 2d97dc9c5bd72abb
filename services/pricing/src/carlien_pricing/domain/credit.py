"""Credit-risk arithmetic: default curve, IRB capital, IFRS 9 loss allowance, population stability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_NORMAL = NormalDist()
_CONFIDENCE = 0.999


def irb_correlation(pd: float) -> float:
    """Asset correlation of 'other retail' (Basel CRE31.15): .03 c + .16 (1 - c), c = (1 - e^-35PD) / (1 - e^-35)."""
    weight = (1 - math.exp(-35 * pd)) / (1 - math.exp(-35))
    return 0.03 * weight + 0.16 * (1 - weight)


def irb_capital(pd: float, lgd: float) -> float:
    """Capital K per unit of exposure, 'other retail', unexpected loss at 99.9 % (CRE31.15). PD is floored at 0.05 %."""
    pd = min(max(pd, 0.0005), 1 - 1e-9)
    correlation = irb_correlation(pd)
    stressed = _NORMAL.cdf((_NORMAL.inv_cdf(pd) + math.sqrt(correlation) * _NORMAL.inv_cdf(_CONFIDENCE)) / math.sqrt(1 - correlation))
    return max(lgd * (stressed - pd), 0.0)


@lru_cache(maxsize=256)
def _hazard_weights(seasoning: tuple[float, ...], months: int) -> Array:
    weights = np.array([seasoning[min(i, len(seasoning) - 1)] for i in range(months)], dtype=np.float64)
    weights.setflags(write=False)
    return weights


def cumulative_pd(pd_12m: float, seasoning: Sequence[float], months: int) -> Array:
    """Lifetime PD curve: cumulative default probability by the end of month 1..months.

    `seasoning` weighs the monthly hazard by loan age (its last value holds on); it is scaled so that month 12 equals `pd_12m`.
    """
    weights = _hazard_weights(tuple(seasoning), max(months, 12))
    total = -math.log1p(-min(pd_12m, 1 - 1e-9))
    hazard = total * weights / weights[:12].sum()
    curve: Array = -np.expm1(-np.cumsum(hazard))
    return curve[:months]


def marginal_pd(cumulative: Array) -> Array:
    """Probability of default in each month, seen from the start."""
    return np.diff(cumulative, prepend=0.0)


@dataclass(frozen=True, slots=True)
class LossAllowance:
    """IFRS 9 / CAS 22 expected credit loss, discounted at the effective rate, in currency."""

    stage: int
    twelve_month: float
    lifetime: float

    @property
    def booked(self) -> float:
        return self.twelve_month if self.stage == 1 else self.lifetime


def expected_credit_loss(marginal: Array, lgd: Array, exposure: Array, monthly_rate: float, stage: int) -> LossAllowance:
    """ECL = sum PD_m LGD_m EAD_m / (1 + r)^m (IFRS 9 5.5.17); arrays by month, `exposure` before the month's payment."""
    discount = (1 + monthly_rate) ** -np.arange(1, len(marginal) + 1, dtype=np.float64)
    losses = marginal * lgd * exposure * discount
    return LossAllowance(stage, float(losses[:12].sum()), float(losses.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingRules:
    """When a loan's credit risk has risen significantly since it was made, and when the loan is impaired."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    increased_past_due_days: int = 30
    """Rebuttable presumption of IFRS 9 5.5.11."""
    impaired_past_due_days: int = 90
    """Rebuttable presumption of IFRS 9 B5.5.37."""
    increased_pd_ratio: float = 2.0
    increased_pd_by: float = 0.005
    """A PD has risen significantly where it is both so many times and by so much above that at origination: a policy of ours."""


def ifrs9_stages(days_past_due: Array, pd_now: Array, pd_at_origination: Array, rules: StagingRules) -> Codes:
    """1, 2 or 3 per loan; NaN is what isn't known.

    What isn't known doesn't speak for a loan: where an increase of the risk can't be told, lifetime losses are due (IFRS 9 7.2.20), so
    it is in stage 2.
    """
    near = (pd_now <= rules.increased_pd_ratio * pd_at_origination) | (pd_now - pd_at_origination <= rules.increased_pd_by)
    unchanged = near & (days_past_due <= rules.increased_past_due_days)
    return np.where(days_past_due > rules.impaired_past_due_days, 3, np.where(unchanged, 1, 2))


def population_stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """PSI = sum (a - e) ln(a / e) over bins of shares; below 0.10 stable, to 0.25 watch, above act."""
    floor = 1e-6
    e = np.maximum(np.asarray(expected, dtype=np.float64), floor)
    a = np.maximum(np.asarray(actual, dtype=np.float64), floor)
    e, a = e / e.sum(), a / a.sum()
    return float(((a - e) * np.log(a / e)).sum())
