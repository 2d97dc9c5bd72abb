"""Loan files as a table of numbers, read through a mapping (schemas/loans-mapping.schema.json)."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from carlien_common.domain.errors import invalid

_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "None"]
_MIN_ROWS = 200
_MAX_CODES = 50
_FEW_CODES = 9


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing a model may learn from. `effect`: auto, rising or falling default risk. `codes`: text of each category code."""

    name: str
    category: bool
    effect: str
    codes: dict[str, float]


@dataclass(frozen=True, slots=True)
class Loans:
    """`x`: rows x attributes, NaN where missing; `y`: 1 where the loan defaulted."""

    attributes: tuple[Attribute, ...]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.int64]
    rows_read: int
    description: str


def read_mapping(path: Path) -> dict[str, Any]:
    """A mapping that keeps its schema. INVALID naming where it doesn't."""
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "FILE_UNREADABLE", f"{path}: {error}") from error
    schema = json.loads(files("carlien_pricing.schemas").joinpath("loans-mapping.schema.json").read_text(encoding="utf-8"))
    # YAML keys may be numbers where the schema means texts.
    mapping = json.loads(json.dumps(mapping))
    validator = jsonschema.Draft202012Validator(schema)
    for problem in sorted(validator.iter_errors(mapping), key=lambda found: list(found.absolute_path)):
        place = ".".join(str(part) for part in problem.absolute_path) or "mapping"
        raise invalid(place, "MAPPING_INVALID", problem.message)
    found: dict[str, Any] = mapping
    return found


def read_loans(path: Path, mapping: dict[str, Any]) -> Loans:
    """The table. INVALID for a file that can't be read, a column that isn't there, or too few rows of either outcome."""
    layout = mapping.get("files", {})
    try:
        table = pd.read_csv(
            path,
            sep=layout.get("delimiter", ","),
            quotechar=layout.get("quote", '"'),
            encoding=layout.get("encoding", "utf-8"),
            header=0 if layout.get("header", True) else None,
            skiprows=layout.get("skip_rows", 0),
            dtype=str,
            keep_default_na=False,
        )
    except (OSError, ValueError, LookupError) as error:
        raise invalid("loans", "FILE_UNREADABLE", f"{path}: {error}") from error
    rows_read = len(table)
    table = _filtered(table, mapping)
    missing = {_text(value) for value in [*_MISSING, *mapping.get("missing", [])]}
    decimal = layout.get("decimal", ".")

    target = mapping["fields"]["default"]
    outcome = _numbers(_translated(_column(table, target["column"]), target.get("values"), missing), decimal)
    known = np.isfinite(outcome)
    if not set(outcome[known].tolist()) <= {0.0, 1.0}:
        raise invalid("fields.default", "TARGET_INVALID", "default must be 0 or 1 after translation")
    table, y = table[known], outcome[known].astype(np.int64)
    if min(int(y.sum()), int((1 - y).sum())) < _MIN_ROWS // 4 or len(y) < _MIN_ROWS:
        raise invalid("loans", "TOO_FEW_ROWS", f"{len(y)} usable rows with {int(y.sum())} defaults are too few to learn from")

    columns: list[npt.NDArray[np.float64]] = []
    attributes: list[Attribute] = []
    for name, given in (mapping.get("attributes") or _all_columns(table, mapping, missing, decimal)).items():
        options = given if isinstance(given, dict) else {"column": given}
        series = _translated(_extracted(_column(table, options["column"]), options.get("extract")), options.get("values"), missing)
        category = options.get("kind") == "category"
        numbers, codes = _codes(series) if category else (_numbers(series, decimal) * options.get("scale", 1.0), {})
        columns.append(numbers)
        attributes.append(Attribute(name, category, options.get("effect", "auto"), codes))
    names = [attribute.name for attribute in attributes]
    for name, (top, bottom) in mapping.get("ratios", {}).items():
        if top not in names or bottom not in names:
            raise invalid(f"ratios.{name}", "COLUMN_UNKNOWN", "a ratio divides two attributes")
        divisor = columns[names.index(bottom)]
        columns.append(np.divide(columns[names.index(top)], divisor, out=np.full(len(y), np.nan), where=divisor != 0))
        attributes.append(Attribute(name, False, "auto", {}))
    return Loans(tuple(attributes), np.column_stack(columns), y, rows_read, mapping.get("description", ""))


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _filtered(table: pd.DataFrame, mapping: dict[str, Any]) -> pd.DataFrame:
    for name, values in mapping.get("keep", {}).items():
        table = table[_column(table, name).isin([_text(value) for value in values])]
    for name, values in mapping.get("drop", {}).items():
        table = table[~_column(table, name).isin([_text(value) for value in values])]
    return table


def _column(table: pd.DataFrame, column: str | int) -> pd.Series:
    if isinstance(column, int):
        if column >= table.shape[1]:
            raise invalid("mapping", "COLUMN_UNKNOWN", f"there is no column {column}")
        return table.iloc[:, column].str.strip()
    if column not in table.columns:
        raise invalid("mapping", "COLUMN_UNKNOWN", f"there is no column {column!r}")
    return table[column].str.strip()


def _extracted(series: pd.Series, pattern: str | None) -> pd.Series:
    if pattern is None:
        return series
    compiled = re.compile(pattern)

    def take(cell: str) -> str:
        match = compiled.search(cell)
        if match is None:
            return ""
        return match.groupdict().get("value") or (match.group(1) if compiled.groups else match.group(0)) or ""

    return series.map(take)


def _translated(series: pd.Series, values: dict[str, Any] | None, missing: set[str]) -> pd.Series:
    if values is not None:
        table = {key: "" if value is None else _text(value) for key, value in values.items()}
        series = series.map(lambda cell: table.get(cell, table.get("*", cell)))
    return series.where(~series.isin(list(missing)), "")


def _numbers(series: pd.Series, decimal: str) -> npt.NDArray[np.float64]:
    if decimal == ",":
        series = series.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return pd.to_numeric(series.replace("", None), errors="coerce").to_numpy(dtype=np.float64)


def _codes(series: pd.Series) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
    """Numeric codes are kept; texts are numbered in alphabetical order."""
    texts = sorted({cell for cell in series if cell})
    try:
        codes = {text: float(text) for text in texts}
    except ValueError:
        codes = {text: float(number) for number, text in enumerate(texts, 1)}
    return series.map(lambda cell: codes.get(cell, float("nan"))).to_numpy(dtype=np.float64), codes


def _all_columns(table: pd.DataFrame, mapping: dict[str, Any], missing: set[str], decimal: str) -> dict[str, Any]:
    """Every column but the target and the excluded ones; a category where its cells are not numbers or look like codes."""
    out = {str(mapping["fields"]["default"]["column"]), *map(str, mapping.get("exclude", []))}
    found: dict[str, Any] = {}
    for position, column in enumerate(table.columns):
        if str(column) in out or str(position) in out:
            continue
        series = _translated(_column(table, position), None, missing)
        filled = series[series != ""]
        if filled.empty or filled.nunique() < 2:
            continue
        values = _numbers(filled, decimal)
        numeric = np.isfinite(values).mean() >= 0.5
        distinct = filled.nunique()
        if not numeric and distinct > _MAX_CODES:
            continue
        # A handful of small whole numbers without gaps are codes more often than quantities, and taking quantities for codes
        # costs nothing at this size.
        if numeric and distinct <= _FEW_CODES and set(values[np.isfinite(values)]) <= set(range(_FEW_CODES + 1)):
            numeric = False
        name = re.sub(r"[^a-z0-9_]+", "_", str(column).lower()).strip("_") or f"column_{position}"
        found[name] = {"column": position, "kind": "number" if numeric else "category"}
    if not found:
        raise invalid("mapping", "NO_ATTRIBUTES", "no column to learn from")
    return found
