"""The battery estimate against ten in-service packs whose capacity was measured (BatICM set)."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_telematics.domain.battery import MIN_RISE, Z80, ChargeSegment, battery_health, relative_error

_ANY = datetime(2020, 1, 1, tzinfo=UTC)
"""The set has no times, and the estimate needs none."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack: its charge segments from empty to full, and what it really holds as a share of its rated capacity."""

    name: str
    rated_ah: float
    soh: float
    segments: Sequence[ChargeSegment]

    def stretches(self) -> Iterator[Sequence[ChargeSegment]]:
        """Every run of neighbouring segments that is long enough for an estimate: what a car in service may have charged."""
        for first in range(len(self.segments)):
            for last in range(first + 1, len(self.segments) + 1):
                run = self.segments[first:last]
                if sum(segment.rise for segment in run) >= MIN_RISE:
                    yield run


def read_packs(folder: Path) -> list[Pack]:
    """Raises INVALID BATTERY_DATA."""
    try:
        with (folder / "vehicles.csv").open(newline="") as file:
            return [_pack(folder, row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise invalid("--data", "BATTERY_DATA", f"{folder}: {error}") from error


def _pack(folder: Path, row: Mapping[str, str]) -> Pack:
    charge: dict[tuple[str, str], list[float]] = {}
    with (folder / f"vehicle_{int(row['vehicle']):02d}.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            charge.setdefault((line["segment"], line["soc_range"]), []).append(float(line["Q"]))
    segments = []
    for (_, span), readings in charge.items():
        low, high = map(float, span.split("-"))
        if high > low:
            segments.append(ChargeSegment(_ANY, _ANY, low, high, max(readings) - min(readings)))
    return Pack(row["vehicle"], float(row["rated_Ah"]), float(row["soh"]), segments)


def fit(packs: Sequence[Pack]) -> tuple[float, float]:
    """TAU and SIGMA by maximum likelihood over a grid, each pack with the same weight, then widened to cover 80 %."""
    rows = []
    for pack in packs:
        runs = list(pack.stretches())
        rows += [(_error(pack, run), run, 1 / len(runs)) for run in runs]
    error = np.array([row[0] for row in rows])
    weight = np.array([row[2] for row in rows])

    rounding = np.array([relative_error(run, 0.0, 0.0) ** 2 for _, run, _ in rows])
    bridge = np.array([relative_error(run, 1.0, 0.0) ** 2 for _, run, _ in rows]) - rounding

    def deviation(tau: float, sigma: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        deviations: np.ndarray[Any, np.dtype[np.float64]] = np.sqrt(sigma**2 + tau**2 * bridge + rounding)
        return deviations

    def likelihood(tau: float, sigma: float) -> float:
        variance = deviation(tau, sigma) ** 2
        return float(-(weight * (np.log(variance) + error**2 / variance)).sum())

    grid = [(float(tau), float(sigma)) for tau in np.arange(0.04, 0.16, 0.005) for sigma in np.arange(0.005, 0.05, 0.005)]
    tau, sigma = max(grid, key=lambda pair: likelihood(*pair))
    far = np.abs(error) / deviation(tau, sigma)
    order = np.argsort(far)
    reached = np.cumsum(weight[order]) / weight.sum()
    # one more pack than were seen: the share that must be covered is a little higher (conformal prediction)
    at = min(len(order) - 1, int(np.searchsorted(reached, 0.8 * (1 + 1 / len(packs)))))
    widened = float(far[order][at]) / Z80
    return tau * widened, sigma * widened


def evaluate(packs: Sequence[Pack]) -> dict[str, Any]:
    """Each pack with parameters fitted on the others; errors in percentage points of state of health."""
    per_pack: list[dict[str, Any]] = []
    for pack in packs:
        tau, sigma = fit([other for other in packs if other is not pack])
        runs = list(pack.stretches())
        partial = [health for run in runs if (health := battery_health(run, pack.rated_ah, tau=tau, sigma=sigma))]
        whole = battery_health(pack.segments, pack.rated_ah, tau=tau, sigma=sigma)
        true = 100 * pack.soh
        if whole is None or not partial:
            continue
        per_pack.append(
            {
                "pack": pack.name,
                "soh_percent": round(true, 1),
                "estimate_percent": whole.soh_percent,
                "error": round(whole.soh_percent - true, 1),
                "stretches": len(partial),
                "stretch_mean_error": round(float(np.mean([abs(health.soh_percent - true) for health in partial])), 1),
                "stretch_coverage80": round(float(np.mean([health.low_percent <= true <= health.high_percent for health in partial])), 3),
                "stretch_mean_width": round(float(np.mean([health.high_percent - health.low_percent for health in partial])), 1),
                "whole_covered": whole.low_percent <= true <= whole.high_percent,
            }
        )
    tau, sigma = fit(packs)
    return {
        "packs": len(per_pack),
        "mae_whole_charge": round(float(np.mean([abs(entry["error"]) for entry in per_pack])), 2),
        "max_error_whole_charge": max(abs(entry["error"]) for entry in per_pack),
        "coverage80_whole_charge": round(float(np.mean([entry["whole_covered"] for entry in per_pack])), 3),
        "mae_stretches": round(float(np.mean([entry["stretch_mean_error"] for entry in per_pack])), 2),
        "coverage80_stretches": round(float(np.mean([entry["stretch_coverage80"] for entry in per_pack])), 3),
        "mean_width_stretches": round(float(np.mean([entry["stretch_mean_width"] for entry in per_pack])), 2),
        "tau": round(tau, 3),
        "sigma": round(sigma, 3),
        "by_pack": per_pack,
    }


def _error(pack: Pack, run: Sequence[ChargeSegment]) -> float:
    charge, rise = sum(segment.charge_ah for segment in run), sum(segment.rise for segment in run)
    return charge / (rise / 100) / pack.rated_ah / pack.soh - 1
