"""OBD-II answers (SAE J1979): modes 01, 03, 07, 09 and 0A as an adapter gives them, hex with or without a CAN header."""

import re
from dataclasses import dataclass
from typing import Any

from carlien_telematics.codecs.errors import FrameError, Reason

_CAN_HEADER = re.compile(r"^(7[0-9A-F]{2}|18DAF1[0-9A-F]{2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pid:
    """`value = raw * factor + offset` of `size` big-endian bytes."""

    name: str
    size: int
    factor: float = 1
    offset: float = 0
    signed: bool = False


PIDS = {
    0x01: Pid("monitor_status", 4),
    0x04: Pid("engine_load_percent", 1, 100 / 255),
    0x05: Pid("coolant_temperature_c", 1, 1, -40),
    0x06: Pid("short_fuel_trim_bank1_percent", 1, 100 / 128, -100),
    0x07: Pid("long_fuel_trim_bank1_percent", 1, 100 / 128, -100),
    0x0A: Pid("fuel_pressure_kpa", 1, 3),
    0x0B: Pid("intake_pressure_kpa", 1),
    0x0C: Pid("engine_rpm", 2, 1 / 4),
    0x0D: Pid("speed_kmh", 1),
    0x0E: Pid("timing_advance_deg", 1, 1 / 2, -64),
    0x0F: Pid("intake_temperature_c", 1, 1, -40),
    0x10: Pid("air_flow_g_per_s", 2, 1 / 100),
    0x11: Pid("throttle_percent", 1, 100 / 255),
    0x1F: Pid("run_time_s", 2),
    0x21: Pid("distance_with_mil_km", 2),
    0x2F: Pid("fuel_level_percent", 1, 100 / 255),
    0x30: Pid("warm_ups_since_clear", 1),
    0x31: Pid("distance_since_clear_km", 2),
    0x33: Pid("barometric_pressure_kpa", 1),
    0x3C: Pid("catalyst_temperature_c", 2, 1 / 10, -40),
    0x42: Pid("module_voltage_v", 2, 1 / 1000),
    0x46: Pid("ambient_temperature_c", 1, 1, -40),
    0x4D: Pid("time_with_mil_min", 2),
    0x4E: Pid("time_since_clear_min", 2),
    0x5B: Pid("hybrid_battery_percent", 1, 100 / 255),
    0x5C: Pid("oil_temperature_c", 1, 1, -40),
    0x5E: Pid("fuel_rate_l_per_h", 2, 1 / 20),
    0xA6: Pid("odometer_km", 4, 1 / 10),
}
_DTC_MODES = {0x43: "stored", 0x47: "pending", 0x4A: "permanent"}


def decode(text: str) -> dict[str, Any]:
    """One answer: values by name, VIN or trouble codes. Raises FrameError (EMPTY, NOT_HEX, TRUNCATED, UNSUPPORTED, BODY).

    A PID this table lacks is `pid_<id>` in hex and ends the answer, for its length is not known.
    """
    compact = re.sub(r"[\s:>]", "", text)
    if not compact:
        raise FrameError(Reason.EMPTY)
    header = _CAN_HEADER.match(compact) if len(compact) % 2 or compact[:6].upper() == "18DAF1" else None
    payload = compact[header.end() :] if header else compact
    try:
        data = bytes.fromhex(payload)
    except ValueError:
        raise FrameError(Reason.NOT_HEX) from None
    if header:
        if not data or data[0] >> 4 or len(data) < 1 + data[0]:
            raise FrameError(Reason.UNSUPPORTED, "only single CAN frames; join a multi-frame answer first")
        data = data[1 : 1 + data[0]]
    if not data:
        raise FrameError(Reason.EMPTY)
    decoded: dict[str, Any] = {"ecu": header.group().lower()} if header else {}
    match data[0]:
        case 0x41:
            return decoded | {"mode": 1, **_live_data(data[1:])}
        case 0x43 | 0x47 | 0x4A:
            return decoded | {"mode": data[0] - 0x40, "trouble_codes": _trouble_codes(data[1:]), "kind": _DTC_MODES[data[0]]}
        case 0x49:
            return decoded | {"mode": 9, **_vehicle_information(data[1:])}
        case 0x7F:
            raise FrameError(Reason.UNSUPPORTED, f"the car refused the request: {data[1:].hex()}")
        case mode:
            raise FrameError(Reason.UNSUPPORTED, f"mode {mode:02x}")


def _live_data(data: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 0
    while at < len(data):
        known = PIDS.get(data[at])
        if known is None:
            values[f"pid_{data[at]:02x}"] = data[at + 1 :].hex()
            break
        raw = data[at + 1 : at + 1 + known.size]
        if len(raw) < known.size:
            raise FrameError(Reason.TRUNCATED, known.name)
        number = int.from_bytes(raw, "big") * known.factor + known.offset
        values[known.name] = number if isinstance(number, int) else round(number, 4)
        if data[at] == 0x01:
            values["monitor_status"] = raw.hex()
            values["mil_on"], values["trouble_code_count"] = raw[0] >= 0x80, raw[0] & 0x7F
        at += 1 + known.size
    if not values:
        raise FrameError(Reason.TRUNCATED)
    return values


def _trouble_codes(data: bytes) -> list[str]:
    """Pairs of bytes; over CAN a count comes first, which leaves an odd number of bytes."""
    if len(data) % 2:
        data = data[1:]
    return [trouble_code(data[at] << 8 | data[at + 1]) for at in range(0, len(data), 2) if data[at] or data[at + 1]]


def trouble_code(word: int) -> str:
    """SAE J2012 name of a two-byte code, for example 0x0301 is P0301."""
    return f"{'PCBU'[word >> 14]}{word >> 12 & 3}{word & 0xFFF:03X}"


def _vehicle_information(data: bytes) -> dict[str, Any]:
    if not data:
        raise FrameError(Reason.TRUNCATED)
    if data[0] != 0x02:
        return {f"information_{data[0]:02x}": data[1:].hex()}
    # CAN: a count of items, then 17 characters; K-line pads with NUL in front
    text = data[1:].lstrip(b"\x01\x00").rstrip(b"\0")
    if len(text) != 17 or not text.isalnum():
        raise FrameError(Reason.BODY, "VIN is not 17 letters and digits")
    return {"vin": text.decode("ascii").upper()}
