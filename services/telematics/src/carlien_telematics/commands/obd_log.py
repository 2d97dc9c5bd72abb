"""Rows of an OBD log (CSV or JSON) as frames of VSS signals, by a mapping file. Contract: `schemas/obd-mapping.schema.json`."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from carlien_common.domain.errors import DomainError, FieldViolation, invalid
from carlien_telematics.codecs import vss

Row = Mapping[str | int, Any]
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


class RowError(ValueError):
    """A row that gives no frame; `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Where a signal comes from."""

    column: str | int | None = None
    constant: vss.Value | None = None
    kind: str = "number"
    scale: float = 1.0
    offset: float = 0.0
    extract: re.Pattern[str] | None = None
    values: Mapping[str, vss.Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimeMap:
    """Where a row's time comes from."""

    column: str | int | None
    format: str
    start: datetime | None
    zone: timezone
    every_s: float


@dataclass(frozen=True, slots=True)
class LogMapping:
    """A checked mapping file."""

    version: str
    time: TimeMap
    fields: Mapping[str, FieldMap]
    missing: frozenset[str]
    encoding: str
    delimiter: str
    header: bool


def schema() -> dict[str, Any]:
    """The published schema."""
    text = files("carlien_telematics.schemas").joinpath("obd-mapping.schema.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def load_mapping(path: Path) -> LogMapping:
    """Raises DomainError MAPPING_UNREADABLE or MAPPING_INVALID, which names every fault; OSError where there is no file."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "MAPPING_UNREADABLE", f"{path.name} is not YAML in UTF-8: {error}") from None
    document = json.loads(json.dumps(document, default=_as_text))
    faults = sorted(Draft202012Validator(schema()).iter_errors(document), key=lambda fault: list(map(str, fault.path)))
    if faults:
        found = tuple(FieldViolation(".".join(map(str, f.absolute_path)) or "(top)", "MAPPING_INVALID", f.message) for f in faults)
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in found)
        raise DomainError(invalid("mapping", "MAPPING_INVALID", "").kind, "MAPPING_INVALID", text, found)
    options = {"encoding": "utf-8", "delimiter": ",", "header": True, **document.get("files", {})}
    return LogMapping(
        version=document["vss_version"],
        time=_time_map(document["time"]),
        fields={path: _field_map(path, entry) for path, entry in document["fields"].items()},
        missing=frozenset({"", *document.get("missing", ())}),
        **options,
    )


def _as_text(value: object) -> str:
    """YAML reads an unquoted time as one."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _field_map(path: str, entry: Mapping[str, Any]) -> FieldMap:
    pattern = entry.get("extract")
    try:
        extract = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise invalid(f"fields.{path}.extract", "MAPPING_INVALID", f"not a regular expression: {error}") from None
    return FieldMap(**{**entry, "extract": extract})


def _time_map(entry: Mapping[str, Any]) -> TimeMap:
    start: datetime | None = None
    if "start" in entry:
        try:
            start = datetime.fromisoformat(entry["start"])
        except ValueError:
            start = None
        if start is None or start.tzinfo is None:
            raise invalid("time.start", "MAPPING_INVALID", "start is an ISO 8601 time with a time zone.")
    elif entry.get("format") == "seconds":
        raise invalid("time.start", "MAPPING_INVALID", "seconds are counted from start.")
    zone = timezone(timedelta(hours=entry.get("utc_offset_hours", 0)))
    return TimeMap(entry.get("column"), entry.get("format", ""), start, zone, entry.get("every_s", 0.0))


def rows(text: str, mapping: LogMapping) -> Iterator[Row]:
    """Rows of the file by column name, or by place where there is no header. Raises DomainError FILE_UNREADABLE."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            whole = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise invalid("file", "FILE_UNREADABLE", f"Not JSON: {error}.") from None
        if not all(isinstance(row, dict) for row in whole):
            raise invalid("file", "FILE_UNREADABLE", "JSON rows are objects.")
        yield from whole
        return
    reader = csv.reader(io.StringIO(text), delimiter=mapping.delimiter)
    names = [name.strip() for name in next(reader, [])] if mapping.header else None
    for cells in reader:
        if cells:
            # a row may be longer than the header: what has no name can't be mapped
            yield dict(zip(names, cells, strict=False)) if names is not None else dict(enumerate(cells))


def frame(row: Row, number: int, mapping: LogMapping) -> vss.VssFrame:
    """The frame of a row. Raises RowError TIME, COLUMN, CELL, EMPTY, or a reason of `vss.check_signal`."""
    signals: dict[str, vss.Value] = {}
    for path, entry in mapping.fields.items():
        value = entry.constant if entry.column is None else _cell(row, path, entry, mapping.missing)
        if value is None:
            continue
        try:
            vss.check_signal(path, value)
        except vss.SignalError as error:
            raise RowError(error.reason, f"{path}: {error}") from None
        signals[path] = value
    if not signals:
        raise RowError("EMPTY", "no signal in the row")
    return vss.VssFrame(_time(row, number, mapping.time), mapping.version, signals)


def _cell(row: Row, path: str, entry: FieldMap, missing: frozenset[str]) -> vss.Value | None:
    if entry.column is None or entry.column not in row:
        raise RowError("COLUMN", f"{path}: there is no column {entry.column!r}")
    raw = row[entry.column]
    cell = "" if raw is None else str(raw).strip()
    if entry.extract is not None:
        match = entry.extract.search(cell)
        cell = "" if match is None else match.group(1 if entry.extract.groups else 0) or ""
    if cell in entry.values:
        return entry.values[cell]
    if cell in missing:
        return None
    if entry.kind == "text":
        return cell
    if entry.kind == "flag":
        if cell.lower() in _TRUE | _FALSE:
            return cell.lower() in _TRUE
        raise RowError("CELL", f"{path}: {cell[:40]!r} is neither true nor false")
    try:
        return float(cell) * entry.scale + entry.offset
    except ValueError:
        raise RowError("CELL", f"{path}: {cell[:40]!r} is no number") from None


def _time(row: Row, number: int, entry: TimeMap) -> datetime:
    if entry.column is None:
        return _from_start(entry, number * entry.every_s)
    cell = str(row.get(entry.column, "")).strip()
    try:
        match entry.format:
            case "iso":
                at = datetime.fromisoformat(cell)
            case "unix" | "unix_ms":
                return datetime.fromtimestamp(float(cell) / (1000 if entry.format == "unix_ms" else 1), UTC)
            case "seconds":
                return _from_start(entry, float(cell))
            case pattern:
                at = datetime.strptime(cell, pattern)  # noqa: DTZ007 - the zone is put on below
        return (at if at.tzinfo is not None else at.replace(tzinfo=entry.zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise RowError("TIME", f"{cell[:40]!r} is no time of format {entry.format}") from None


def _from_start(entry: TimeMap, seconds: float) -> datetime:
    if entry.start is None:
        raise RowError("TIME", "no start")
    return (entry.start + timedelta(seconds=seconds)).astimezone(UTC)
