"""The search key of a serial number: look-alike characters fold together, so that one misread letter still finds the car.

Rule of the British Columbia Personal Property Registry (bcgov/ppr, `searchkey_vehicle`).
"""

from functools import lru_cache
from typing import Final

LENGTH: Final = 6
_LOOK_ALIKES: Final = {
    "I": "1", "L": "1", "Z": "2", "H": "4", "Y": "4", "S": "5", "C": "6", "G": "6", "B": "8", "O": "0",
}  # fmt: skip


# Asked for again and again for the same car: by the row, by its entry in the tree, by a search.
@lru_cache(maxsize=4096)
def search_key(serial: str) -> str:
    """Six digits: the last six letters or digits, look-alikes folded, any other letter 0, padded with 0 on the left.

    Only ASCII letters and digits count. `1M8GDM9AXKP042788` -> `042788`, `AB12CD` -> `081260`, `XLYZ99` -> `014299`.
    """
    characters = [character for character in serial.upper() if character.isascii() and character.isalnum()]
    folded = (character if character.isdigit() else _LOOK_ALIKES.get(character, "0") for character in characters[-LENGTH:])
    return "".join(folded).rjust(LENGTH, "0")
