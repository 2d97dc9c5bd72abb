"""Decoders and encoders of the data units, by edition and type byte.

A decoder is `(data, offset, missing) -> (value, next offset)` and lets IndexError or struct.error escape where the
unit is cut short: the caller knows where the unit began. An encoder is its inverse on the value, without the type byte.
"""

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from carlien_telematics.codecs.gb32960 import tables
from carlien_telematics.codecs.gb32960.layout import Layout, Missing, Values, sentinel

Decoder = Callable[[bytes, int, Missing], tuple[Any, int]]
Encoder = Callable[[Any], bytes]
Numbers = Sequence[int | None]
"""An `array` where every value is there, as nearly always, else a tuple with None in the gaps."""

_LITTLE_ENDIAN = sys.byteorder == "little"


class Unit(NamedTuple):
    """One kind of data unit; `many` ones may stand in a frame repeatedly and are then concatenated."""

    name: str
    decode: Decoder
    encode: Encoder
    many: bool = False


_CELSIUS: tuple[int | None, ...] = (*(raw - 40 for raw in range(0xFE)), None, None)


def _need(data: bytes, end: int) -> None:
    """Slices are silently short; a unit must not be."""
    if end > len(data):
        raise IndexError("unit cut short")


def _millivolts(data: bytes, offset: int, count: int, name: str, missing: Missing) -> Numbers:
    end = offset + 2 * count
    _need(data, end)
    words = array("H", data[offset:end])
    if _LITTLE_ENDIAN:
        words.byteswap()
    # most frames hold no 0xFF byte at all, and looking for one is far cheaper than looking at each word
    if data.find(b"\xff", offset, end) < 0 or max(words) < 0xFFFE:
        return words
    for place, word in enumerate(words):
        if word >= 0xFFFE:
            missing[f"{name}.{place}"] = sentinel(word, "H") or ""
    return tuple(None if word >= 0xFFFE else word for word in words)


_SHIFTED = bytes((raw - 40) % 256 for raw in range(256))
_HOTTEST_SHIFTED = 40 + 127
"""Up to this raw value a temperature fits a signed byte, and a whole pack is read in one call."""


def _celsius(data: bytes, offset: int, count: int, name: str, missing: Missing) -> Numbers:
    end = offset + count
    _need(data, end)
    raw = data[offset:end]
    if not raw or max(raw) <= _HOTTEST_SHIFTED:
        return array("b", raw.translate(_SHIFTED))
    for place, byte in enumerate(raw):
        if byte >= 0xFE:
            missing[f"{name}.{place}"] = sentinel(byte, "B") or ""
    return tuple(map(_CELSIUS.__getitem__, raw))


def _word(data: bytes, offset: int) -> int:
    return data[offset] << 8 | data[offset + 1]


def _counter(data: bytes, offset: int, name: str, missing: Missing) -> int:
    """A one-byte count; a sentinel stands for a list that is not there."""
    count = data[offset]
    if count >= 0xFE:
        missing[name] = sentinel(count, "B") or ""
        return 0
    return count


def _word_counter(data: bytes, offset: int, name: str, missing: Missing) -> int:
    count = _word(data, offset)
    if count >= 0xFFFE:
        missing[name] = sentinel(count, "H") or ""
        return 0
    return count


def _celsius_bytes(values: Sequence[int | None]) -> bytes:
    return bytes(0xFF if value is None else value + 40 for value in values)


def _word_bytes(values: Sequence[int | None]) -> bytes:
    return b"".join((0xFFFF if value is None else value).to_bytes(2, "big") for value in values)


def _fixed(name: str, layout: Layout) -> Unit:
    prefix = name + "."
    decode_layout, size = layout.decode, layout.size

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        return decode_layout(data, offset, prefix, missing), offset + size

    return Unit(name, decode, layout.encode)


def _counted(name: str, layout: Layout) -> Unit:
    decode_layout, size = layout.decode, layout.size
    prefixes = tuple(f"{name}.{n}." for n in range(0xFE))

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        count = _counter(data, offset, name, missing)
        start = offset + 1
        end = start + count * size
        values = [decode_layout(data, at, prefixes[n], missing) for n, at in enumerate(range(start, end, size))]
        return values, end

    return Unit(name, decode, lambda values: bytes((len(values),)) + b"".join(map(layout.encode, values)), many=True)


def _position(layout: Layout) -> Unit:
    decode_layout, size = layout.decode, layout.size

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        values = decode_layout(data, offset, "position.", missing)
        if values.pop("south") and values["latitude"] is not None:
            values["latitude"] = -values["latitude"]
        if values.pop("west") and values["longitude"] is not None:
            values["longitude"] = -values["longitude"]
        return values, offset + size

    def encode(values: Values) -> bytes:
        latitude, longitude = values["latitude"], values["longitude"]
        unsigned = {
            **values,
            "south": latitude is not None and latitude < 0,
            "west": longitude is not None and longitude < 0,
            "latitude": None if latitude is None else abs(latitude),
            "longitude": None if longitude is None else abs(longitude),
        }
        return layout.encode(unsigned)

    return Unit("position", decode, encode)


_FAULT_LISTS = ("battery_faults", "motor_faults", "engine_faults", "other_faults")


def _alarms(names: tuple[str, ...], with_levels: bool) -> Unit:
    """`flags` lists the general alarms that are set, by bit; bits without a name stay `BIT_<n>`."""

    quiet = bytes(9)

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        if data[offset : offset + 9] == quiet and not with_levels:
            return {"level": 0, "flags": [], "battery_faults": [], "motor_faults": [], "engine_faults": [], "other_faults": []}, offset + 9
        level = data[offset]
        if level >= 0xFE:
            missing["alarms.level"] = sentinel(level, "B") or ""
        bits = int.from_bytes(data[offset + 1 : offset + 5], "big")
        values: Values = {"level": None if level >= 0xFE else level, "flags": _flag_names(bits, names) if bits else []}
        offset += 5
        for name in _FAULT_LISTS:
            count = _counter(data, offset, "alarms." + name, missing)
            offset += 1
            values[name] = [data[at : at + 4].hex() for at in range(offset, offset + 4 * count, 4)] if count else []
            offset += 4 * count
            _need(data, offset)
        if with_levels:
            count = _counter(data, offset, "alarms.levels", missing)
            offset += 1
            _need(data, offset + 2 * count)
            values["levels"] = [
                {"alarm": _flag_name(data[at], names), "level": data[at + 1]} for at in range(offset, offset + 2 * count, 2)
            ]
            offset += 2 * count
        return values, offset

    def encode(values: Values) -> bytes:
        bits = sum(1 << _flag_bit(name, names) for name in values["flags"])
        level: int | None = values["level"]
        out = bytearray([0xFF if level is None else level]) + bits.to_bytes(4, "big")
        for name in _FAULT_LISTS:
            out.append(len(values[name]))
            out += b"".join(map(bytes.fromhex, values[name]))
        if with_levels:
            out.append(len(values["levels"]))
            for entry in values["levels"]:
                out += bytes((_flag_bit(entry["alarm"], names), entry["level"]))
        return bytes(out)

    return Unit("alarms", decode, encode)


def _flag_name(bit: int, names: tuple[str, ...]) -> str:
    return names[bit] if bit < len(names) else f"BIT_{bit}"


def _flag_names(bits: int, names: tuple[str, ...]) -> list[str]:
    return [_flag_name(bit, names) for bit in range(32) if bits >> bit & 1]


def _flag_bit(name: str, names: tuple[str, ...]) -> int:
    return names.index(name) if name in names else int(name.removeprefix("BIT_"))


def _cells(head: Layout, wide: bool) -> Unit:
    """Per-cell voltages in millivolts. A pack of more than 200 cells comes in parts, over units or frames: see `cells.py`."""
    decode_head, size = head.decode, head.size
    count_size = 2 if wide else 1

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        packs = []
        total = _counter(data, offset, "cell_voltages", missing)
        offset += 1
        for n in range(total):
            prefix = f"cell_voltages.{n}."
            values = decode_head(data, offset, prefix, missing)
            offset += size
            name = prefix + "cell_millivolts"
            count = _word_counter(data, offset, name, missing) if wide else _counter(data, offset, name, missing)
            offset += count_size
            values["cell_millivolts"] = _millivolts(data, offset, count, name, missing)
            offset += 2 * count
            packs.append(values)
        return packs, offset

    def encode(packs: Sequence[Values]) -> bytes:
        out = bytearray((len(packs),))
        for pack in packs:
            cells = pack["cell_millivolts"]
            out += head.encode(pack) + len(cells).to_bytes(count_size, "big") + _word_bytes(cells)
        return bytes(out)

    return Unit("cell_voltages", decode, encode, many=True)


def _temperatures() -> Unit:
    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        packs = []
        total = _counter(data, offset, "probe_temperatures", missing)
        offset += 1
        for n in range(total):
            name = f"probe_temperatures.{n}.probe_celsius"
            pack = data[offset]
            if pack >= 0xFE:
                missing[f"probe_temperatures.{n}.pack"] = sentinel(pack, "B") or ""
            count = _word_counter(data, offset + 1, name, missing)
            offset += 3
            packs.append({"pack": None if pack >= 0xFE else pack, "probe_celsius": _celsius(data, offset, count, name, missing)})
            offset += count
        return packs, offset

    def encode(packs: Sequence[Values]) -> bytes:
        out = bytearray((len(packs),))
        for pack in packs:
            out.append(0xFF if pack["pack"] is None else pack["pack"])
            out += len(pack["probe_celsius"]).to_bytes(2, "big") + _celsius_bytes(pack["probe_celsius"])
        return bytes(out)

    return Unit("probe_temperatures", decode, encode, many=True)


def _fuel_cell_2016() -> Unit:
    head, tail = tables.FUEL_CELL_HEAD_2016, tables.FUEL_CELL_TAIL_2016

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        values = head.decode(data, offset, "fuel_cell.", missing)
        offset += head.size
        count = _word_counter(data, offset, "fuel_cell.probe_celsius", missing)
        offset += 2
        values["probe_celsius"] = _celsius(data, offset, count, "fuel_cell.probe_celsius", missing)
        offset += count
        values |= tail.decode(data, offset, "fuel_cell.", missing)
        return values, offset + tail.size

    def encode(values: Values) -> bytes:
        probes = values["probe_celsius"]
        return head.encode(values) + len(probes).to_bytes(2, "big") + _celsius_bytes(probes) + tail.encode(values)

    return Unit("fuel_cell", decode, encode)


def _stacks() -> Unit:
    head = tables.STACK_HEAD_2025

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        stacks = []
        total = _counter(data, offset, "fuel_cell_stacks", missing)
        offset += 1
        for n in range(total):
            prefix = f"fuel_cell_stacks.{n}."
            values = head.decode(data, offset, prefix, missing)
            offset += head.size
            count = _word_counter(data, offset, prefix + "coolant_celsius", missing)
            offset += 2
            values["coolant_celsius"] = _celsius(data, offset, count, prefix + "coolant_celsius", missing)
            offset += count
            stacks.append(values)
        return stacks, offset

    def encode(stacks: Sequence[Values]) -> bytes:
        out = bytearray((len(stacks),))
        for stack in stacks:
            out += head.encode(stack) + len(stack["coolant_celsius"]).to_bytes(2, "big") + _celsius_bytes(stack["coolant_celsius"])
        return bytes(out)

    return Unit("fuel_cell_stacks", decode, encode, many=True)


def _supercapacitor() -> Unit:
    head, name = tables.SUPERCAPACITOR_HEAD, "supercapacitor."

    def decode(data: bytes, offset: int, missing: Missing) -> tuple[Any, int]:
        values = head.decode(data, offset, name, missing)
        offset += head.size
        count = _word_counter(data, offset, name + "cell_millivolts", missing)
        values["cell_millivolts"] = _millivolts(data, offset + 2, count, name + "cell_millivolts", missing)
        offset += 2 + 2 * count
        count = _word_counter(data, offset, name + "probe_celsius", missing)
        values["probe_celsius"] = _celsius(data, offset + 2, count, name + "probe_celsius", missing)
        return values, offset + 2 + count

    def encode(values: Values) -> bytes:
        cells, probes = values["cell_millivolts"], values["probe_celsius"]
        cell_bytes = len(cells).to_bytes(2, "big") + _word_bytes(cells)
        return head.encode(values) + cell_bytes + len(probes).to_bytes(2, "big") + _celsius_bytes(probes)

    return Unit("supercapacitor", decode, encode)


def _signature() -> Unit:
    """2025 table 8: over all bytes of the data unit before its 0xFF mark. `r` and `s` in hex."""

    def decode(data: bytes, offset: int, _missing: Missing) -> tuple[Any, int]:
        r_end = offset + 3 + _word(data, offset + 1)
        s_end = r_end + 2 + _word(data, r_end)
        _need(data, s_end)
        algorithm = tables.SIGNATURE_ALGORITHMS.get(data[offset], data[offset])
        return {"algorithm": algorithm, "r": data[offset + 3 : r_end].hex(), "s": data[r_end + 2 : s_end].hex()}, s_end

    def encode(values: Values) -> bytes:
        codes = {name: code for code, name in tables.SIGNATURE_ALGORITHMS.items()}
        r, s = bytes.fromhex(values["r"]), bytes.fromhex(values["s"])
        algorithm = codes[values["algorithm"]] if values["algorithm"] in codes else int(values["algorithm"])
        return bytes([algorithm]) + len(r).to_bytes(2, "big") + r + len(s).to_bytes(2, "big") + s

    return Unit("signature", decode, encode)


UNITS_2016: dict[int, Unit] = {
    0x01: _fixed("vehicle", tables.VEHICLE_2016),
    0x02: _counted("motors", tables.MOTOR_2016),
    0x03: _fuel_cell_2016(),
    0x04: _fixed("engine", tables.ENGINE_2016),
    0x05: _position(tables.POSITION_2016),
    0x06: _fixed("extremes", tables.EXTREMES_2016),
    0x07: _alarms(tables.ALARMS_2016, with_levels=False),
    0x08: _cells(tables.CELLS_HEAD_2016, wide=False),
    0x09: _temperatures(),
}
UNITS_2025: dict[int, Unit] = {
    0x01: _fixed("vehicle", tables.VEHICLE_2025),
    0x02: _counted("motors", tables.MOTOR_2025),
    0x03: _fixed("fuel_cell", tables.FUEL_CELL_2025),
    0x04: _fixed("engine", tables.ENGINE_2025),
    0x05: _position(tables.POSITION_2025),
    0x06: _alarms(tables.ALARMS_2025, with_levels=True),
    0x07: _cells(tables.CELLS_HEAD_2025, wide=True),
    0x08: _temperatures(),
    0x30: _stacks(),
    0x31: _supercapacitor(),
    0x32: _fixed("supercapacitor_extremes", tables.SUPERCAPACITOR_EXTREMES),
    0xFF: _signature(),
}
