"""The trained stack behind the Appraiser protocol: points become plain columns, one batch for all."""

import math
from bisect import bisect
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np

from carlien_valuation.domain.car import ACCIDENT_GRADE, Car
from carlien_valuation.listings.cells import normalise
from carlien_valuation.listings.read import EPOCH
from carlien_valuation.service.ports import Point, Spread, Support
from carlien_valuation.training.columns import CATEGORIES, Cars, displacement_in, year_in
from carlien_valuation.training.saved import SavedNetwork
from carlien_valuation.training.store import Model, load_model


class StackAppraiser:
    """See service.ports.Appraiser. Not for concurrent use: one thread at a time calls it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        encoder, card = model.stack.encoder, model.card
        self.version, self.currency = model.version, str(card["currency"])
        self.price_kind, self.synthetic = str(card["data"]["price_kind"]), bool(card["data"]["synthetic"])
        self.data_cutoff = date.fromisoformat(card["data"]["cutoff"])
        self.knows_age = card["data"]["age_p99"] is not None
        self.condition = bool({"condition_grade", "accident"} & set(encoder.guarded))
        self.usage = "usage_nature" in encoder.categories or "transfer_count" in encoder.numbers
        self.region = "region_code" in encoder.categories
        self.cold_start = Spread(model.cold_start.low, model.cold_start.high) if model.cold_start else None
        self.max_age_years = float(card["data"]["age_p99"] or np.inf)
        self.max_odometer_km = float(card["data"]["odometer_p99"] or np.inf)
        self._typical: tuple[list[float], list[float]] | None = None
        if "odometer_km" in encoder.guarded:
            self._typical = encoder.typical_ages.tolist(), encoder.typical_km.tolist()
        self._has_models = encoder.levels[:2] == [["make"], ["model"]]

    def values(self, points: Sequence[Point]) -> np.ndarray:
        """P10, P50, P90 of each point, (n, 3)."""
        encoder = self.model.stack.encoder
        # States of one car, and cars of one description, differ in little but the guarded columns: what they share is encoded once.
        distinct: dict[tuple[object, ...], int] = {}
        first: list[Point] = []
        rows = []
        for point in points:
            key = _shared(point)
            row = distinct.get(key)
            if row is None:
                row = distinct[key] = len(first)
                first.append(point)
            rows.append(row)
        shared = encoder.encode(encoder.completed(self._columns(first)))
        encoded = encoder.states(shared, np.array(rows), self._guarded(points))
        result: np.ndarray = np.exp(self.model.stack.log_quantiles_of(encoded))
        return result

    def support(self, cars: Sequence[Car]) -> list[Support]:
        """Training cars of the same model, and whether make and model are known."""
        tables = self.model.stack.encoder.target.tables
        result = []
        for car in cars:
            make = _name(car.make)
            hit = tables[0].get(make)
            if not self._has_models:
                result.append(Support(hit[1] if hit else 0, hit is None, unknown_model=False))
                continue
            model = tables[1].get(f"{make}\0{_name(car.model)}")
            result.append(Support(model[1] if model else 0, hit is None, hit is not None and model is None))
        return result

    def typical_odometer(self, age_years: float) -> float:
        """Median kilometres at an age."""
        if math.isnan(age_years) or not self._typical:
            return 0.0
        # Plain Python: one number at a time costs numpy ten times as much.
        ages, distances = self._typical
        above = bisect(ages, age_years)
        if above == 0 or above == len(ages):
            return distances[above - 1 if above else 0]
        share = (age_years - ages[above - 1]) / (ages[above] - ages[above - 1])
        return distances[above - 1] + share * (distances[above] - distances[above - 1])

    def warm(self) -> None:
        """Have everything compiled, so that the first caller doesn't wait for it."""
        car = Car("", next(iter(self.model.stack.encoder.target.tables[0]), ""), "")
        self.values([Point(car, self.data_cutoff, 1.0, 10_000.0)])

    def _guarded(self, points: Sequence[Point]) -> Cars:
        grades = [point.car.grade if point.condition else None for point in points]
        return Cars(
            {},
            {
                "age_years": _numbers([point.age_years for point in points]),
                "odometer_km": _numbers([point.odometer_km for point in points]),
                "condition_grade": _numbers(grades),
                "accident": _numbers([None if grade is None else 2.0 if grade == ACCIDENT_GRADE else 0.0 for grade in grades]),
            },
        )

    def _columns(self, points: Sequence[Point]) -> Cars:
        cars = [point.car for point in points]
        text = {name: [""] * len(points) for name in CATEGORIES}
        text |= {
            "make": [_name(car.make) for car in cars],
            "model": [_name(car.model) for car in cars],
            "trim": [_name(car.trim) for car in cars],
            "fuel_type": [car.fuel_type.casefold() for car in cars],
            "color": [_name(car.color) for car in cars],
            "region_code": [_name(point.car.region_code) if point.region else "" for point in points],
            "usage_nature": [point.car.usage.casefold() if point.usage else "private" for point in points],
        }

        columns = {
            **self._guarded(points).numbers,
            "new_price": _numbers([None if car.new_price is None else float(car.new_price) for car in cars]),
            "transfer_count": _numbers([(point.car.transfer_count or 0) if point.usage else 0 for point in points]),
            "market_years": _numbers([(point.market_date - EPOCH).days / 365.25 for point in points]),
            "model_year": _numbers([year_in(trim) for trim in text["trim"]]),
            "engine_l": _numbers([displacement_in(trim) for trim in text["trim"]]),
            "power_kw": np.full(len(points), np.nan),
        }
        return self.model.stack.encoder.with_attributes(Cars(text, columns))


def _shared(point: Point) -> tuple[object, ...]:
    """What tells points apart that can't share an encoding: everything but the guarded columns, and which of those are missing."""
    car = point.car
    used = (car.usage, car.transfer_count) if point.usage else None
    region = car.region_code if point.region else ""
    missing = (point.odometer_km is None, math.isnan(point.age_years), car.grade is None or not point.condition)
    return (
        car.make, car.model, car.trim, car.fuel_type, car.color, car.new_price, used, region, point.market_date, missing
    )  # fmt: skip


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


@lru_cache(50_000)
def _name(text: str) -> str:
    return normalise(text).casefold()


def load_appraiser(directory: Path) -> StackAppraiser:
    """Load, check and warm a model directory; raises DomainError MODEL_*."""
    model = load_model(directory, SavedNetwork(directory / "network"))
    appraiser = StackAppraiser(model)
    appraiser.warm()
    return appraiser
