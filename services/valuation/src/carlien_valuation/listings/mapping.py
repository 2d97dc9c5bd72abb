"""The mapping file: where each field of a listing is found in someone's file and how it is written.

The contract is `schemas/mapping.schema.json`; this module loads, checks and freezes it.
"""

import json
import re
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonschema import Draft202012Validator

from carlien_common.domain.errors import DomainError, FieldViolation, invalid

Kind = Literal["text", "number", "date"]

TEXT_FIELDS = (
    "make",
    "model",
    "trim",
    "fuel_type",
    "transmission",
    "body_type",
    "drive",
    "color",
    "region_code",
    "seller_type",
    "usage_nature",
    "accident",
    "currency",
)
NUMBER_FIELDS = (
    "price",
    "new_price",
    "odometer_km",
    "engine_l",
    "power_kw",
    "transfer_count",
    "condition_grade",
    "model_year",
    "age_years",
)
DATE_FIELDS = ("as_of", "first_registration")

UNITS: dict[str, float] = {
    "km": 1,
    "miles": 1.609344,
    "mi": 1.609344,
    "thousand_km": 1e3,
    "thousand_miles": 1609.344,
    "万公里": 1e4,
    "万": 1e4,
    "萬": 1e4,
    "千": 1e3,
    "亿": 1e8,
    "cc": 1e-3,
    "ml": 1e-3,
    "l": 1,
    "kw": 1,
    "hp": 0.7457,
    "bhp": 0.7457,
    "ps": 0.73550,
    "cv": 0.73550,
    "л.с.": 0.73550,
    "k": 1e3,
    "thousand": 1e3,
    "lakh": 1e5,
    "crore": 1e7,
    "million": 1e6,
    "m": 1e6,
    "months": 1 / 12,
    "years": 1,
    "1": 1,
}
"""Factors to kilometres, litres, kilowatts, years and units of currency (mechanical hp, metric PS)."""

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "—", "?", "--"})


@dataclass(frozen=True, slots=True)
class FieldMap:
    """One target field: exactly one of columns, constant and file_name says where it comes from."""

    name: str
    kind: Kind
    columns: tuple[str | int, ...] = ()
    constant: str | None = None
    file_name: re.Pattern[str] | None = None
    extract: re.Pattern[str] | None = None
    values: tuple[tuple[str, str | None], ...] = ()
    factor: float = 1.0
    scale: float = 1.0
    units: tuple[tuple[str, float], ...] = ()
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A checked mapping file."""

    fields: dict[str, FieldMap]
    attributes: dict[str, FieldMap]
    keep: tuple[tuple[str, frozenset[str]], ...]
    drop: tuple[tuple[str, frozenset[str]], ...]
    missing: frozenset[str]
    encoding: str
    delimiter: str
    quote: str
    header: bool
    skip_rows: int
    decimal: str
    description: str
    price_kind: str

    def columns(self) -> tuple[str | int, ...]:
        """Every column the mapping names, in order of first mention."""
        named: dict[str | int, None] = {}
        for field in (*self.fields.values(), *self.attributes.values()):
            named.update(dict.fromkeys(field.columns))
        named.update(dict.fromkeys(column for column, _ in (*self.keep, *self.drop)))
        return tuple(named)


def mapping_schema() -> dict[str, Any]:
    """The published JSON schema of a mapping file."""
    text = files("carlien_valuation.schemas").joinpath("mapping.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file; raises DomainError MAPPING_* naming every fault at once."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid("mapping", "MAPPING_NOT_FOUND", f"the mapping file {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "MAPPING_UNREADABLE", f"{path} is not YAML in UTF-8: {error}") from None
    return parse_mapping(document, str(path))


def parse_mapping(document: object, name: str = "mapping") -> Mapping:
    """Check a mapping document against the schema and freeze it; raises DomainError MAPPING_INVALID."""
    validator = Draft202012Validator(mapping_schema())
    found = [violation(error) for error in sorted(validator.iter_errors(_jsonable(document)), key=lambda error: list(map(str, error.path)))]
    if found or not isinstance(document, dict):
        raise _invalid_mapping(name, found)
    options: dict[str, Any] = {
        "encoding": "auto",
        "delimiter": ",",
        "quote": '"',
        "header": True,
        "skip_rows": 0,
        "decimal": ".",
        **document.get("files", {}),
    }
    faults: list[FieldViolation] = []
    fields = {key: _field(key, spec, kind_of(key), faults, "fields") for key, spec in document["fields"].items()}
    attributes = {
        key: _field(key, spec, "number" if spec["kind"] == "number" else "text", faults, "attributes")
        for key, spec in document.get("attributes", {}).items()
    }
    if faults:
        raise _invalid_mapping(name, faults)
    return Mapping(
        fields=fields,
        attributes=attributes,
        keep=_filters(document.get("keep", {})),
        drop=_filters(document.get("drop", {})),
        missing=MISSING | {str(cell).strip().casefold() for cell in document.get("missing", ())},
        description=document.get("description", ""),
        price_kind=document.get("price_kind", "ask_retail"),
        **options,
    )


def kind_of(field: str) -> Kind:
    """How the cells of a target field are read."""
    if field in DATE_FIELDS:
        return "date"
    return "number" if field in NUMBER_FIELDS else "text"


def violation(error: Any) -> FieldViolation:
    """A schema error as a field violation; of a oneOf, the most telling branch."""
    path = ".".join(str(part) for part in error.absolute_path) or "(top)"
    deeper = [inner for inner in error.context or () if len(inner.path) > 0 or inner.validator in {"additionalProperties", "required"}]
    message = min((inner.message for inner in deeper), key=len, default=error.message)
    return FieldViolation(path, "MAPPING_INVALID", message)


def _field(name: str, spec: Any, kind: Kind, faults: list[FieldViolation], where: str) -> FieldMap:
    if not isinstance(spec, dict):
        return FieldMap(name, kind, columns=(spec,))

    def pattern(key: str) -> re.Pattern[str] | None:
        if key not in spec:
            return None
        try:
            return re.compile(spec[key])
        except re.error as error:
            faults.append(FieldViolation(f"{where}.{name}.{key}", "MAPPING_REGEX", f"not a regular expression: {error}"))
            return None

    unit = str(spec.get("unit", "1")).casefold()
    if unit not in UNITS:
        faults.append(
            FieldViolation(
                f"{where}.{name}.unit", "MAPPING_UNIT", f"unknown unit {spec['unit']!r}; known: {', '.join(UNITS)}; or give `scale`"
            )
        )
    formats = spec.get("format", ())
    constant = spec.get("constant")
    return FieldMap(
        name=name,
        kind=kind,
        columns=tuple(spec.get("columns", (spec["column"],) if "column" in spec else ())),
        constant=None if constant is None else constant.isoformat() if isinstance(constant, date) else _text(constant),
        file_name=pattern("file_name"),
        extract=pattern("extract"),
        values=tuple(
            (cell, None if value is None else _text(value)) for key, value in spec.get("values", {}).items() for cell in _cells(key)
        ),
        factor=UNITS.get(unit, 1.0),
        scale=float(spec.get("scale", 1.0)),
        units=tuple(
            sorted(((text.casefold(), float(factor)) for text, factor in spec.get("units", {}).items()), key=lambda unit: -len(unit[0]))
        ),
        formats=(formats,) if isinstance(formats, str) else tuple(formats),
    )


def _filters(document: MappingABC[str, list[Any]]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((column, frozenset(cell for value in values for cell in _cells(value))) for column, values in document.items())


def _cells(value: object) -> tuple[str, ...]:
    """The cells a YAML scalar can stand for: an unquoted yes or no has become a boolean on the way."""
    if isinstance(value, bool):
        return ("true", "yes", "on") if value else ("false", "no", "off")
    return (str(value).strip().casefold(),)


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _jsonable(document: object) -> object:
    """YAML reads 2020-06-01 as a date and 3: as a number key; JSON schema knows neither."""
    if isinstance(document, dict):
        return {str(key): _jsonable(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_jsonable(value) for value in document]
    return document.isoformat() if isinstance(document, date) else document


def _invalid_mapping(name: str, found: list[FieldViolation]) -> DomainError:
    error = invalid("mapping", "MAPPING_INVALID", f"{name} is not a valid mapping")
    return DomainError(error.kind, error.reason, error.message, tuple(found) or error.violations)
