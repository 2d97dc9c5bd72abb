"""Listings of an invented market with known truth: new price, depreciation, distance, condition, usage, region, market level, noise."""

import csv
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

MONTHS = 24
NOISE = 0.06
"""Standard deviation of what sellers ask beyond the car's truth, in log price."""

HEADER = (
    "listing",
    "listed",
    "make",
    "model",
    "trim",
    "fuel",
    "transmission",
    "litres",
    "registered",
    "odometer_km",
    "region",
    "usage",
    "transfers",
    "grade",
    "accident",
    "color",
    "guide_price",
    "price",
)

MAPPING = """# Mapping of the simulated listings beside this file (`carlien-valuation sample-data`).
description: Simulated listings of an invented market
price_kind: ask_retail
fields:
  make: make
  model: model
  trim: trim
  fuel_type: fuel
  transmission: transmission
  engine_l: litres
  first_registration: {column: registered, format: "%Y-%m-%d"}
  odometer_km: odometer_km
  region_code: region
  usage_nature: usage
  transfer_count: transfers
  condition_grade: grade
  accident: accident
  color: color
  new_price: guide_price
  price: price
  currency: {constant: CNY}
  as_of: {column: listed, format: "%Y-%m-%d"}
"""


@dataclass(frozen=True, slots=True)
class _Catalogue:
    models: list[list[Any]]
    trims: list[list[Any]]
    regions: dict[str, float]
    colors: dict[str, float]
    usage: dict[str, list[float]]
    condition: dict[int, list[float]]


def market_level(months_before_end: np.ndarray) -> np.ndarray:
    """Log level of the whole market by months before its last one: a slow fall with a swing, as markets do; same shape."""
    return 0.004 * months_before_end + 0.03 * np.sin(months_before_end / 6.0)


def simulate(rows: int, seed: int, until: date) -> list[tuple[Any, ...]]:
    """That many listings up to `until`, as rows under HEADER; the same for the same arguments."""
    catalogue = _Catalogue(**yaml.safe_load(files("carlien_valuation.simulation").joinpath("catalogue.yaml").read_text(encoding="utf-8")))
    random = np.random.default_rng(seed)
    model_shares = np.array([model[6] for model in catalogue.models], float)
    chosen = random.choice(len(catalogue.models), rows, p=model_shares / model_shares.sum())
    return [_listing(number, catalogue, catalogue.models[model], random, until) for number, model in enumerate(chosen, start=1)]


def _pick(shares: dict[Any, Any], random: np.random.Generator) -> Any:
    names = list(shares)
    weights = np.array([shares[name][0] if isinstance(shares[name], list) else shares[name] for name in names], float)
    return names[int(random.choice(len(names), p=weights / weights.sum()))]


def _listing(number: int, catalogue: _Catalogue, model: list[Any], random: np.random.Generator, until: date) -> tuple[Any, ...]:
    make, name, first_year, base, litres, fuel, _, kept = model
    days_before = int(random.integers(0, MONTHS * 30))
    listed = until - timedelta(days=days_before)
    oldest = min((listed - date(first_year, 3, 1)).days / 365.25, 13.0)
    age = float(np.clip(random.gamma(2.2, 2.1), 0.15, max(oldest, 0.2)))
    registered = listed - timedelta(days=round(age * 365.25))
    model_year = max(first_year, registered.year - int(random.random() < 0.35))
    trims = [trim for trim in catalogue.trims if trim[2]] if litres == 0 else catalogue.trims
    trim_name, dearer, automatic = trims[int(random.integers(len(trims)))]
    # A common nameplate is offered with a larger engine as well.
    larger = litres > 0 and random.random() < 0.25
    size = round(litres + 0.4, 1) if larger else litres
    guide = round(base * 10 * dearer * (1.12 if larger else 1.0) * (1 + 0.01 * (model_year - first_year)), 0) * 100
    usage = "PRIVATE" if age < 0.5 else _pick(catalogue.usage, random)
    _, more_driven, usage_price = catalogue.usage[usage]
    odometer = max(50, int(age * 13_000 * more_driven * random.lognormal(0, 0.35)))
    grade = int(_pick(catalogue.condition, random))
    accident = "MAJOR" if grade == 5 else "MINOR" if random.random() < 0.08 else "NO"
    transfers = int(random.poisson(0.18 * age))
    region = _pick(dict.fromkeys(catalogue.regions, 1.0), random)
    color = _pick(catalogue.colors, random)
    expected = age * 13_000
    log_price = (
        np.log(guide)
        - 0.10
        + age * np.log(kept)
        - 0.055 * (odometer - expected) / 20_000
        + np.log(usage_price)
        + np.log(catalogue.condition[grade][1])
        + (-0.03 if accident == "MINOR" else 0.0)
        - 0.015 * min(transfers, 4)
        + np.log(catalogue.regions[region])
        + (0.01 if color in {"白", "黑"} else 0.0)
        + (0.02 if automatic else 0.0)
        + float(market_level(np.array(days_before / 30.0)))
    )
    noise = random.normal(0, NOISE) + (random.normal(0, 0.15) if random.random() < 0.03 else 0.0)
    price = max(3_000, round(float(np.exp(log_price + noise)) / 100) * 100)
    engine = f"{size}L" if size else "纯电"
    return (
        f"S{number:07d}",
        listed.isoformat(),
        make,
        name,
        f"{model_year}款 {engine} {trim_name}",
        fuel,
        "AUTOMATIC" if automatic else "MANUAL",
        size or "",
        registered.isoformat(),
        odometer,
        region,
        usage,
        transfers,
        grade,
        accident,
        color,
        int(guide),
        price,
    )


def write_sample(directory: Path, rows: int, seed: int, until: date) -> tuple[Path, Path]:
    """Write listings.csv and mapping.yaml; returns both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    listings, mapping = directory / "listings.csv", directory / "mapping.yaml"
    with listings.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(simulate(rows, seed, until))
    mapping.write_text(MAPPING, encoding="utf-8")
    return listings, mapping
