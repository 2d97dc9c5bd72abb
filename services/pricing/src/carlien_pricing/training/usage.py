"""Fits the usage-to-credit mapping and measures what it adds, where the truth is known: on a simulated market.

There is no public evidence that driving predicts credit default, and no data set that could show it (reference findings 7). So
nothing here is a fact about drivers. It says: *if* usage moved default odds by so much, a model of this kind would find so much of
it; and with no effect, it finds none. A lender's own validation must say which world it is in; until then, and once that validation
is older than a quarter, usage is not used for the PD.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.domain.usage_model import UsageModel, UsageValidation
from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.measure import auc, kolmogorov_smirnov
from carlien_pricing.training.scorecard import fit_scorecard
from carlien_pricing.training.tables import contributions

Array = npt.NDArray[np.float64]

SOURCE = "simulator of carlien-pricing (known truth); no evidence about drivers"
_BORROWER = ("income", "burden", "years_in_business")
USAGE_FEATURES = ("km_per_day", "active_share", "night_share", "main_overnight_share", "max_speed_kmh")
"""As telematics' profiles have them."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Market:
    """Loans of a known truth. `usage_effect` scales what usage adds to the log-odds of default; 0: nothing."""

    borrower: Array
    usage: Array
    y: npt.NDArray[np.int64]
    log_odds: Array


def simulate(n: int, usage_effect: float, seed: int) -> Market:
    """Usage correlates with the borrower's state (a failing business drives less), so part of it is known already."""
    generator = np.random.Generator(np.random.PCG64(seed))
    strain = generator.normal(size=n)  # what drives default and isn't seen whole by anything
    income = np.exp(8 + 0.5 * generator.normal(size=n) - 0.2 * strain)
    burden = np.clip(0.35 + 0.15 * generator.normal(size=n) + 0.08 * strain, 0.02, 1.5)
    years = generator.gamma(2.0, 3.0, n)
    km_per_day = np.exp(3.7 - 0.10 * strain + 0.45 * generator.normal(size=n))
    active_share = np.clip(0.8 - 0.06 * strain + 0.12 * generator.normal(size=n), 0, 1)
    night_share = generator.beta(2, 8, n)
    main_overnight = np.clip(0.85 - 0.04 * strain + 0.12 * generator.normal(size=n), 0, 1)
    max_speed = np.clip(generator.normal(115, 15, n), 60, 220)
    borrower = -2.6 - 0.6 * (np.log(income) - 8) + 2.0 * (burden - 0.35) - 0.05 * years
    # The highest speed is noise on purpose: a model must not make anything of it.
    usage = -0.5 * (np.log(km_per_day) - 3.7) - 2.0 * (active_share - 0.8) + 1.0 * (night_share - 0.2) - 1.5 * (main_overnight - 0.85)
    truth = borrower + usage_effect * usage
    y = (generator.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    features = np.column_stack([km_per_day, active_share, night_share, main_overnight, max_speed])
    return Market(np.column_stack([income, burden, years]), features, y, truth)


def fit_usage_model(market: Market, rows: slice, base: Array) -> tuple[ScorecardAttribute, ...]:
    """What usage says beyond `base`, the log-odds from the borrower alone: bins, each with its mean over the cars at zero."""
    attributes = tuple(Attribute(name, False, "auto", {}) for name in USAGE_FEATURES)
    card = fit_scorecard(attributes, market.usage[rows], market.y[rows], offset=base[rows])
    names = list(USAGE_FEATURES)
    return tuple(
        _centred(part, float(contributions(part, market.usage[rows][:, names.index(part.name)]).mean())) for part in card.attributes
    )


def _centred(part: ScorecardAttribute, mean: float) -> ScorecardAttribute:
    return replace(part, log_odds=tuple(round(value - mean, 9) for value in part.log_odds), missing=round(part.missing - mean, 9))


def _scores(parts: tuple[ScorecardAttribute, ...], names: tuple[str, ...], x: Array) -> Array:
    total = np.zeros(len(x))
    for part in parts:
        total += contributions(part, x[:, names.index(part.name)])
    return total


def measure_lift(n: int, usage_effect: float, seed: int, today: date) -> tuple[dict[str, Any], UsageModel]:
    """Fits on one half, measures on the other: AUC and KS with and without usage, the bound (the truth itself), 95 % intervals."""
    market = simulate(n, usage_effect, seed)
    half = n // 2
    train, test = slice(0, half), slice(half, n)
    names = tuple(Attribute(name, False, "auto", {}) for name in _BORROWER)
    card: Scorecard = fit_scorecard(names, market.borrower[train], market.y[train])
    base = card.intercept + _scores(card.attributes, _BORROWER, market.borrower)
    parts = fit_usage_model(market, train, base)
    scores = {
        "without_usage": base[test],
        "with_usage": base[test] + _scores(parts, USAGE_FEATURES, market.usage[test]),
        "truth": market.log_odds[test],
    }
    y = market.y[test]
    report: dict[str, Any] = {
        label: {"auc": round(auc(score, y), 6), "ks": round(kolmogorov_smirnov(score, y), 6)} for label, score in scores.items()
    }
    low, high = _interval(scores["with_usage"], scores["without_usage"], y, seed)
    validation = UsageValidation(
        today,
        SOURCE,
        n,
        report["without_usage"]["auc"],
        report["with_usage"]["auc"],
        (round(low, 6), round(high, 6)),
        report["without_usage"]["ks"],
        report["with_usage"]["ks"],
    )
    model = UsageModel(f"usage-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}", parts, validation)
    report |= {
        "auc_lift": round(report["with_usage"]["auc"] - report["without_usage"]["auc"], 6),
        "auc_lift_95": list(validation.auc_lift_95),
        "ks_lift": round(report["with_usage"]["ks"] - report["without_usage"]["ks"], 6),
        "usage_effect": usage_effect,
        "loans": n,
        "default_rate": round(float(market.y.mean()), 6),
        "seed": seed,
        "found": bool(low > 0),
        "model_version": model.version,
    }
    return report, model


def _interval(with_usage: Array, without: Array, y: npt.NDArray[np.int64], seed: int) -> tuple[float, float]:
    generator = np.random.Generator(np.random.PCG64(seed + 1))
    lifts = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(0, len(y), len(y))
        if 0 < y[rows].sum() < len(rows):
            lifts.append(auc(with_usage[rows], y[rows]) - auc(without[rows], y[rows]))
    low, high = np.quantile(lifts, [0.025, 0.975])
    return float(low), float(high)
