"""Bodies of the messages a terminal sends, and of the platform's answers."""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.jt808.frame import Message
from carlien_telematics.codecs.jt808.tables import ALARMS, ITEMS, STATUS_FLAGS

Values = dict[str, Any]
_POSITION = struct.Struct(">IIIIHHH6s")
_CHINA = timedelta(hours=8)

REGISTER, AUTHENTICATE, HEARTBEAT, LOGOUT = 0x0100, 0x0102, 0x0002, 0x0003
TERMINAL_ACK, POSITION, POSITION_BATCH, CAN_BATCH = 0x0001, 0x0200, 0x0704, 0x0705
PLATFORM_ACK, REQUEST_PARTS, REGISTER_ACK, SET_PARAMETERS, QUERY_PARAMETERS = 0x8001, 0x8003, 0x8100, 0x8103, 0x8104
PARAMETERS = 0x0104
HEARTBEAT_INTERVAL, REPORT_INTERVAL = 0x0001, 0x0029
"""Parameters of four bytes, in seconds (2013 table 12)."""


def decode_bcd_time(raw: bytes) -> datetime | None:
    """YYMMDDhhmmss in UTC+8 as UTC; None for what is no date, for terminals without a fix send zeros."""
    try:
        year, month, day, hour, minute, second = map(int, struct.unpack("2s2s2s2s2s2s", raw.hex().encode()))
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - _CHINA
    except ValueError:
        return None


def encode_bcd_time(at: datetime) -> bytes:
    """Inverse of `decode_bcd_time`, whole seconds."""
    return bytes.fromhex((at.astimezone(UTC) + _CHINA).strftime("%y%m%d%H%M%S"))


@lru_cache(maxsize=4096)
def _alarm_names(bits: int) -> tuple[str, ...]:
    return tuple(ALARMS[bit] for bit in range(32) if bits >> bit & 1)


@lru_cache(maxsize=4096)
def _status_flags(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in STATUS_FLAGS.items() if bits >> bit & 1)


def decode_position(body: bytes) -> Values:
    """0x0200: fixed part and extra items. Coordinates in degrees, signed; `fix_valid` says whether they are of now.

    Items this version doesn't know are under `items` as hex by id; what follows an item whose length lies is `undecoded`.
    Raises FrameError(BODY) where the fixed part is cut short.
    """
    if len(body) < 28:
        raise FrameError(Reason.BODY, "position cut short")
    alarm, status, latitude, longitude, altitude, speed, heading, time = _POSITION.unpack_from(body)
    values: Values = {
        "device_time": decode_bcd_time(time),
        "latitude": (-latitude if status & 4 else latitude) / 1_000_000,
        "longitude": (-longitude if status & 8 else longitude) / 1_000_000,
        "fix_valid": status & 2 == 2,
        "ignition": status & 1 == 1,
        "altitude_m": altitude,
        "speed_kmh": speed / 10,
        "heading_deg": heading,
        "alarms": _alarm_names(alarm),
        "status": _status_flags(status & 0x1C30),
    }
    at, end = 28, len(body)
    while at + 2 <= end:
        kind, size = body[at], body[at + 1]
        stop = at + 2 + size
        if stop > end:
            break
        known = ITEMS.get(kind)
        if known is not None and known[1] == size:
            number = int.from_bytes(body[at + 2 : stop], "big")
            values[known[0]] = number / known[2] if known[2] != 1 else number
        else:
            values.setdefault("items", {})[f"{kind:02x}"] = body[at + 2 : stop].hex()
        at = stop
    if at < end:
        values["undecoded"] = body[at:].hex()
    return values


def encode_position(values: Values) -> bytes:
    """Inverse of `decode_position` for what ITEMS names."""
    alarm = sum(1 << bit for bit, name in ALARMS.items() if name in values["alarms"])
    status = sum(1 << bit for bit, name in STATUS_FLAGS.items() if name in values["status"])
    status |= values["ignition"] | values["fix_valid"] << 1 | (values["latitude"] < 0) << 2 | (values["longitude"] < 0) << 3
    latitude, longitude = (round(abs(values[name]) * 1_000_000) for name in ("latitude", "longitude"))
    speed = round(values["speed_kmh"] * 10)
    time = encode_bcd_time(values["device_time"])
    out = _POSITION.pack(alarm, status, latitude, longitude, values["altitude_m"], speed, values["heading_deg"], time)
    for kind, (name, size, divisor) in ITEMS.items():
        if name in values:
            out += bytes((kind, size)) + round(values[name] * divisor).to_bytes(size, "big")
    return out


def split_position_batch(body: bytes) -> Iterator[bytes]:
    """Position bodies of a 0x0704. Raises FrameError(BODY) where it is cut short."""
    if len(body) < 3:
        raise FrameError(Reason.BODY, "batch cut short")
    at = 3
    for _ in range(body[0] << 8 | body[1]):
        stop = at + 2 + int.from_bytes(body[at : at + 2], "big")
        if at + 2 > len(body) or stop > len(body):
            raise FrameError(Reason.BODY, "batch cut short")
        yield body[at + 2 : stop]
        at = stop


def decode_position_batch(body: bytes) -> Values:
    """0x0704: positions kept while there was no connection, or a plain batch. Raises FrameError(BODY)."""
    positions = [decode_position(position) for position in split_position_batch(body)]
    return {"reissued": body[2] == 1, "positions": positions}


def encode_position_batch(positions: list[bytes], *, reissued: bool) -> bytes:
    """0x0704 of encoded position bodies."""
    items = b"".join(len(position).to_bytes(2, "big") + position for position in positions)
    return len(positions).to_bytes(2, "big") + bytes((reissued,)) + items


def decode_can_batch(body: bytes) -> Values:
    """0x0705: CAN frames. `received` is hhmmss and milliseconds of the first one, terminal time. Raises FrameError(BODY)."""
    count = int.from_bytes(body[:2], "big")
    if len(body) != 7 + 12 * count:
        raise FrameError(Reason.BODY, "CAN batch of the wrong length")
    frames = []
    for at in range(7, len(body), 12):
        word = int.from_bytes(body[at : at + 4], "big")
        frames.append(
            {
                "can_id": word & 0x1FFFFFFF,
                "channel": word >> 31,
                "extended": word >> 30 & 1 == 1,
                "average": word >> 29 & 1 == 1,
                "data": body[at + 4 : at + 12].hex(),
            }
        )
    return {"received": body[2:7].hex(), "frames": frames}


def encode_can_batch(received: str, frames: list[Values]) -> bytes:
    """Inverse of `decode_can_batch`; `received` as its ten decimal digits."""
    out = len(frames).to_bytes(2, "big") + bytes.fromhex(received)
    for frame in frames:
        word = frame["can_id"] | frame["channel"] << 31 | frame["extended"] << 30 | frame["average"] << 29
        out += word.to_bytes(4, "big") + bytes.fromhex(frame["data"])
    return out


def can_batch_time(body: bytes, received_at: datetime) -> datetime:
    """When a 0x0705 was recorded: it says the time of day in UTC+8, the day is the one nearest to its receipt. Raises FrameError."""
    try:
        hour, minute, second = (int(f"{byte:02x}") for byte in body[2:5])
        # two bytes of milliseconds, decimal digits like the rest
        at = time(hour, minute, second, int(body[5:7].hex()) * 1000, tzinfo=UTC)
    except ValueError:
        raise FrameError(Reason.DEVICE_TIME, "CAN batch without a time of day") from None
    local = received_at.astimezone(UTC) + _CHINA
    days = (datetime.combine(local.date() + timedelta(days=shift), at) for shift in (-1, 0, 1))
    return min(days, key=lambda day: abs(day - local)) - _CHINA


def decode_parameters(body: bytes) -> Values:
    """0x0104: what the terminal is set to, by parameter id in hex. Raises FrameError(BODY)."""
    if len(body) < 3:
        raise FrameError(Reason.BODY, "parameters cut short")
    parameters: dict[int, bytes] = {}
    at = 3
    for _ in range(body[2]):
        stop = at + 5 + (body[at + 4] if at + 4 < len(body) else 0)
        if stop > len(body) or at + 5 > len(body):
            raise FrameError(Reason.BODY, "parameters cut short")
        parameters[int.from_bytes(body[at : at + 4], "big")] = body[at + 5 : stop]
        at = stop
    named = {f"{key:04x}": value.hex() for key, value in parameters.items()}
    return {"answers_serial": body[0] << 8 | body[1], "parameters": named}


def encode_parameters(answers_serial: int, parameters: dict[int, bytes]) -> bytes:
    """Inverse of `decode_parameters`: body of a 0x0104."""
    return answers_serial.to_bytes(2, "big") + _items(parameters)


def _items(parameters: dict[int, bytes]) -> bytes:
    return bytes((len(parameters),)) + b"".join(struct.pack(">IB", key, len(value)) + value for key, value in parameters.items())


def _text(raw: bytes) -> str:
    return raw.strip(b"\0 ").decode("gbk", errors="replace")


_REGISTER_FIELDS = {"2011": (5, 8, 7), "2013": (5, 20, 7), "2019": (11, 30, 30)}


def decode_register(message: Message) -> Values:
    """0x0100. 2011 and 2013 share a header and are told apart by the length of the body. Raises FrameError(BODY)."""
    body = message.body
    edition = "2019" if message.version_2019 is not None else "2013" if len(body) >= 37 else "2011"
    maker, model, number = _REGISTER_FIELDS[edition]
    plate_at = 4 + maker + model + number
    if len(body) <= plate_at:
        raise FrameError(Reason.BODY, "registration cut short")
    return {
        "edition": edition,
        "province": body[0] << 8 | body[1],
        "city": body[2] << 8 | body[3],
        "maker": _text(body[4 : 4 + maker]),
        "model": _text(body[4 + maker : 4 + maker + model]),
        "terminal_id": _text(body[4 + maker + model : plate_at]),
        "plate_colour": body[plate_at],
        "plate": _text(body[plate_at + 1 :]),
    }


def decode_authenticate(message: Message) -> Values:
    """0x0102: the code given at registration; 2019 adds IMEI and software version. Raises FrameError(BODY)."""
    body = message.body
    if message.version_2019 is None:
        return {"code": _text(body)}
    size = body[0] if body else 0
    if len(body) < 1 + size:
        raise FrameError(Reason.BODY, "authentication cut short")
    return {"code": _text(body[1 : 1 + size]), "imei": _text(body[1 + size : 16 + size]), "software": _text(body[16 + size :])}


def decode_body(message: Message) -> Values:
    """Body of a terminal's message by its id; an unknown or encrypted one is `body` in hex. Raises FrameError(BODY)."""
    if message.encryption or message.part:
        return {"body": message.body.hex()}
    match message.message_id:
        case 0x0200 | 0x0201:
            return decode_position(message.body if message.message_id == POSITION else message.body[2:])
        case 0x0704:
            return decode_position_batch(message.body)
        case 0x0705:
            return decode_can_batch(message.body)
        case 0x0100:
            return decode_register(message)
        case 0x0102:
            return decode_authenticate(message)
        case 0x0104:
            return decode_parameters(message.body)
        case 0x0001:
            serial, answered, result = _need(struct.Struct(">HHB"), message.body)
            return {"answers_serial": serial, "answers_message": f"0x{answered:04x}", "result": result}
        case _:
            return {"body": message.body.hex()} if message.body else {}


def _need(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    if len(body) != layout.size:
        raise FrameError(Reason.BODY, f"body has {len(body)} bytes, not {layout.size}")
    return layout.unpack(body)


def platform_ack(message: Message, serial: int, result: int) -> Message:
    """0x8001 answering `message`: 0 done, 1 failed, 2 wrong, 3 not supported."""
    body = struct.pack(">HHB", message.serial, message.message_id, result)
    return Message(PLATFORM_ACK, message.terminal, serial, body, version_2019=message.version_2019)


def request_parts(message: Message, serial: int, missing: Sequence[int]) -> Message:
    """0x8003: asks for the missing parts (from 1) of the message that `message` is a part of. The count is a word since 2019."""
    count = struct.pack(">B" if message.version_2019 is None else ">H", len(missing))
    body = struct.pack(">H", message.first_serial) + count + b"".join(struct.pack(">H", number) for number in missing)
    return Message(REQUEST_PARTS, message.terminal, serial, body, version_2019=message.version_2019)


def register_ack(message: Message, serial: int, result: int, code: str = "") -> Message:
    """0x8100: 0 registered (with the authentication code), 1 car taken, 2 no such car, 3 terminal taken, 4 no such terminal."""
    body = struct.pack(">HB", message.serial, result) + code.encode("ascii")
    return Message(REGISTER_ACK, message.terminal, serial, body, version_2019=message.version_2019)


def set_parameters(message: Message, serial: int, parameters: dict[int, bytes]) -> Message:
    """0x8103: parameter id to value as the standard's table gives it."""
    return Message(SET_PARAMETERS, message.terminal, serial, _items(parameters), version_2019=message.version_2019)


def query_parameters(message: Message, serial: int) -> Message:
    """0x8104: asks for all parameters."""
    return Message(QUERY_PARAMETERS, message.terminal, serial, b"", version_2019=message.version_2019)
