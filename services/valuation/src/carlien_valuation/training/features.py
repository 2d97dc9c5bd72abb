"""One set of encodings for both learners, kept so that the monotone guarantee can hold.

Age, odometer, condition grade and accident severity stay single columns (`guarded`), each non-increasing in value. No other
column may be computed from them: an encoding by year or mileage would let value rise through the back door.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from carlien_valuation.training.columns import CATEGORIES, NUMBERS, Cars
from carlien_valuation.training.target import TargetEncoder, fit_target
from carlien_valuation.training.text import TextEncoder, fit_text

GUARDED = ("age_years", "odometer_km", "condition_grade", "accident")
FREE_NUMBERS = ("new_price", "model_year", "market_years", *NUMBERS)
RARE = 3
"""Categories with fewer training rows share one code."""

MAX_CATEGORIES = 30_000


@dataclass(frozen=True, slots=True)
class Encoded:
    """n encoded cars; all float32, missing filled, except `boosting`, where NaN is missing."""

    guarded: np.ndarray
    """(n, g): the guarded columns in their own units, missing filled with what is typical."""
    free: np.ndarray
    """(n, f): numbers as positions in their training distribution, encodings, latent text directions."""
    codes: np.ndarray
    """(n, c) int32: category codes for embeddings, 0 = unknown or rare."""
    boosting: np.ndarray
    """(n, b): guarded columns first, then raw numbers, encodings and small categories for LightGBM. With `rows`, of the descriptions."""
    support: np.ndarray
    """(n, levels): training cars behind each nested level."""
    log_new_price: np.ndarray
    """(n,): log price when new, filled where missing; zero where the data has none."""
    rows: np.ndarray | None = None
    """(n,): which row of `free`, `codes` and `boosting`, then fewer than n, each car has; None: its own."""

    def __len__(self) -> int:
        return len(self.guarded)


@dataclass(slots=True)
class Encoder:
    """Everything learned from the training rows that turns Cars into Encoded."""

    guarded: list[str]
    numbers: list[str]
    """Free numeric columns in use."""
    categories: list[str]
    """Text columns with few values in use."""
    levels: list[list[str]]
    """Columns that make each nested key, outermost first."""
    typical_ages: np.ndarray
    typical_km: np.ndarray
    """Median odometer by age, non-decreasing: what a missing odometer is filled with."""
    fill: dict[str, float]
    knots: dict[str, np.ndarray]
    vocabulary: dict[str, dict[str, int]]
    target: TargetEncoder
    text: TextEncoder | None
    new_price: TargetEncoder | None
    """Encodes log price when new, to fill it where it is missing."""
    defaults: dict[str, dict[str, str | float]] = field(default_factory=dict)
    """What a car of each model usually has, for columns nearly every training row states: column -> model key ("" = any) -> value."""
    free_centre: np.ndarray = field(default_factory=lambda: np.zeros(0))
    free_scale: np.ndarray = field(default_factory=lambda: np.ones(0))

    def typical_odometer(self, age_years: np.ndarray) -> np.ndarray:
        """Median kilometres of a car of that age in the training data, shape (n,)."""
        result: np.ndarray = np.interp(age_years, self.typical_ages, self.typical_km)
        return result

    def keys(self, cars: Cars) -> list[list[str]]:
        """Nested keys, keys[level][row]."""
        result: list[list[str]] = []
        cells = {name: _as_text(cars, name) for level in self.levels for name in level}
        for index, level in enumerate(self.levels):
            parts = [cells[name] for name in level]
            own = ["\0".join(row) for row in zip(*parts, strict=True)] if len(parts) > 1 else list(parts[0])
            result.append(own if index == 0 else [f"{outer}\0{inner}" for outer, inner in zip(result[-1], own, strict=True)])
        return result

    def texts(self, cars: Cars) -> list[str]:
        """The free text of each car."""
        return [
            f"{make} {model} {trim}" for make, model, trim in zip(cars.text["make"], cars.text["model"], cars.text["trim"], strict=True)
        ]

    def filled_new_price(self, cars: Cars, keys: list[list[str]]) -> np.ndarray:
        """Log price when new, filled from the nearest level where missing, shape (n,)."""
        with np.errstate(invalid="ignore"):
            stated = np.log(np.where(cars.numbers["new_price"] > 0, cars.numbers["new_price"], np.nan))
        if self.new_price is None or not np.isnan(stated).any():
            return stated
        means, _ = self.new_price.encode(keys)
        return np.where(np.isnan(stated), means[:, -1], stated)

    def with_attributes(self, cars: Cars) -> Cars:
        """The same cars with every column of the training data; those they lack are empty."""
        text = {name: [""] * len(cars) for name in self.categories if name not in cars.text}
        numbers = {name: np.full(len(cars), np.nan) for name in self.numbers if name not in cars.numbers}
        return Cars({**cars.text, **text}, {**cars.numbers, **numbers})

    def completed(self, cars: Cars) -> Cars:
        """Cells that nearly every training row states are filled where missing: from the trim's words, else what is usual for the model.

        A request has no gearbox or tax field; without this the learners would meet gaps they never saw.
        """
        text, numbers = dict(cars.text), dict(cars.numbers)
        models = [f"{make}\0{model}" for make, model in zip(cars.text["make"], cars.text["model"], strict=True)]
        for name, table in self.defaults.items():
            usual = table[""]
            if name in text:
                words = sorted((value for value in self.vocabulary.get(name, ()) if len(value) > 2), key=len, reverse=True)
                text[name] = [
                    cell or next((word for word in words if word in trim), "") or str(table.get(model, usual))
                    for cell, trim, model in zip(text[name], text["trim"], models, strict=True)
                ]
            elif np.isnan(numbers[name]).any():
                filled = np.array([float(table.get(model, usual)) for model in models])
                numbers[name] = np.where(np.isnan(numbers[name]), filled, numbers[name])
        return Cars(text, numbers)

    def encode(self, cars: Cars) -> Encoded:
        """Encode cars that were not used to fit."""
        keys = self.keys(cars)
        means, counts = self.target.encode(keys)
        text = self.text.encode(self.texts(cars)) if self.text else np.zeros((len(cars), 0), np.float32)
        return self.assemble(cars, keys, means, counts, text)

    def assemble(self, cars: Cars, keys: list[list[str]], means: np.ndarray, counts: np.ndarray, text: np.ndarray) -> Encoded:
        """Put encodings (out of fold for training rows) and raw columns together."""
        guarded, absent = self._guarded(cars)
        raw = np.column_stack([self._number(cars, keys, name) for name in self.numbers]) if self.numbers else np.zeros((len(cars), 0))
        small = [self._codes(name, cars.text[name]) for name in self.categories]
        large = [self._codes(f"level{level}", keys[level]) for level in range(len(self.levels))]
        placed = [_placed(raw[:, index], self.knots[name]) for index, name in enumerate(self.numbers)]
        dense = np.column_stack([means, np.log1p(counts), text])
        if len(self.free_scale):
            dense = (dense - self.free_centre) / self.free_scale
        free = np.column_stack([absent, *placed, dense]).astype(np.float32)
        boosting = np.column_stack([guarded, raw, means, np.log1p(counts[:, 1:]), text, *small, *large[1:2]])
        return Encoded(
            guarded.astype(np.float32),
            free,
            np.column_stack([*small, *large]).astype(np.int32),
            boosting.astype(np.float32),
            counts.astype(np.float32),
            raw[:, self.numbers.index("new_price")] if "new_price" in self.numbers else np.zeros(len(cars)),
        )

    def states(self, encoded: Encoded, rows: np.ndarray, cars: Cars) -> Encoded:
        """Encoded cars at other ages, odometers, conditions: state i is car `rows[i]` with the guarded columns of `cars` row i.

        What is missing of them must be missing in the encoded car as well: that is told apart among what states share.
        """
        guarded, _ = self._guarded(cars)
        return Encoded(
            guarded.astype(np.float32), encoded.free, encoded.codes, encoded.boosting, encoded.support[rows],
            encoded.log_new_price[rows], rows,
        )  # fmt: skip

    def makes(self, encoded: Encoded) -> np.ndarray:
        """The code of each car's outermost level, its make where there is one, (n,); 0 for unknown ones."""
        codes = encoded.codes[:, len(self.categories)]
        return codes if encoded.rows is None else codes[encoded.rows]

    def categorical_columns(self, width: int) -> list[int]:
        """Which columns of a boosting matrix of that width are category codes."""
        count = len(self.categories) + (1 if len(self.levels) > 1 else 0)
        return list(range(width - count, width))

    def _guarded(self, cars: Cars) -> tuple[np.ndarray, np.ndarray]:
        columns, absent = [], []
        age = np.where(np.isnan(cars.numbers["age_years"]), self.fill["age_years"], cars.numbers["age_years"])
        for name in self.guarded:
            values = cars.numbers[name]
            typical = self.typical_odometer(age) if name == "odometer_km" else self.fill[name]
            missing = np.isnan(values)
            columns.append(np.where(missing, typical, values))
            if self.fill[f"{name}?"]:
                absent.append(missing.astype(np.float32))
        return np.column_stack(columns), np.column_stack(absent) if absent else np.zeros((len(age), 0))

    def _number(self, cars: Cars, keys: list[list[str]], name: str) -> np.ndarray:
        return self.filled_new_price(cars, keys) if name == "new_price" else cars.numbers[name]

    def _codes(self, name: str, values: list[str]) -> np.ndarray:
        table = self.vocabulary[name]
        return np.array([table.get(value, 0) for value in values], np.int32)


def fit_encoder(cars: Cars, log_price: np.ndarray, fold: np.ndarray, seed: int) -> tuple[Encoder, Encoded]:
    """Learn the encodings; the training rows' own are out of fold. log_price (n,), fold (n,) fold numbers."""
    n = len(cars)
    guarded = [name for name in GUARDED if name in {"age_years"} or _share(cars.numbers[name]) > 0.05]
    attributes = [name for name in cars.numbers if name.startswith("attribute:")]
    numbers = [name for name in (*FREE_NUMBERS, *attributes) if _share(cars.numbers[name]) > 0.02 and _varies(cars.numbers[name])]
    extra = [name for name in cars.text if name.startswith("attribute:")]
    categories = [name for name in (*CATEGORIES, *extra) if len(set(cars.text[name])) > 1]
    encoder = Encoder(
        guarded=guarded,
        numbers=numbers,
        categories=categories,
        levels=_levels(cars, numbers, categories),
        typical_ages=np.zeros(1),
        typical_km=np.zeros(1),
        fill={},
        knots={},
        vocabulary={},
        target=TargetEncoder((), 0.0),
        text=None,
        new_price=None,
    )
    age = cars.numbers["age_years"]
    encoder.fill["age_years"] = _median(age, 0.0)
    encoder.typical_ages, encoder.typical_km = _typical(age, cars.numbers["odometer_km"])
    for name in guarded:
        encoder.fill.setdefault(name, _median(cars.numbers[name], 0.0))
        encoder.fill[f"{name}?"] = float(np.isnan(cars.numbers[name]).any())
    keys = encoder.keys(cars)
    if "new_price" in numbers:
        known = cars.numbers["new_price"] > 0
        encoder.new_price = fit_target(
            [[level[row] for row in np.flatnonzero(known)] for level in keys], np.log(cars.numbers["new_price"][known]), fold[known]
        )[0]
    filled = encoder.filled_new_price(cars, keys) if "new_price" in numbers else np.zeros(n)
    rest = log_price - filled - _trend(age, cars.numbers["odometer_km"], log_price - filled)
    encoder.target, means, counts = fit_target(keys, rest, fold)
    texts = encoder.texts(cars)
    text = np.zeros((n, 0), np.float32)
    if len(set(texts)) > 30:
        encoder.text, text = fit_text(texts, rest, fold, seed)
    for name in numbers:
        values = filled if name == "new_price" else cars.numbers[name]
        encoder.knots[name] = np.unique(np.nanquantile(values, np.linspace(0, 1, 13))).astype(np.float32)
    for name in categories:
        encoder.vocabulary[name] = _vocabulary(cars.text[name])
    for level, column in enumerate(keys):
        encoder.vocabulary[f"level{level}"] = _vocabulary(column)
    encoder.defaults = _defaults(cars, numbers, categories)
    dense = np.column_stack([means, np.log1p(counts), text])
    encoder.free_centre, encoder.free_scale = dense.mean(0).astype(np.float32), np.maximum(dense.std(0), 1e-3).astype(np.float32)
    return encoder, encoder.assemble(cars, keys, means, counts, text)


def _defaults(cars: Cars, numbers: list[str], categories: list[str]) -> dict[str, dict[str, str | float]]:
    """Mode or median per model and over all, for columns at least 95 % of the rows state."""
    models = pd.Series([f"{make}\0{model}" for make, model in zip(cars.text["make"], cars.text["model"], strict=True)])
    result: dict[str, dict[str, str | float]] = {}
    for name in categories:
        column = pd.Series(cars.text[name])
        if (column != "").mean() >= 0.95:
            result[name] = {str(key): str(cells.value_counts().index[0]) for key, cells in column.groupby(models)}
            result[name][""] = str(column.value_counts().index[0])
    for name in numbers:
        if name not in {"new_price", "market_years", "model_year", "transfer_count"} and _share(cars.numbers[name]) >= 0.95:
            values = pd.Series(cars.numbers[name])
            result[name] = {str(key): float(value) for key, value in values.groupby(models).median().dropna().items()}
            result[name][""] = float(values.median())
    return result


def _levels(cars: Cars, numbers: list[str], categories: list[str]) -> list[list[str]]:
    """Nested keys, each finer than the last; a level that adds nothing is left out."""
    describing = [name for name in ("engine_l", "power_kw") if name in numbers]
    attributes = [name for name in (*numbers, *categories) if name.startswith("attribute:")]
    wanted = [
        ["make"],
        ["model"],
        [*describing[:1], *_in(categories, "fuel_type")],
        [*describing[1:], *_in(categories, "transmission", "body_type", "drive")],
        ["trim"],
        attributes,
    ]
    levels: list[list[str]] = [wanted.pop(0)]  # even a single make: whether a car's make is known must be answerable
    for level in wanted:
        useful = [name for name in level if len(set(_as_text(cars, name))) > 1]
        if useful:
            levels.append(useful)
    return levels


def _in(names: list[str], *wanted: str) -> list[str]:
    return [name for name in wanted if name in names]


def _as_text(cars: Cars, name: str) -> list[str]:
    if name in cars.text:
        return cars.text[name]
    return [f"{value:g}" for value in cars.numbers[name].tolist()]


def _share(values: np.ndarray) -> float:
    return float(np.mean(~np.isnan(values)))


def _varies(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and float(np.quantile(known, 0.995) - np.quantile(known, 0.005)) > 1e-9


def _median(values: np.ndarray, default: float) -> float:
    return float(np.nanmedian(values)) if (~np.isnan(values)).any() else default


def _typical(age: np.ndarray, odometer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median odometer at about 20 ages, made non-decreasing by a running maximum."""
    known = ~np.isnan(age) & ~np.isnan(odometer)
    if known.sum() < 20:
        return np.array([0.0, 20.0]), np.array([0.0, 240_000.0])
    age, odometer = age[known], odometer[known]
    edges = np.unique(np.quantile(age, np.linspace(0, 1, 21)))
    part = np.clip(np.searchsorted(edges, age, side="right") - 1, 0, max(len(edges) - 2, 0))
    used = [bin_ for bin_ in range(max(len(edges) - 1, 1)) if (part == bin_).any()]
    ages = np.array([np.median(age[part == bin_]) for bin_ in used])
    return ages, np.maximum.accumulate(np.array([np.median(odometer[part == bin_]) for bin_ in used]))


def _trend(age: np.ndarray, odometer: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What age and distance explain by themselves, so that encodings compare cars and not their years; shape (n,)."""
    age = np.nan_to_num(age, nan=_median(age, 0.0))
    odometer = np.nan_to_num(odometer, nan=_median(odometer, 0.0)) / 1e5
    design = np.column_stack(
        [np.ones(len(age)), age, np.maximum(age - 4, 0), np.maximum(age - 10, 0), odometer, np.sqrt(np.maximum(odometer, 0))]
    )
    solution: np.ndarray = np.linalg.lstsq(design, target, rcond=None)[0]
    result: np.ndarray = design @ solution
    return result


def _vocabulary(values: list[str]) -> dict[str, int]:
    distinct, counts = np.unique(np.array(values, object), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = [str(distinct[index]) for index in order if counts[index] >= RARE][:MAX_CATEGORIES]
    return {name: code for code, name in enumerate(kept, start=1)}


def _placed(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Piecewise-linear encoding between training quantiles (Gorishniy et al. 2022), with a last column for missing; (n, k)."""
    missing = np.isnan(values)
    if len(knots) < 2:
        result: np.ndarray = missing[:, None].astype(np.float32)
        return result
    filled = np.where(missing, knots[len(knots) // 2], values)[:, None]
    return np.column_stack([np.clip((filled - knots[:-1]) / (knots[1:] - knots[:-1]), 0, 1), missing]).astype(np.float32)
