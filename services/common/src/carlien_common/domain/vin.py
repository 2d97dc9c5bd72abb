"""Vehicle identification numbers: ISO 3779:2009 and GB 16735-2019."""

from __future__ import annotations

from dataclasses import dataclass
from operator import mul
from typing import Final

from carlien_common.domain.errors import invalid

LENGTH: Final = 17
CHECK_POSITION: Final = 8
ALPHABET: Final = frozenset("ABCDEFGHJKLMNPRSTUVWXYZ0123456789")
_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_LETTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ"
_LETTER_VALUES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9)
_VALUES: Final = dict(zip(_LETTERS, _LETTER_VALUES, strict=True)) | {str(digit): digit for digit in range(10)}
# The check digit is the law in China (L) and North America (1-5); elsewhere position 9 is the maker's own.
_STRICT_REGIONS: Final = frozenset("L12345")


@dataclass(frozen=True, slots=True)
class Vin:
    """A well-formed VIN. `warnings` holds reasons that don't refuse it, today only VIN_CHECK_DIGIT."""

    value: str
    warnings: tuple[str, ...] = ()

    @property
    def wmi(self) -> str:
        """World manufacturer identifier: who made it, and where."""
        return self.value[:3]

    @property
    def vds(self) -> str:
        """Vehicle descriptor section, its last character the check digit."""
        return self.value[3:9]

    @property
    def vis(self) -> str:
        """Vehicle indicator section: model year, plant, serial number."""
        return self.value[9:]

    def __str__(self) -> str:
        return self.value


def check_digit(vin: str) -> str:
    """What position 9 of these 17 characters must be (ISO 3779 annex, 49 CFR 565.15): weighted sum mod 11, 10 is X."""
    remainder = sum(map(mul, map(_VALUES.__getitem__, vin), _WEIGHTS)) % 11
    return "X" if remainder == 10 else str(remainder)


def parse_vin(text: str, field: str = "vin") -> Vin:
    """Upper-cases and checks. Raises INVALID with VIN_LENGTH, VIN_CHARACTER, VIN_DUMMY or VIN_CHECK_DIGIT on `field`.

    A failing check digit is only a warning for makers outside China and North America.
    """
    value = text.strip()
    if len(value) != LENGTH:
        raise invalid(field, "VIN_LENGTH", f"A VIN has {LENGTH} characters, not {len(value)}.")
    # Before upper-casing that, 'ß' would turn into two letters.
    if not value.isascii() or not ALPHABET.issuperset(value := value.upper()):
        raise invalid(field, "VIN_CHARACTER", "A VIN has digits and the letters A to Z without I, O and Q.")
    if value == value[0] * LENGTH:
        raise invalid(field, "VIN_DUMMY", "One character repeated is a placeholder, not a VIN.")
    expected = check_digit(value)
    if value[CHECK_POSITION] == expected:
        return Vin(value)
    if value[0] in _STRICT_REGIONS:
        raise invalid(field, "VIN_CHECK_DIGIT", f"The check digit (position 9) should be {expected}, not {value[CHECK_POSITION]}.")
    return Vin(value, ("VIN_CHECK_DIGIT",))
