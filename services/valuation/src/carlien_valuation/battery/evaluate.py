"""`battery-evaluate`: state of health ahead, scored on cells the model never saw, beside baselines on the same origins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_valuation.battery.cells import Cell, Floats, smooth
from carlien_valuation.battery.fade import Ints, baselines, features, observe, train

ORIGINS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Fractions of a cell's record at which a forecast is made."""
MIN_ORIGIN = 30
AHEAD = (50, 100, 200, 400)
"""Cycles ahead."""
BASELINES = ("last_value", "linear", "linear_recent", "sqrt")
MIN_CELLS = 20
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Cases:
    """Forecasts to be made: features, state at the origin, truth, horizon, cell and group of each (n,), baselines (n, 4)."""

    x: Floats
    soh: Floats
    truth: Floats
    ahead: Floats
    cell: Ints
    group: Ints
    simple: Floats

    def take(self, rows: np.ndarray) -> "Cases":
        """A selection."""
        return Cases(*(getattr(self, name)[rows] for name in ("x", "soh", "truth", "ahead", "cell", "group", "simple")))


def cases_of(cells: tuple[Cell, ...]) -> Cases:
    """All origins and horizons whose truth is on record. The truth is the running median of the measurements around it."""
    groups = {name: i for i, name in enumerate(sorted({cell.group for cell in cells}))}
    x, soh, truth, aheads, index, group, simple = [], [], [], [], [], [], []
    for number, cell in enumerate(cells):
        curve = smooth(cell.soh)
        for fraction in ORIGINS:
            cycle = float(int(cell.cycle[-1] * fraction))
            origin = observe(cell, cycle) if cycle >= MIN_ORIGIN else None
            if origin is None:
                continue
            for ahead in AHEAD:
                if cycle + ahead > cell.cycle[-1]:
                    continue
                lines = baselines(origin, ahead)
                x.append(features(origin, ahead))
                soh.append(origin.soh)
                truth.append(float(np.interp(cycle + ahead, cell.cycle, curve)))
                aheads.append(float(ahead))
                index.append(number)
                group.append(groups[cell.group])
                simple.append([lines[name] for name in BASELINES])
    return Cases(*(np.array(v) for v in (x, soh, truth, aheads, index, group, simple)))


def evaluate(cells: tuple[Cell, ...], *, folds: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The report: errors in percentage points of state of health. Raises DomainError CELLS_TOO_FEW.

    Cells are dealt to folds; each fold is forecast by a model of the others. `leave_group_out` instead leaves out a
    whole group (data set, chemistry), which is what a chemistry never seen means.
    """
    if len(cells) < MIN_CELLS:
        raise invalid("cells", "CELLS_TOO_FEW", f"{len(cells)} cells are too few to leave some out; {MIN_CELLS} are the least")
    cases = cases_of(cells)
    names = sorted({cell.group for cell in cells})
    fold = np.random.default_rng(seed).permutation(np.arange(len(cells)) % folds)[cases.cell]
    report: dict[str, Any] = {"cells": len(cells), "cases": len(cases.truth), "folds": folds, "seed": seed}
    report["unit"] = "percentage points of the capacity when new"
    report["cells_left_out"] = _scores(cases, _cross(cases, fold, seed, say, "fold"), names)
    if len(names) > 1:
        report["leave_group_out"] = _scores(cases, _cross(cases, cases.group, seed, say, "group"), names)
    return report


def _cross(cases: Cases, part: Ints, seed: int, say: Callable[[str], None], what: str) -> Floats:
    """(n, 3) quantiles of every case by a model that saw no cell of its part."""
    out = np.empty((len(cases.truth), 3))
    for k in np.unique(part):
        say(f"  {what} {k + 1}/{len(np.unique(part))}")
        held = part == k
        seen = cases.take(~held)
        model = train(seen.x, 100 * (seen.truth - seen.soh), seen.cell, seed)
        out[held] = np.column_stack(model.predict(cases.x[held], cases.soh[held]))
    return out


def _scores(cases: Cases, quantiles: Floats, names: list[str]) -> dict[str, Any]:
    everything = np.ones(len(cases.truth), dtype=bool)
    by_ahead = {int(ahead): _score(cases, quantiles, cases.ahead == ahead) for ahead in AHEAD if (cases.ahead == ahead).any()}
    by_group = {name: _score(cases, quantiles, cases.group == i) for i, name in enumerate(names) if (cases.group == i).any()}
    return {"overall": _score(cases, quantiles, everything), "by_cycles_ahead": by_ahead, "by_group": by_group}


def _score(cases: Cases, quantiles: Floats, rows: np.ndarray) -> dict[str, Any]:
    truth = cases.truth[rows]
    p10, p50, p90 = quantiles[rows].T
    pinball = np.mean([np.mean(np.maximum(q * (truth - p), (q - 1) * (truth - p))) for q, p in zip(LEVELS, (p10, p50, p90), strict=True)])
    simple = np.mean(np.abs(cases.simple[rows] - truth[:, None]), axis=0)
    return {
        "n": int(rows.sum()),
        "mae": round(100 * float(np.mean(np.abs(p50 - truth))), 4),
        "coverage80": round(100 * float(np.mean((p10 <= truth) & (truth <= p90))), 2),
        "width80": round(100 * float(np.mean(p90 - p10)), 4),
        "pinball": round(100 * float(pinball), 4),
        "baselines_mae": {name: round(100 * float(mae), 4) for name, mae in zip(BASELINES, simple, strict=True)},
    }
