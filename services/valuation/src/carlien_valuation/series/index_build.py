"""Indices of a file of prices: one per segment and method."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd

from carlien_common.domain.errors import invalid
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, Publication, hash_inputs
from carlien_valuation.domain.market_index import Index, Prices, hedonic, repeat_price
from carlien_valuation.series.panel import NEW

MIN_USE_KM = 1_000.0
SEGMENT_COLUMNS = ("make", "fuel_type", "body_type", "seller_type")


@dataclass(frozen=True)
class Priced:
    """Rows of a price file: `frame` has month (number), price, age_years, odometer_km, model (text), item (text or ""), and labels."""

    frame: pd.DataFrame


def build(
    priced: Priced, *, region: str, by: Sequence[str], vintage: int | None, base: int | None, now: datetime | None = None
) -> list[Publication]:
    """Indices of the whole market and of every value of the columns `by`, from prices up to the month `vintage` (the last, if None).

    Raises DomainError INDEX_NO_PRICES, INDEX_SEGMENT_COLUMN. Segments too thin for an index are left out.
    """
    unknown = [column for column in by if column not in SEGMENT_COLUMNS]
    if unknown:
        raise invalid("by", "INDEX_SEGMENT_COLUMN", f"{', '.join(unknown)} is none of {', '.join(SEGMENT_COLUMNS)}")
    frame = priced.frame if vintage is None else priced.frame[priced.frame["month"] <= vintage]
    if frame.empty:
        raise invalid("vintage", "INDEX_NO_PRICES", "there are no prices up to that month")
    last = int(frame["month"].max()) if vintage is None else vintage
    published_at = now or datetime.now(UTC)
    publications: list[Publication] = []
    for segment, rows in _segments(frame, by):
        for key, index in _estimates(rows, segment, region, base):
            points = tuple(
                IndexPoint(_first(int(month)), float(level), float(error), int(n))
                for month, level, error, n in zip(index.month, index.level, index.standard_error, index.n, strict=True)
            )
            publications.append(Publication(key, _first(last), _first(index.base), points, _hash(rows), published_at))
    return publications


def _estimates(rows: pd.DataFrame, segment: str, region: str, base: int | None) -> Iterable[tuple[IndexKey, Index]]:
    prices = _prices(rows)
    index = hedonic(prices, base)
    if index is None:
        return
    yield IndexKey(segment, region, "hedonic"), index
    if (rows["item"] == "").all():
        return
    items = np.asarray(pd.factorize(rows["item"])[0], dtype=np.int64)
    repeated = repeat_price(prices, items, index.age_profile, base)
    if repeated is not None:
        yield IndexKey(segment, region, "repeat_price"), repeated


def _segments(frame: pd.DataFrame, by: Sequence[str]) -> Iterable[tuple[str, pd.DataFrame]]:
    yield "all", frame
    for column in by:
        for value, rows in frame.groupby(column, sort=True):
            if str(value).strip():
                yield f"{column}:{str(value).strip().casefold()}", rows


def _prices(rows: pd.DataFrame) -> Prices:
    age = rows["age_years"].to_numpy(dtype=np.float64)
    odometer = rows["odometer_km"].to_numpy(dtype=np.float64)
    known = ~np.isnan(odometer)
    use = np.zeros(len(rows))
    if known.any():
        per_year = np.maximum(odometer, MIN_USE_KM) / np.maximum(age, 0.5)
        use = np.where(known, np.log(per_year / np.nanmedian(per_year)), 0.0)
    return Prices(
        np.log(rows["price"].to_numpy(dtype=np.float64)),
        rows["month"].to_numpy(dtype=np.int64),
        np.asarray(pd.factorize(rows["model"])[0], dtype=np.int64),
        age,
        use,
    )


def _hash(rows: pd.DataFrame) -> str:
    columns = rows[["model", "item", "month", "price", "age_years", "odometer_km"]].astype(str)
    return hash_inputs(list(columns.itertuples(index=False, name=None)))


def _first(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)


def priced_rows(frame: pd.DataFrame, *, new_model_year: int | None, panel: bool) -> Priced:
    """Typed rows of a price file (listings.read) to priced cars; rows without a month, a price or an age are left out.

    Of a panel, a series (code or make, model and trim; fuel; model year) is an item; zero-kilometre series are of age 0.
    """
    code = frame["attribute:code"] if "attribute:code" in frame else frame["make"] + " " + frame["model"] + " " + frame["trim"]
    day = pd.to_datetime(frame["as_of"], unit="D")
    month = day.dt.year * 12 + day.dt.month - 1
    registered = (frame["as_of"] - frame["registered"]) / 365.25
    year = frame["model_year"]
    new = year == new_model_year if new_model_year is not None else pd.Series(data=False, index=frame.index)
    age = registered.where(registered.notna(), month / 12 - year.where(~new)).where(~new, 0.0)
    model = code + " " + frame["fuel_type"]
    out = pd.DataFrame(
        {
            "month": month,
            "price": frame["price"],
            "age_years": age,
            "odometer_km": frame["odometer_km"],
            "model": model,
            "item": (model + " " + year.where(~new, NEW).astype(str)) if panel else "",
            **{column: frame[column] for column in SEGMENT_COLUMNS},
        }
    )
    usable = out["month"].notna() & (out["price"] > 0) & out["age_years"].between(-2, 60)
    out = out[usable].copy()
    out["month"] = out["month"].astype(np.int64)
    out["age_years"] = out["age_years"].clip(lower=0.0)
    if out.empty:
        raise invalid("panel", "INDEX_NO_PRICES", "no row has a month, a price and an age")
    return Priced(out)


def summary(publication: Publication) -> dict[str, object]:
    """For a report."""
    return {
        "segment": publication.key.segment,
        "region": publication.key.region,
        "method": publication.key.method,
        "vintage": f"{publication.vintage:%Y-%m}",
        "base_month": f"{publication.base_month:%Y-%m}",
        "input_hash": publication.input_hash,
        "methodology_version": publication.methodology_version,
        "points": [
            {"month": f"{p.month:%Y-%m}", "level": round(p.level, 4), "standard_error": round(p.standard_error, 6), "n": p.sample_size}
            for p in publication.points
        ],
    }
