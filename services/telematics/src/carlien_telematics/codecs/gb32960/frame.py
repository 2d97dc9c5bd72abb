"""The envelope of GB/T 32960.3: start mark, command, response, VIN, encryption, length, data unit, check byte.

GB/T 32960.3-2016 clause 6 (`##`) and GB/T 32960.3-2025 clause 6 (`$$`), tables 2 to 5.
"""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.errors import FrameError, Reason

HEADER = 24
OVERHEAD = HEADER + 1
MAX_DATA = 65_531
"""Longest data unit, table 2."""
MAX_FRAME = MAX_DATA + OVERHEAD
_CHINA = timedelta(hours=8)


class Version(IntEnum):
    """Edition, told by the start mark."""

    V2016 = 0x2323
    V2025 = 0x2424

    @property
    def protocol(self) -> str:
        return "GB32960_2016" if self is Version.V2016 else "GB32960_2025"


class Command(IntEnum):
    """Table 3. 0x07 and 0x08 are only reserved for terminals in 2016's table, and sent by every terminal."""

    LOGIN = 0x01
    REALTIME = 0x02
    REISSUE = 0x03
    LOGOUT = 0x04
    PLATFORM_LOGIN = 0x05
    PLATFORM_LOGOUT = 0x06
    HEARTBEAT = 0x07
    TIME_CHECK = 0x08
    ACTIVATION = 0x09
    ACTIVATION_RESPONSE = 0x0A
    KEY_EXCHANGE = 0x0B
    QUERY = 0x80
    SET = 0x81
    CONTROL = 0x82


class Response(IntEnum):
    """Table 4; 5 to 7 are new in 2025."""

    SUCCESS = 0x01
    ERROR = 0x02
    VIN_DUPLICATE = 0x03
    VIN_UNKNOWN = 0x04
    SIGNATURE_INVALID = 0x05
    STRUCTURE_INVALID = 0x06
    DECRYPTION_FAILED = 0x07
    COMMAND = 0xFE


class Encryption(IntEnum):
    """Table 2; SM2 and SM4 are new in 2025."""

    NONE = 0x01
    RSA = 0x02
    AES128 = 0x03
    SM2 = 0x04
    SM4 = 0x05
    ABNORMAL = 0xFE
    INVALID = 0xFF


_COMMANDS = frozenset(Command)
_RESPONSES = frozenset(Response)
_ENCRYPTIONS = frozenset(Encryption)
_MARKS = (b"##", b"$$")
_VERSIONS = dict(zip(_MARKS, Version, strict=True))


class Frame(NamedTuple):
    """One message, checked but with its data unit not yet read."""

    version: Version
    command: int
    response: int
    vin: bytes
    """17 bytes as sent; all NUL where the terminal does not know its VIN."""
    encryption: int
    data: bytes

    @property
    def is_uplink(self) -> bool:
        """True where it asks, false where it answers."""
        return self.response == Response.COMMAND

    @property
    def has_vin(self) -> bool:
        return self.vin != bytes(17)


def plausible_header(buffer: bytes | bytearray, start: int) -> bool:
    """True where the 24 bytes at `start` can be a header: how a real start mark is told from two payload bytes."""
    return (
        buffer[start + 2] in _COMMANDS
        and buffer[start + 3] in _RESPONSES
        and buffer[start + 21] in _ENCRYPTIONS
        and (buffer[start + 22] << 8 | buffer[start + 23]) <= MAX_DATA
    )


def parse(raw: bytes) -> Frame:
    """One whole frame; raises FrameError (START_MARK, TRUNCATED, HEADER, LENGTH, CHECK_BYTE)."""
    if raw[:2] not in _MARKS:
        raise FrameError(Reason.START_MARK)
    if len(raw) < OVERHEAD:
        raise FrameError(Reason.TRUNCATED)
    if not plausible_header(raw, 0):
        raise FrameError(Reason.HEADER)
    length = raw[22] << 8 | raw[23]
    if len(raw) < length + OVERHEAD:
        raise FrameError(Reason.TRUNCATED)
    if len(raw) > length + OVERHEAD:
        raise FrameError(Reason.LENGTH, "bytes after the check byte")
    if xor_of(raw[2:]):
        raise FrameError(Reason.CHECK_BYTE)
    return trusted(raw)


def trusted(raw: bytes) -> Frame:
    """A frame whose envelope was checked before, for example by the gateway."""
    return Frame(_VERSIONS[raw[:2]], raw[2], raw[3], raw[4:21], raw[21], raw[24:-1])


def build(frame: Frame) -> bytes:
    """The frame as sent, check byte computed. Raises ValueError for a data unit too long or a VIN that is not 17 bytes."""
    if len(frame.data) > MAX_DATA or len(frame.vin) != 17:
        raise ValueError("data unit too long or VIN not 17 bytes")
    mark = int(frame.version).to_bytes(2, "big")
    checked = (
        bytes((frame.command, frame.response)) + frame.vin + bytes((frame.encryption,)) + len(frame.data).to_bytes(2, "big") + frame.data
    )
    return mark + checked + bytes((xor_of(checked),))


def acknowledge(raw: bytes, response: Response, at: datetime | None = None) -> bytes:
    """The platform's answer to a checked uplink frame: header kept, response flag set, data unit cut to its time.

    A time check is answered with the platform's time `at` (clause 6.3.2: "the answer carries the time of the message").
    """
    time = encode_time(at) if at is not None and raw[2] == Command.TIME_CHECK else raw[24:30] if len(raw) >= 31 else b""
    checked = bytes((raw[2], response)) + raw[4:21] + b"\x01" + len(time).to_bytes(2, "big") + time
    return raw[:2] + checked + bytes((xor_of(checked),))


def readdress(raw: bytes, vin: str) -> bytes:
    """The same message from another car: VIN replaced, check byte recomputed."""
    frame = trusted(raw)
    return build(Frame(frame.version, frame.command, frame.response, vin.encode("ascii"), frame.encryption, frame.data))


def decode_time(data: bytes, offset: int = 0) -> datetime:
    """Six bytes of UTC+8 (table 5) as UTC. Raises FrameError(DEVICE_TIME) for what is no date."""
    try:
        year, month, day, hour, minute, second = data[offset : offset + 6]
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC) - _CHINA
    except ValueError as error:
        raise FrameError(Reason.DEVICE_TIME, str(error)) from None


def encode_time(at: datetime) -> bytes:
    """An aware time as six bytes of UTC+8, whole seconds."""
    local = at.astimezone(UTC) + _CHINA
    return bytes((local.year - 2000, local.month, local.day, local.hour, local.minute, local.second))
