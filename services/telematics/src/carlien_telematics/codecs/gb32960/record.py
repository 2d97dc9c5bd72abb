"""Realtime and reissued data units: a time and what the car measured (clause 7.2)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from carlien_telematics.codecs.gb32960.frame import Version, decode_time, encode_time
from carlien_telematics.codecs.gb32960.layout import Missing, Values
from carlien_telematics.codecs.gb32960.units import UNITS_2016, UNITS_2025, Unit

_UNITS = {Version.V2016: UNITS_2016, Version.V2025: UNITS_2025}


class Undecoded(StrEnum):
    """Why the rest of a data unit is kept as bytes. The record itself is good: its envelope was checked."""

    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    CUT_SHORT = "CUT_SHORT"
    USER_DEFINED_LENGTH = "USER_DEFINED_LENGTH"


@dataclass(slots=True)
class Record:
    """What one realtime or reissue message says.

    `units`: by name. A value the device marked as abnormal or invalid is None, and `missing` says which under its
    dotted name. User-defined blocks (0x80 to 0xFE) are under `user_defined` as type and hex.
    `undecoded`: hex from the first unit on that could not be read, with `undecoded_reason`; empty where all was read.
    """

    device_time: datetime
    units: Values = field(default_factory=dict)
    missing: Missing = field(default_factory=dict)
    undecoded: str = ""
    undecoded_reason: Undecoded | None = None


def decode_record(version: Version, data: bytes) -> Record:
    """Data unit of a realtime or reissue message. Raises FrameError(DEVICE_TIME) for a time that is none.

    A unit that can't be read ends the walk, for lengths after it are not known; what was read before it stays.
    """
    record = Record(decode_time(data))
    units, missing = record.units, record.missing
    known = _UNITS[version]
    offset, end = 6, len(data)
    while offset < end:
        kind = data[offset]
        unit = known.get(kind)
        try:
            if unit is not None:
                value, after = unit.decode(data, offset + 1, missing)
                if after > end:
                    raise IndexError("unit cut short")
                _put(units, unit, value)
            elif 0x80 <= kind <= 0xFE:
                after = offset + 3 + (data[offset + 1] << 8 | data[offset + 2])
                if after > end:
                    return _stop(record, data, offset, Undecoded.USER_DEFINED_LENGTH)
                units.setdefault("user_defined", []).append({"type": kind, "data": data[offset + 3 : after].hex()})
            else:
                return _stop(record, data, offset, Undecoded.UNKNOWN_TYPE)
        except (IndexError, struct.error):
            return _stop(record, data, offset, Undecoded.CUT_SHORT)
        offset = after
    return record


def _put(units: Values, unit: Unit, value: Any) -> None:
    if unit.name not in units:
        units[unit.name] = value
    elif unit.many:
        units[unit.name] += value
    else:  # the standard allows each once; a second one is kept beside, not over, the first
        units.setdefault("repeated", []).append({unit.name: value})


def _stop(record: Record, data: bytes, offset: int, reason: Undecoded) -> Record:
    record.undecoded = data[offset:].hex()
    record.undecoded_reason = reason
    return record


def encode_record(version: Version, device_time: datetime, units: Mapping[str, Any]) -> bytes:
    """Data unit of `units` in the order of their type bytes, user-defined blocks before a signature."""
    known = _UNITS[version]
    out = bytearray(encode_time(device_time))
    for kind in sorted(known, key=lambda kind: kind):
        if kind != 0xFF and known[kind].name in units:
            out += bytes((kind,)) + known[kind].encode(units[known[kind].name])
    for block in units.get("user_defined", ()):
        data = bytes.fromhex(block["data"])
        out += bytes((block["type"],)) + len(data).to_bytes(2, "big") + data
    if "signature" in units:
        out += b"\xff" + known[0xFF].encode(units["signature"])
    return bytes(out)


def signed_bytes(data: bytes, version: Version) -> bytes | None:
    """What a 2025 vehicle signature covers: the data unit before its 0xFF mark; None where there is no signature."""
    offset, end = 6, len(data)
    missing: Missing = {}
    known = _UNITS[version]
    while offset < end:
        kind = data[offset]
        if kind == 0xFF:
            return data[:offset]
        try:
            after = (
                known[kind].decode(data, offset + 1, missing)[1]
                if kind in known
                else offset + 3 + (data[offset + 1] << 8 | data[offset + 2])
            )
        except (IndexError, struct.error):
            return None
        offset = after
    return None
