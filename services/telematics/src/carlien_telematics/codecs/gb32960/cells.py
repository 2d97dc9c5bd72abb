"""Putting the parts of a large pack together again."""

from collections.abc import Iterable, Mapping
from typing import Any


def join_cell_voltages(parts: Iterable[Mapping[str, Any]]) -> dict[int, list[int | None]]:
    """Cell voltages in millivolts by pack number, from parts of one device time in any order (2016, table B.6).

    A pack of more than 200 cells is sent in parts that say their first cell (from 1). Cells no part holds are None.
    """
    packs: dict[int, list[int | None]] = {}
    for part in parts:
        number, total, first = part["pack"], part["cells_in_pack"], part["first_cell"]
        if number is None or total is None or first is None:
            continue
        cells = packs.setdefault(number, [None] * total)
        for place, value in enumerate(part["cell_millivolts"], start=first - 1):
            if 0 <= place < len(cells):
                cells[place] = value
    return packs
