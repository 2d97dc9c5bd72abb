"""How much usage data could add to a borrower model, measured where the truth is known: on a simulated market.

There is no public evidence that driving predicts credit default, and no data set that could show it (reference findings 7). So
nothing here is a fact about drivers. It says: *if* usage moved default odds by so much, a scorecard of this kind would find so
much of it; and with no effect, it finds none. A lender's own validation must say which world it is in; until then, and once that
validation is older than a quarter, usage is not used for the PD.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.measure import auc, kolmogorov_smirnov
from carlien_pricing.training.scorecard import contributions, fit_scorecard

Array = npt.NDArray[np.float64]

VALIDATION_HOLDS = timedelta(days=92)
"""A quarter: an older validation switches the model off."""

_BORROWER = ("income", "burden", "years_in_business")
_USAGE = ("km_change", "idle_days", "night_share", "hard_braking_per_100km")
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Market:
    """Loans of a known truth. `usage_effect` scales what usage adds to the log-odds of default; 0: nothing."""

    x: Array
    y: npt.NDArray[np.int64]
    log_odds: Array


def simulate(n: int, usage_effect: float, seed: int) -> Market:
    """Usage correlates with the borrower's state (a failing business drives less), so part of it is known already."""
    generator = np.random.Generator(np.random.PCG64(seed))
    strain = generator.normal(size=n)  # what drives default and isn't seen whole by anything
    income = np.exp(8 + 0.5 * generator.normal(size=n) - 0.2 * strain)
    burden = np.clip(0.35 + 0.15 * generator.normal(size=n) + 0.08 * strain, 0.02, 1.5)
    years = generator.gamma(2.0, 3.0, n)
    km_change = -0.10 * strain + 0.25 * generator.normal(size=n)
    idle_days = np.clip(4 + 1.5 * strain + 3 * generator.normal(size=n), 0, 30)
    night_share = np.clip(generator.beta(2, 8, n), 0, 1)
    braking = generator.gamma(1.5, 1.2, n)
    borrower = -2.6 - 0.6 * (np.log(income) - 8) + 2.0 * (burden - 0.35) - 0.05 * years
    usage = -1.5 * km_change + 0.10 * (idle_days - 4) + 1.0 * (night_share - 0.2)  # braking: noise on purpose
    truth = borrower + usage_effect * usage
    y = (generator.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    return Market(np.column_stack([income, burden, years, km_change, idle_days, night_share, braking]), y, truth)


def measure_lift(n: int, usage_effect: float, seed: int) -> dict[str, Any]:
    """Fits on one half, measures on the other: AUC and KS with and without usage, the bound (the truth itself), 95 % intervals."""
    market = simulate(n, usage_effect, seed)
    half = n // 2
    names = (*_BORROWER, *_USAGE)
    attributes = tuple(Attribute(name, False, "auto", {}) for name in names)
    scores = {}
    for label, used in (("without_usage", len(_BORROWER)), ("with_usage", len(names))):
        card = fit_scorecard(attributes[:used], market.x[:half, :used], market.y[:half])
        score = np.full(n - half, card.intercept)
        for part in card.attributes:
            score += contributions(part, market.x[half:, names.index(part.name)])
        scores[label] = score
    scores["truth"] = market.log_odds[half:]
    y = market.y[half:]
    report: dict[str, Any] = {
        label: {"auc": round(auc(score, y), 6), "ks": round(kolmogorov_smirnov(score, y), 6)} for label, score in scores.items()
    }
    low, high = _interval(scores["with_usage"], scores["without_usage"], y, seed)
    report |= {
        "auc_lift": round(report["with_usage"]["auc"] - report["without_usage"]["auc"], 6),
        "auc_lift_95": [round(low, 6), round(high, 6)],
        "ks_lift": round(report["with_usage"]["ks"] - report["without_usage"]["ks"], 6),
        "usage_effect": usage_effect,
        "loans": n,
        "default_rate": round(float(market.y.mean()), 6),
        "seed": seed,
        "found": bool(low > 0),
    }
    return report


def _interval(with_usage: Array, without: Array, y: npt.NDArray[np.int64], seed: int) -> tuple[float, float]:
    generator = np.random.Generator(np.random.PCG64(seed + 1))
    lifts = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(0, len(y), len(y))
        if 0 < y[rows].sum() < len(rows):
            lifts.append(auc(with_usage[rows], y[rows]) - auc(without[rows], y[rows]))
    low, high = np.quantile(lifts, [0.025, 0.975])
    return float(low), float(high)


def validation_holds(validated_on: date, today: date) -> bool:
    """Whether a validation of that day still lets usage be used."""
    return validated_on <= today <= validated_on + VALIDATION_HOLDS
