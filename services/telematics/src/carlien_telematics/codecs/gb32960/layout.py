"""Fixed-length parts of a data unit as tables: one table drives decoder and encoder.

The decoder of a table is compiled once into a function of its own (as `dataclasses` and `namedtuple` do):
a loop over field objects would cost five times as much, and a bus sends 60 fields in every frame.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Missing = dict[str, str]
"""Dotted name of a value the device marked, to `ABNORMAL` (0xFE…) or `INVALID` (0xFF…)."""

Values = dict[str, Any]

_TOP = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}


@dataclass(frozen=True, slots=True)
class Number:
    """`value = (raw - zero) / divisor`; the two highest raw values are sentinels, not numbers."""

    name: str
    code: str
    divisor: int = 1
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """A state byte. Codes the standard does not name stay numbers."""

    name: str
    names: Mapping[int, str] = field(default_factory=dict)
    code: str = "B"


@dataclass(frozen=True, slots=True)
class Bits:
    """A byte of bit fields without sentinels: (name, shift, width mask, values by number)."""

    parts: tuple[tuple[str, int, int, tuple[Any, ...]], ...]
    code: str = "B"


Part = Number | Code | Bits


def sentinel(raw: int, code: str) -> str | None:
    """`INVALID`, `ABNORMAL` or None for a number."""
    top = _TOP[code]
    return {top: "INVALID", top - 1: "ABNORMAL"}.get(raw)


class Layout:
    """A packed big-endian run of parts."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self.struct = struct.Struct(">" + "".join(part.code for part in parts))
        self.size = self.struct.size
        self.decode: Callable[[bytes, int, str, Missing], Values] = _compile_decoder(self)

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Inverse of `decode`: None is sent as `INVALID`; a value the field cannot hold raises ValueError naming it."""
        raws = []
        for part in self.parts:
            if isinstance(part, Bits):
                raws.append(_pack_bits(part, values))
            elif isinstance(part, Code):
                raws.append(_code_of(part, values[part.name]))
            else:
                raws.append(_raw_of(part, values[part.name]))
        return self.struct.pack(*raws)


def _raw_of(part: Number, value: float | None) -> int:
    top = _TOP[part.code]
    if value is None:
        return top
    raw = round(value * part.divisor) + part.zero
    if not 0 <= raw < top - 1:
        raise ValueError(f"{part.name}: {value} does not fit")
    return raw


def _code_of(part: Code, value: str | int | None) -> int:
    if value is None:
        return 0xFF
    if isinstance(value, int):
        return value
    for code, name in part.names.items():
        if name == value:
            return code
    raise ValueError(f"{part.name}: {value!r} is not a code")


def _pack_bits(part: Bits, values: Mapping[str, Any]) -> int:
    raw = 0
    for name, shift, _mask, table in part.parts:
        raw |= table.index(values[name]) << shift
    return raw


def _mark(missing: Missing, name: str, raw: int, code: str) -> None:
    missing[name] = "INVALID" if raw == _TOP[code] else "ABNORMAL"


def _compile_decoder(layout: Layout) -> Callable[[bytes, int, str, Missing], Values]:
    """`decode(buffer, offset, prefix, missing)`: values by name, None where `missing` says why."""
    scope: dict[str, Any] = {"unpack": layout.struct.unpack_from, "mark": _mark}
    raws = [f"r{n}" for n in range(len(layout.parts))]
    entries: list[str] = []
    for raw, part in zip(raws, layout.parts, strict=True):
        limit = _TOP[part.code] - 1
        if isinstance(part, Bits):
            for name, shift, mask, table in part.parts:
                scope[f"{raw}_{name}"] = table
                entries.append(f"{name!r}: {raw}_{name}[{raw} >> {shift} & {mask}]")
            continue
        if isinstance(part, Code):
            scope[f"{raw}_names"] = dict(part.names)
            value = f"{raw}_names.get({raw}, {raw})"
        else:
            value = f"({raw} - {part.zero})" if part.zero else raw
            value = f"{value} / {part.divisor}" if part.divisor != 1 else value
        # mark() answers None, so the conditional reads: the number, or note why there is none
        entries.append(f"{part.name!r}: {value} if {raw} < {limit} else mark(missing, prefix + {part.name!r}, {raw}, {part.code!r})")
    source = f"def decode(buffer, offset, prefix, missing):\n    {', '.join(raws)}, = unpack(buffer, offset)\n"
    source += f"    return {{{', '.join(entries)}}}\n"
    exec(source, scope)  # noqa: S102 - built from the literal tables of this package, no input reaches it
    decoder: Callable[[bytes, int, str, Missing], Values] = scope["decode"]
    return decoder
