"""Files of listings to one table of typed columns, with every row that doesn't parse counted and listed.

The table's columns: `source` (file:line), the text fields (normalised, "" where missing), the number fields (float, NaN
where missing), `as_of` and `registered` (days since 1970-01-01, NaN where missing), `registered_precision` (1 day, 2 month,
3 year), and `attribute:<name>` for each attribute of the mapping.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from carlien_common.domain.errors import invalid
from carlien_valuation.listings.cells import AS_OF, CellError, day, file_name_value, normalise, number, translated
from carlien_valuation.listings.encoding import decode
from carlien_valuation.listings.mapping import NUMBER_FIELDS, TEXT_FIELDS, FieldMap, Mapping

EXAMPLES = 20
"""How many rejected rows are listed per reason."""

STRICT = frozenset({"price", "odometer_km", "model_year", "age_years"})
"""Numbers without which a row says nothing; in others a cell that can't be read counts as missing."""

EPOCH = date(1970, 1, 1)
ATTRIBUTE = "attribute:"


@dataclass(slots=True)
class Rejections:
    """Rows that can't be used: a count per reason, and the first rows of each with what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    by_source: dict[str, str] = field(default_factory=dict)
    unread_cells: Counter[str] = field(default_factory=Counter)
    """Cells of optional fields that can't be read and count as missing, by field."""

    def add(self, source: str, reason: str, message: str) -> None:
        """Count a row; only its first fault counts."""
        if source in self.by_source:
            return
        self.by_source[source] = reason
        self.counts[reason] += 1
        listed = self.examples.setdefault(reason, [])
        if len(listed) < EXAMPLES:
            listed.append({"row": source, "message": message})

    @property
    def total(self) -> int:
        """Number of rejected rows."""
        return len(self.by_source)

    def summary(self) -> str:
        """One line: reasons, most frequent first, each with an example."""
        return "; ".join(f"{reason} x {count} ({self.examples[reason][0]['message']})" for reason, count in self.counts.most_common(5))


@dataclass(slots=True)
class Table:
    """What was read: the good rows, the rejected ones, and how many a filter of the mapping left out."""

    frame: pd.DataFrame
    rejections: Rejections
    rows_read: int
    filtered: int
    sources: tuple[str, ...]
    """Every row in the order of the files, also the rejected ones; without those a filter left out."""


def expand(patterns: Sequence[str]) -> list[Path]:
    """Files and globs, in a stable order; raises DomainError LISTINGS_NOT_FOUND for what matches nothing."""
    paths: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(glob(pattern)) if has_magic(pattern) else [pattern]
        files = [Path(name) for name in found if Path(name).is_file()]
        if not files:
            raise invalid("listings", "LISTINGS_NOT_FOUND", f"no file matches {pattern}")
        paths.update(dict.fromkeys(files))
    return list(paths)


def read_listings(paths: Sequence[Path], mapping: Mapping) -> Table:
    """Read, translate and type the rows of all files; raises DomainError for a file that fits the mapping nowhere."""
    rejections = Rejections()
    frames, sources, total, filtered = [], list[str](), 0, 0
    for path in paths:
        rows, kept_sources, read, left_out = _rows(path, mapping, rejections)
        total, filtered = total + read, filtered + left_out
        sources += kept_sources
        frames.append(_typed(rows, path.name, mapping, rejections))
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if total == 0:
        raise invalid("listings", "LISTINGS_EMPTY", f"no rows in {', '.join(map(str, paths))}")
    frame = frame[~frame["source"].isin(rejections.by_source.keys())].reset_index(drop=True)
    return Table(frame, rejections, total, filtered, tuple(sources))


def _rows(path: Path, mapping: Mapping, rejections: Rejections) -> tuple[dict[str | int, list[str]], list[str], int, int]:
    """The mapped columns of one file as lists of cells, plus `source`."""
    csv.field_size_limit(10_000_000)
    reader = csv.reader(io.StringIO(decode(path, mapping.encoding)), delimiter=mapping.delimiter, quotechar=mapping.quote)
    for _ in range(mapping.skip_rows):
        next(reader, None)
    header = next(reader, None) if mapping.header else None
    first = None if header is not None else next(reader, None)
    width = len(header or first or ())
    position = _positions(path, mapping, [name.strip() for name in header] if header is not None else None, width)
    filters = [
        (position[column], values, keep) for group, keep in ((mapping.keep, True), (mapping.drop, False)) for column, values in group
    ]
    columns: dict[str | int, list[str]] = {column: [] for column in (*position, "\0source")}
    picks = [(columns[column], index) for column, index in position.items()]
    sources: list[str] = []
    read = filtered = 0
    for row in _with_first(first, reader, path):
        if not row:
            continue
        read += 1
        source = f"{path.name}:{reader.line_num}"
        if len(row) != width and (len(row) < width or any(cell.strip() for cell in row[width:])):
            sources.append(source)
            rejections.add(source, "FIELD_COUNT", f"{len(row)} fields where the file has {width}")
            continue
        if any((row[index].strip().casefold() in values) is not keep for index, values, keep in filters):
            filtered += 1
            continue
        sources.append(source)
        columns["\0source"].append(source)
        for cells, index in picks:
            cells.append(row[index])
    return columns, sources, read, filtered


def _with_first(first: list[str] | None, rest: Iterable[list[str]], path: Path) -> Iterator[list[str]]:
    if first is not None:
        yield first
    try:
        yield from rest
    except csv.Error as error:
        raise invalid("listings", "LISTINGS_CSV", f"{path} is no CSV with this delimiter and quote: {error}") from None


def _positions(path: Path, mapping: Mapping, header: list[str] | None, width: int) -> dict[str | int, int]:
    """Where each mapped column lies; raises DomainError MAPPING_COLUMN for one the file doesn't have."""
    by_name = {name: index for index, name in reversed(list(enumerate(header or ())))}
    folded = {name.casefold(): index for name, index in by_name.items()}
    found: dict[str | int, int] = {}
    absent = []
    for column in mapping.columns():
        if isinstance(column, int) and column < width:
            found[column] = column
        elif str(column).strip() in by_name:
            found[column] = by_name[str(column).strip()]
        elif str(column).strip().casefold() in folded:
            found[column] = folded[str(column).strip().casefold()]
        elif header is None and str(column).isdigit() and int(column) < width:
            found[column] = int(column)
        else:
            absent.append(str(column))
    if absent:
        has = f"the columns {', '.join(header)}" if header is not None else f"{width} columns, from 0"
        raise invalid("mapping", "MAPPING_COLUMN", f"the mapping names {', '.join(map(repr, absent))}, but {path.name} has {has}")
    return found


def _typed(cells: dict[str | int, list[str]], file_name: str, mapping: Mapping, rejections: Rejections) -> pd.DataFrame:
    sources = cells["\0source"]
    data: dict[str, Any] = {"source": sources}
    columns = _Columns(cells, sources, file_name, mapping, rejections)
    for name in TEXT_FIELDS:
        data[name] = columns.text(mapping.fields.get(name))
    for name in NUMBER_FIELDS:
        data[name] = columns.numbers(mapping.fields.get(name), strict=name in STRICT)
    data["as_of"], _ = columns.days(mapping.fields.get("as_of"), None)
    data["registered"], data["registered_precision"] = columns.days(mapping.fields.get("first_registration"), data["as_of"])
    for name, attribute in mapping.attributes.items():
        data[ATTRIBUTE + name] = columns.numbers(attribute, strict=False) if attribute.kind == "number" else columns.text(attribute)
    return pd.DataFrame(data)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Reads one field for all rows of a file; a distinct cell is parsed once."""

    cells: dict[str | int, list[str]]
    sources: list[str]
    file_name: str
    mapping: Mapping
    rejections: Rejections

    def raw(self, field_map: FieldMap) -> list[str]:
        """The field's cells before any reading."""
        if field_map.constant is not None:
            return [field_map.constant] * len(self.sources)
        if field_map.file_name is not None:
            return [file_name_value(field_map, self.file_name) or ""] * len(self.sources)
        if len(field_map.columns) == 1:
            return self.cells[field_map.columns[0]]
        return [
            " ".join(cell.strip() for cell in row if cell.strip())
            for row in zip(*(self.cells[column] for column in field_map.columns), strict=True)
        ]

    def text(self, field_map: FieldMap | None) -> list[str]:
        """Normalised text, "" where missing."""
        if field_map is None:
            return [""] * len(self.sources)
        seen: dict[str, str] = {}
        result = []
        for cell in self.raw(field_map):
            if cell not in seen:
                seen[cell] = normalise(translated(cell, field_map, self.mapping.missing) or "")
            result.append(seen[cell])
        return result

    def numbers(self, field_map: FieldMap | None, *, strict: bool) -> np.ndarray:
        """Numbers in the base unit, NaN where missing; strict rejects a row whose cell can't be read."""
        result = np.full(len(self.sources), np.nan)
        if field_map is None:
            return result
        seen: dict[str, float | CellError] = {}
        for row, cell in enumerate(self.raw(field_map)):
            if cell not in seen:
                seen[cell] = self._number(cell, field_map)
            value = seen[cell]
            if not isinstance(value, CellError):
                result[row] = value
            elif strict:
                self.rejections.add(self.sources[row], value.reason, str(value))
            else:
                self.rejections.unread_cells[field_map.name] += 1
        return result

    def _number(self, cell: str, field_map: FieldMap) -> float | CellError:
        text = translated(cell, field_map, self.mapping.missing)
        if text is None:
            return float("nan")
        try:
            return number(text, field_map, self.mapping.decimal)
        except CellError as error:
            return error

    def days(self, field_map: FieldMap | None, as_of: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Days since 1970 and the dates' precision, NaN and 0 where missing."""
        result, precision = np.full(len(self.sources), np.nan), np.zeros(len(self.sources))
        if field_map is None:
            return result, precision
        seen: dict[str, tuple[float, int] | CellError | None] = {}
        for row, cell in enumerate(self.raw(field_map)):
            if cell not in seen:
                seen[cell] = self._day(cell, field_map)
            value = seen[cell]
            if isinstance(value, CellError):
                self.rejections.add(self.sources[row], value.reason, str(value))
            elif value is not None:
                result[row], precision[row] = value
            elif as_of is not None and translated(cell, field_map, self.mapping.missing) == AS_OF:
                result[row], precision[row] = as_of[row], 1
        return result, precision

    def _day(self, cell: str, field_map: FieldMap) -> tuple[float, int] | CellError | None:
        text = translated(cell, field_map, self.mapping.missing)
        if text is None or text == AS_OF:
            return None
        try:
            parsed, precision = day(text, field_map)
        except CellError as error:
            return error
        return float((parsed - EPOCH).days), precision
