"""One cell of text to one value: numbers in any grouping, dates in any format, translated words.

Every function returns a value, or None for a missing cell, or raises CellError with a stable reason.
"""

import re
import unicodedata
from datetime import date, datetime
from functools import lru_cache

from carlien_valuation.listings.mapping import FieldMap

AS_OF = "@as_of"
"""In a date's `values`: the row's as_of date (a car not yet registered)."""

_DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m",
    "%Y/%m/%d",
    "%Y/%m",
    "%Y.%m.%d",
    "%Y.%m",
    "%Y年%m月%d日",
    "%Y年%m月",
    "%Y年",
    "%d.%m.%Y",
    "%m.%Y",
    "%m/%Y",
    "%d/%m/%Y",
    "%Y%m%d",
    "%Y%m",
    "%Y",
)
_ISO_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ]\d{2}:\d{2}")


class CellError(ValueError):
    """A cell that can't be read; `reason` is a stable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def normalise(text: str) -> str:
    """Compatibility form (full-width digits and Latin become ordinary), trimmed, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def translated(cell: str, field: FieldMap, missing: frozenset[str]) -> str | None:
    """The cell after `values` and `extract`; None where it means missing."""
    key = cell.strip().casefold()
    table = dict(field.values)
    if key in table:
        return table[key]
    if key in missing:
        return None
    if "*" in table:
        return table["*"]
    if field.extract is None:
        return cell.strip()
    found = field.extract.search(cell)
    return None if found is None else _group(found)


def _group(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if "value" in groups:
        return (groups["value"] or "").strip()
    return (found.group(1) if found.re.groups else found.group(0)) or ""


def file_name_value(field: FieldMap, name: str) -> str | None:
    """What `file_name` finds in a file's name; None where nothing matches."""
    found = field.file_name.search(name) if field.file_name else None
    return None if found is None else _group(found)


@lru_cache(maxsize=2)
def _number_pattern(decimal: str) -> re.Pattern[str]:
    mark, group = re.escape(decimal), "," if decimal == "." else r"\."
    grouped = rf"\d{{1,3}}(?:[{group}\s'’]\d{{2,3}})*[{group}\s'’]\d{{3}}(?!\d)"
    return re.compile(rf"[-+−]?(?:(?:{grouped}|\d+)(?:{mark}\d+)?|{mark}\d+)(?:[eE][-+]?\d+)?")


def number(cell: str, field: FieldMap, decimal: str) -> float:
    """The first number of a cell in the field's base unit; raises CellError NUMBER_FORMAT."""
    text = unicodedata.normalize("NFKC", cell)
    found = _number_pattern(decimal).search(text)
    if found is None:
        raise CellError("NUMBER_FORMAT", f"{field.name}: no number in {cell!r}")
    grouping = "," if decimal == "." else "."
    rest = text[found.end() : found.end() + 2]
    if len(rest) == 2 and rest[0] in ",." and rest[1].isdigit():
        raise CellError("NUMBER_FORMAT", f"{field.name}: {cell!r} is not written with decimal sign {decimal!r}")
    digits = re.sub(r"[\s'’]", "", found.group(0)).replace(grouping, "").replace("−", "-").replace(decimal, ".")
    folded = text.casefold()
    factor = next((factor for unit, factor in field.units if unit in folded), field.factor)
    return float(digits) * factor * field.scale


def day(cell: str, field: FieldMap) -> tuple[date, int]:
    """A date and its precision (1 day, 2 month, 3 year); raises CellError DATE_FORMAT."""
    text = unicodedata.normalize("NFKC", cell).strip().removesuffix(".0")
    instant = _ISO_INSTANT.match(text)
    if instant and not field.formats:
        text = instant.group(1)
    for pattern in field.formats or _DATE_FORMATS:
        try:
            parsed = datetime.strptime(text, pattern).date()  # noqa: DTZ007 - a calendar date has no zone
        except ValueError:
            continue
        if not 1900 <= parsed.year <= 2100:
            continue
        has_day = "%d" in pattern or "%j" in pattern or "%x" in pattern
        has_month = has_day or any(code in pattern for code in ("%m", "%b", "%B"))
        if has_day:
            return parsed, 1
        return (parsed.replace(day=15), 2) if has_month else (parsed.replace(month=7, day=1), 3)
    raise CellError("DATE_FORMAT", f"{field.name}: {cell!r} is no date in {', '.join(field.formats) or 'a common format'}")
