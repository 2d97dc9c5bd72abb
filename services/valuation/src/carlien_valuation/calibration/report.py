"""The quarterly report: what the sales say of the model in service and of those that would replace it, and what the rule makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from carlien_valuation.calibration.judge import JudgedSales
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import (
    MIN_RECALIBRATION,
    MIN_SALES,
    Judged,
    Light,
    Shift,
    compare,
    conformal_shift,
    cross_fitted,
    measures,
    share_tests,
    worst,
)
from carlien_valuation.domain.drift import CategoryReference, Drift, NumberReference, category_drift, number_drift
from carlien_valuation.domain.outcome import Outcome

SCHEMA = "carlien-valuation-calibration/1"
AGE_BANDS = ((0, 3), (3, 6), (6, 10), (10, 100))
RULE = "docs/model-risk.md"


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it says of the sales."""

    version: str
    data_cutoff: date
    sales: JudgedSales
    card: Mapping[str, Any]


def calibration_report(
    champion: Subject, challengers: Sequence[Subject], outcomes: Sequence[Outcome], period: tuple[date, date], *, now: datetime, basis: str
) -> dict[str, Any]:
    """The report without its hash. `basis` says which policies and index the values stand on."""
    sales = champion.sales
    shifts = recalibration(sales)
    whole = _tested(sales.judged)
    drift = _drift(champion)
    lights = {name: Light(test["light"]) for name, test in whole["tests"].items()} | {
        f"drift_{name}": found.light for name, found in drift.items()
    }
    compared = [_challenge(champion, challenger) for challenger in challengers]
    recalibrated = _recalibrated(sales, shifts)
    winner = next((one["model_version"] for one in sorted(compared, key=_error) if one["promoted"]), "")
    light = worst(list(lights.values()))
    return {
        "schema": SCHEMA,
        "created_at": now.isoformat(timespec="seconds"),
        "rule": RULE,
        "basis": basis,
        "model_version": champion.version,
        "data_cutoff": champion.data_cutoff.isoformat(),
        "period": {"first": period[0].isoformat(), "last": period[1].isoformat()},
        "outcomes": len(outcomes),
        "sales": len(sales.judged),
        "excluded": dict(sorted(sales.excluded.items())),
        "light": light.value,
        "lights": {name: one.value for name, one in lights.items()},
        **whole,
        "segments": _segments(sales),
        "drift": {name: {**asdict(found), "light": found.light.value} for name, found in drift.items()},
        "as_answered": _as_answered(outcomes),
        "recalibration": recalibrated,
        "challengers": compared,
        "verdict": "PROMOTE" if winner else "RECALIBRATE" if recalibrated["advised"] else "KEEP",
        "promote": winner,
    }


def recalibration(sales: JudgedSales) -> dict[PriceType, Shift]:
    """Per market with enough sales. P50 moves only where the sales say that it lies wrong."""
    found = {}
    for price_type in PriceType:
        judged = sales.judged.take(sales.in_market(price_type))
        if len(judged) >= MIN_RECALIBRATION:
            found[price_type] = conformal_shift(judged, median=_median_off(judged))
    return found


def _median_off(judged: Judged) -> bool:
    return share_tests(judged)["below_p50"].light is not Light.GREEN


def _tested(judged: Judged) -> dict[str, Any]:
    if not len(judged):
        return {"measures": None, "tests": {}}
    return {"measures": measures(judged), "tests": {name: test.document() for name, test in share_tests(judged).items()}}


def _segments(sales: JudgedSales) -> list[dict[str, Any]]:
    """Markets, makes, ages and price terciles with enough sales. Of many segments some are yellow by chance: red is what counts."""
    n = len(sales.judged)
    if n < MIN_SALES:
        return []
    rows: dict[str, np.ndarray] = {f"market:{kind}": sales.in_market(kind) for kind in PriceType}
    makes = np.array(sales.makes(), dtype=str)
    rows |= {f"make:{make}": makes == make for make in np.unique(makes) if make}
    age = sales.column("age_years")
    rows |= {f"age:{low}-{high}": (age >= low) & (age < high) for low, high in AGE_BANDS}
    tercile = np.searchsorted(np.quantile(sales.judged.p50, [1 / 3, 2 / 3]), sales.judged.p50)
    rows |= {f"price_tercile:{part + 1}": tercile == part for part in range(3)}
    return [{"segment": name, **_tested(sales.judged.take(chosen))} for name, chosen in rows.items() if chosen.sum() >= MIN_SALES]


def _drift(champion: Subject) -> dict[str, Drift]:
    """Of each feature the card has a reference of; none for models trained before cards had one."""
    data = champion.card.get("data", {})
    reference, rows = data.get("reference") or {}, int(data.get("rows") or 0)
    found: dict[str, Drift | None] = {}
    for name, one in reference.items():
        if "edges" in one:
            found[name] = number_drift(
                NumberReference(tuple(one["edges"]), tuple(one["shares"])), rows, np.asarray(champion.sales.column(name), dtype=np.float64)
            )
        else:
            found[name] = category_drift(CategoryReference(one["shares"]), rows, champion.sales.makes())
    return {name: one for name, one in found.items() if one is not None}


def _as_answered(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The same question of what was really answered: recorded appraisals in force on the day of the sale, however old."""
    rows = [
        [float(value.amount) for value in (outcome.price, outcome.answered.p10, outcome.answered.p50, outcome.answered.p90)]
        for outcome in outcomes
        if outcome.answered is not None
    ]
    judged = Judged(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)
    return {"sales": len(judged), **_tested(judged)}


def _recalibrated(sales: JudgedSales, shifts: Mapping[PriceType, Shift]) -> dict[str, Any]:
    """Each market's shifts, and its coverage before and after, the latter on sales the shifts were not made from."""
    markets, advised = {}, False
    for price_type, shift in shifts.items():
        judged = sales.judged.take(sales.in_market(price_type))
        after = cross_fitted(judged, median=_median_off(judged))
        before, light = share_tests(judged), share_tests(after)["outside"].light
        helps = abs(after.inside.mean() - 0.8) < abs(judged.inside.mean() - 0.8) or measures(after)["mape"] < measures(judged)["mape"]
        wanted = helps and worst([test.light for test in before.values()]) is not Light.GREEN
        advised |= wanted
        markets[price_type.value] = {
            "sales": len(judged),
            "shift": asdict(shift),
            "before": measures(judged),
            "after_cross_fitted": measures(after),
            "light_after": light.value,
            "advised": wanted,
        }
    return {"advised": advised, "markets": markets}


def _challenge(champion: Subject, challenger: Subject) -> dict[str, Any]:
    """On the sales both can be judged by."""
    common = champion.sales.ids & challenger.sales.ids
    result = compare(champion.sales.of(common).judged, challenger.sales.of(common).judged)
    return {
        "model_version": challenger.version,
        "data_cutoff": challenger.data_cutoff.isoformat(),
        "sales": result.n,
        "champion": result.champion,
        "challenger": result.challenger,
        "promoted": result.promoted,
        "reasons": list(result.reasons),
    }


def _error(compared: Mapping[str, Any]) -> float:
    return float(compared["challenger"].get("mape", float("inf")))
