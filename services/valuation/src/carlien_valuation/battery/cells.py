"""Capacity-by-cycle files to fade curves; and what of a curve is known at an origin."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, invalid
from carlien_valuation.listings.mapping import Mapping, parse_mapping
from carlien_valuation.listings.read import Rejections, read_listings

Floats = NDArray[np.float64]

FIRST_CYCLES = 10
"""Capacity when new is the median of so many first measurements."""
SMOOTH = 7
"""Single measurements err by about a percent: a running median of so many takes that out."""
MIN_CYCLES = 30
"""Shorter records tell nothing about fading."""


@dataclass(frozen=True)
class Cell:
    """One cell: `soh` (n,) as a fraction of the capacity when new, at `cycle` (n,), ascending."""

    name: str
    group: str
    cycle: Floats
    soh: Floats

    def until(self, cycle: float) -> "Cell":
        """What was known after a cycle."""
        known = self.cycle <= cycle
        return Cell(self.name, self.group, self.cycle[known], self.soh[known])


@dataclass(frozen=True)
class ReadCells:
    """Cells, and what was not used."""

    cells: tuple[Cell, ...]
    rows_read: int
    too_short: int
    rejections: Rejections


def load_cell_mapping(path: Path) -> Mapping:
    """Mapping of a cell file: `cell`, `cycle`, `capacity` and, optionally, `group`; raises DomainError MAPPING_*."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid("mapping", "MAPPING_NOT_FOUND", f"the mapping file {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "MAPPING_UNREADABLE", f"{path} is not YAML in UTF-8: {error}") from None
    return parse_cell_mapping(document, str(path))


def parse_cell_mapping(document: object, name: str = "mapping") -> Mapping:
    """A cell mapping has the form of a listings mapping; its fields are read by the same code under that code's names."""
    schema: dict[str, Any] = json.loads(files("carlien_valuation.schemas").joinpath("cells.schema.json").read_text(encoding="utf-8"))
    faults = [
        FieldViolation(".".join(map(str, error.absolute_path)) or "(top)", "MAPPING_INVALID", error.message)
        for error in Draft202012Validator(schema).iter_errors(document)
    ]
    if faults or not isinstance(document, dict):
        raise DomainError(ErrorKind.INVALID, "MAPPING_INVALID", f"{name} is not a valid mapping of cells", faults)
    fields = document["fields"]
    cycle = fields["cycle"] if isinstance(fields["cycle"], dict) else {"column": fields["cycle"]}
    inner = {"model": fields["cell"], "price": fields["capacity"], **({"make": fields["group"]} if "group" in fields else {})}
    rest = {key: value for key, value in document.items() if key != "fields"}
    return parse_mapping({**rest, "fields": inner, "attributes": {"cycle": {"kind": "number", **cycle}}}, name)


def read_cells(paths: Sequence[Path], mapping: Mapping) -> ReadCells:
    """Fade curves; raises DomainError CELLS_UNUSABLE when none is long enough."""
    table = read_listings(paths, mapping)
    frame, rejections = table.frame, table.rejections
    bad = ~(frame["price"] > 0) | frame["attribute:cycle"].isna()
    for source in frame.loc[bad, "source"]:
        rejections.add(str(source), "MEASUREMENT_INVALID", "no positive capacity, or no cycle")
    cells: list[Cell] = []
    short = 0
    for (group, name), rows in frame[~bad].groupby(["make", "model"], sort=True):
        rows = rows.drop_duplicates("attribute:cycle").sort_values("attribute:cycle")
        capacity = rows["price"].to_numpy(dtype=np.float64)
        if len(rows) < MIN_CYCLES:
            short += 1
            continue
        soh = capacity / np.median(capacity[:FIRST_CYCLES])
        cells.append(Cell(str(name), str(group), rows["attribute:cycle"].to_numpy(dtype=np.float64), soh))
    if not cells:
        raise invalid("cells", "CELLS_UNUSABLE", f"no cell has {MIN_CYCLES} measurements; {rejections.summary()}")
    return ReadCells(tuple(cells), table.rows_read, short, rejections)


def smooth(soh: Floats) -> Floats:
    """Running median over SMOOTH measurements, centred, shorter at the ends."""
    half = SMOOTH // 2
    padded = np.pad(soh, half, constant_values=np.nan)
    return np.asarray(np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, SMOOTH), axis=1))
