"""A file of repeated prices to a panel. Its mapping is that of a listings file plus a `panel` section.

```yaml
panel:
  new_model_year: 32000        # a model year that means: a new car, whatever the month
  score: {max_age_years: 10, new: false}
fields:                        # as for listings; `as_of` is the month of the price
  make: make
  model: model
  fuel_type: fuel
  model_year: model_year
  price: price_brl
  as_of: {column: month, format: '%Y-%m'}
attributes:
  code: {column: fipe_code, kind: category}   # optional; else make, model and trim make a series
```
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jsonschema import Draft202012Validator

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, invalid
from carlien_valuation.listings.mapping import Mapping, parse_mapping
from carlien_valuation.listings.read import EPOCH, Rejections, read_listings
from carlien_valuation.series.panel import NEW, Ints, Panel, format_month, month_number

MAX_REJECTED = 0.5
"""A larger share of rows without a usable price, month or model year, and the mapping is taken to be wrong."""
NO_MODEL_YEAR = 0
"""Model year of a series that states none."""


@dataclass(frozen=True)
class PanelMapping:
    """A listings mapping and how its rows make series."""

    rows: Mapping
    new_model_year: int | None
    max_age_years: float | None
    score_new: bool
    is_panel: bool = True
    """Whether the mapping has a `panel` section, so that its rows make series."""


@dataclass(frozen=True)
class ReadPanel:
    """The panel, and what was not used for it."""

    panel: Panel
    rows_read: int
    duplicates: int
    rejections: Rejections


def load_panel_mapping(path: Path) -> PanelMapping:
    """Read and check a panel mapping; raises DomainError MAPPING_* naming every fault."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid("mapping", "MAPPING_NOT_FOUND", f"the mapping file {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "MAPPING_UNREADABLE", f"{path} is not YAML in UTF-8: {error}") from None
    return parse_panel_mapping(document, str(path))


def parse_panel_mapping(document: object, name: str = "mapping") -> PanelMapping:
    """Check a panel mapping document; raises DomainError MAPPING_INVALID."""
    document = dict(document) if isinstance(document, dict) else document
    is_panel = isinstance(document, dict) and "panel" in document
    section = document.pop("panel", {}) if isinstance(document, dict) else {}
    schema = json.loads(files("carlien_valuation.schemas").joinpath("panel.schema.json").read_text(encoding="utf-8"))
    faults = [
        FieldViolation(".".join(["panel", *map(str, error.absolute_path)]), "MAPPING_INVALID", error.message)
        for error in Draft202012Validator(schema).iter_errors(section)
    ]
    if faults:
        raise DomainError(ErrorKind.INVALID, "MAPPING_INVALID", f"{name} is not a valid panel mapping", faults)
    rows = parse_mapping(document, name)
    if "as_of" not in rows.fields:
        raise invalid("fields.as_of", "MAPPING_INVALID", f"{name} doesn't say where the month of a price is")
    score: dict[str, Any] = section.get("score", {})
    return PanelMapping(rows, section.get("new_model_year"), score.get("max_age_years"), bool(score.get("new", True)), is_panel)


def read_panel(paths: Sequence[Path], mapping: PanelMapping) -> ReadPanel:
    """Rows to series; raises DomainError PANEL_* for files that make no panel.

    A series is a code (or make, model and trim), a fuel and a model year. Several prices of a series in a month are
    duplicates: their median counts.
    """
    table = read_listings(paths, mapping.rows)
    frame, rejections = table.frame, table.rejections
    for reason, bad, message in (
        ("PRICE_MISSING", frame["price"].isna(), "no price"),
        ("PRICE_NOT_POSITIVE", frame["price"] <= 0, "price not positive"),
        ("MONTH_MISSING", frame["as_of"].isna(), "no month"),
    ):
        for source in frame.loc[bad.fillna(value=False), "source"]:
            rejections.add(str(source), reason, message)
    frame = frame[~frame["source"].isin(rejections.by_source.keys())].copy()
    if rejections.total > MAX_REJECTED * table.rows_read or frame.empty:
        raise invalid("panel", "PANEL_UNUSABLE", f"{rejections.total} of {table.rows_read} rows can't be used: {rejections.summary()}")
    return _assemble(frame, mapping, table.rows_read, rejections)


def _assemble(frame: pd.DataFrame, mapping: PanelMapping, rows_read: int, rejections: Rejections) -> ReadPanel:
    days = [EPOCH + timedelta(days=float(day)) for day in frame["as_of"]]
    month = np.array([month_number(day.year, day.month) for day in days])
    code = frame["attribute:code"] if "attribute:code" in frame else frame["make"] + "\0" + frame["model"] + "\0" + frame["trim"]
    code = code + "\0" + frame["fuel_type"]
    year = frame["model_year"].fillna(NO_MODEL_YEAR).astype(np.int64)
    if mapping.new_model_year is not None:
        year = year.where(year != mapping.new_model_year, NEW)
    frame = frame.assign(month=month, code=code, year=year, series=code + "\0" + year.astype(str))
    if len(frame["month"].unique()) < 2:
        only = format_month(int(month[0]))
        raise invalid("panel", "PANEL_ONE_MONTH", f"all prices are of {only}; a forecast needs a later month to be scored on")
    prices = frame.groupby(["series", "month"], sort=True)["price"].median()
    first = frame.drop_duplicates("series").set_index("series").sort_index()
    start, width = int(month.min()), int(np.ptp(month)) + 1
    log_price = np.full((len(first), width), np.nan)
    rows = first.index.get_indexer(prices.index.get_level_values(0))
    log_price[rows, prices.index.get_level_values(1).to_numpy() - start] = np.log(prices.to_numpy())
    panel = Panel(
        log_price=log_price,
        first_month=start,
        make=_codes(first["make"]),
        family=_codes(first["make"] + "\0" + first["model"].str.split().str[0].fillna("").str.casefold()),
        code=_codes(first["code"]),
        fuel=_codes(first["fuel_type"]),
        model_year=first["year"].to_numpy(dtype=np.int64),
        names=tuple(first.index.str.replace("\0", " ", regex=False)),
    )
    return ReadPanel(panel, rows_read, len(frame) - len(prices), rejections)


def _codes(labels: pd.Series) -> Ints:
    return np.asarray(pd.factorize(labels)[0], dtype=np.int64)
