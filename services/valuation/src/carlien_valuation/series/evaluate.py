"""`panel-evaluate`: every method at every origin and horizon, scored on what came after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_valuation.domain.mark_to_market import Cars, learn_shift
from carlien_valuation.series.ageing import age_steps
from carlien_valuation.series.backtest import Backtest, default_methods
from carlien_valuation.series.panel import Floats, Panel, format_month
from carlien_valuation.series.read import PanelMapping
from carlien_valuation.series.scores import Score, score

Say = Callable[[str], None]

AVERAGED = ("mape", "mdape", "p90ape", "bias", "coverage80", "pinball")
Z90 = 1.2815515655446004


@dataclass(frozen=True)
class Question:
    """What is asked of a panel."""

    origins: tuple[int, ...]
    horizons: tuple[int, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    mark_sample: int = 200
    mark_draws: int = 10


def evaluate_panel(panel: Panel, mapping: PanelMapping, question: Question, say: Say) -> dict[str, Any]:
    """The report. Raises DomainError PANEL_ORIGIN or PANEL_HORIZON when nothing can be scored.

    Per origin and horizon: scores of each method, the champion's name and scores, and the mark-to-market of the older prices
    from a sample of those at the horizon. `overall` averages over origins and gives their spread.
    """
    columns = _columns(panel, question.origins)
    backtest = Backtest(panel, default_methods(question.seeds), max(question.horizons), lambda column: population(panel, mapping, column))
    results: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for column in columns:
        for horizon in question.horizons:
            origin = format_month(panel.first_month + column)
            actual = _scored(panel, mapping, column, horizon)
            if actual is None:
                skipped.append({"origin": origin, "horizon_months": str(horizon), "reason": "no prices at that month to score against"})
                continue
            say(f"origin {origin}, {horizon} months")
            results.append({"origin": origin, "horizon_months": horizon, **_one(backtest, actual, column, horizon, question)})
    if not results:
        raise invalid("horizons", "PANEL_HORIZON", "no origin has prices at any of the horizons to score against")
    return {
        "series": panel.n_series,
        "first_month": format_month(panel.first_month),
        "last_month": format_month(panel.last_month),
        "months_with_prices": len(panel.observed),
        "seeds": list(question.seeds),
        "champion_rule": "services/valuation/docs/residual-forecast.md",
        "results": results,
        "overall": [_overall(results, horizon) for horizon in question.horizons if any(r["horizon_months"] == horizon for r in results)],
        "skipped": skipped,
    }


def _columns(panel: Panel, origins: Sequence[int]) -> list[int]:
    known = set(panel.observed.tolist())
    missing = [format_month(origin) for origin in origins if origin - panel.first_month not in known]
    if missing:
        months = [format_month(panel.first_month + c) for c in panel.observed]
        listed = ", ".join(months) if len(months) <= 6 else f"{months[0]} .. {months[-1]} ({len(months)} months)"
        raise invalid("origin", "PANEL_ORIGIN", f"no prices in {', '.join(missing)}; the panel has {listed}")
    return [origin - panel.first_month for origin in sorted(set(origins))]


def _scored(panel: Panel, mapping: PanelMapping, column: int, horizon: int) -> Floats | None:
    """(S,) log prices at the horizon of the series that are scored, NaN for the others; None when there are none."""
    if column + horizon >= panel.n_months:
        return None
    actual = panel.log_price[:, column + horizon].copy()
    actual[np.isnan(panel.log_price[:, column])] = np.nan
    actual[~population(panel, mapping, column)] = np.nan
    return None if np.isnan(actual).all() else actual


def population(panel: Panel, mapping: PanelMapping, column: int) -> np.ndarray:
    """(S,) which series are scored: by age in calendar years at the origin, as the mapping says."""
    years = (panel.first_month + column) // 12 - panel.model_year
    chosen = np.ones(panel.n_series, dtype=bool)
    if not mapping.score_new:
        chosen &= ~panel.is_new & (years >= 1)
    if mapping.max_age_years is not None:
        chosen &= panel.is_new | (years <= mapping.max_age_years)
    return chosen


def _one(backtest: Backtest, actual: Floats, column: int, horizon: int, question: Question) -> dict[str, Any]:
    methods: dict[str, dict[str, Any]] = {}
    for method in backtest.methods:
        interval = backtest.interval(method, column, horizon)
        measured = score(actual, interval.p10, interval.p50, interval.p90)
        if measured is None:
            continue
        methods[method.name] = measured.as_dict() | ({"fallback": interval.fallback} if interval.fallback else {})
    champion = backtest.champion(column, horizon).name
    return {
        "actual_ratio_median": round(float(np.exp(np.nanmedian(actual - backtest.panel.log_price[:, column]))), 4),
        "champion": champion,
        "methods": methods | {"champion": methods[champion]},
        "mark_to_market": mark_to_market(backtest.known(column), actual, horizon, question.mark_sample, question.mark_draws),
    }


def mark_to_market(known: Panel, actual: Floats, horizon: int, sample: int, draws: int) -> dict[str, Any] | None:
    """Re-level the origin's prices from `sample` current ones, scored on the others; mean and spread over `draws` samples.

    Each car's older price, aged by the steps of the old cross-section, is the base. None where there are too few prices.
    """
    steps = age_steps(known, known.n_months - 1)
    ageing = steps.change(known.model_year, horizon) if steps else np.zeros(known.n_series)
    base = known.log_price[:, -1] + ageing
    rows = np.flatnonzero(~np.isnan(base) & ~np.isnan(actual))
    if len(rows) < 2 * sample:
        return None
    age = known.age_years(known.n_months - 1)
    cars = Cars(known.log_price[:, -1], age, known.make, known.family, known.fuel).take(rows)
    ratio = actual[rows] - base[rows]
    scores: list[Score] = []
    for draw in range(draws):
        chosen = np.zeros(len(rows), dtype=bool)
        chosen[np.random.default_rng(draw).choice(len(rows), sample, replace=False)] = True
        shift = learn_shift(cars.take(np.flatnonzero(chosen)), ratio[chosen])
        mean, deviation = shift.at(cars.take(np.flatnonzero(~chosen)))
        half = Z90 * np.hypot(deviation, shift.noise)
        measured = score(ratio[~chosen], mean - half, mean, mean + half)
        if measured is not None:
            scores.append(measured)
    mape = [one.mape for one in scores]
    return {
        "sample": sample,
        "draws": draws,
        "mape": round(float(np.mean(mape)), 4),
        "mape_sd_over_draws": round(float(np.std(mape)), 4),
        "mape_worst_draw": round(max(mape), 4),
        **{key: round(float(np.mean([getattr(one, key) for one in scores])), 4) for key in ("mdape", "p90ape", "coverage80", "pinball")},
    }


def _overall(results: list[dict[str, Any]], horizon: int) -> dict[str, Any]:
    """Means over origins; `mape_sd_over_origins` is their spread."""
    chosen = [result for result in results if result["horizon_months"] == horizon]
    names = chosen[0]["methods"].keys()
    methods = {}
    for name in names:
        scores = [result["methods"][name] for result in chosen if name in result["methods"]]
        mean = {key: round(float(np.mean([s[key] for s in scores])), 4) for key in AVERAGED}
        methods[name] = mean | {"mape_sd_over_origins": round(float(np.std([s["mape"] for s in scores])), 4)}
    return {"horizon_months": horizon, "origins": len(chosen), "methods": methods}
