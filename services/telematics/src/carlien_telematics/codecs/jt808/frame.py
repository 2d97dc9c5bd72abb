"""The envelope of JT/T 808: 0x7E, header, body, check byte, 0x7E, with 0x7D escapes.

2011 and 2013 share a header of 12 bytes with a 12-digit terminal number; bit 14 of the properties marks 2019, which adds
a version byte and has 20 digits. Clause 4.4 of JT/T 808-2013, clause 4.4 of JT/T 808-2019.
"""

import struct
from dataclasses import dataclass, field

from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.errors import FrameError, Reason

MARK = 0x7E
MAX_BODY = 1023
MAX_FRAME = 2 * (17 + 4 + MAX_BODY + 1) + 2
"""Longest frame on the wire: every byte of header, sub-package fields, body and check byte escaped."""

SHORT_SERIAL = frozenset((0x5501, 0x5502))
"""Positions of one maker whose header has a serial of one byte."""
_HEAD = struct.Struct(">HH")
_SUB = struct.Struct(">HH")


@dataclass(slots=True)
class Message:
    """One message. `part` is (number of parts, number of this one from 1) where it is a sub-package."""

    message_id: int
    terminal: str
    """Terminal number: 12 (2011, 2013) or 20 (2019) digits; some makers send hex digits."""
    serial: int
    body: bytes
    encryption: int = 0
    version_2019: int | None = None
    """Protocol version byte of a 2019 header, None for the older header."""
    part: tuple[int, int] | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)
    """As received, marks included; of a message put together from parts, all of them in order."""

    @property
    def first_serial(self) -> int:
        """Serial of the message's first part; its own where it has no parts."""
        return self.serial if self.part is None else self.serial - self.part[1] + 1 & 0xFFFF


def unescape(inner: bytes) -> bytes:
    """Bytes between the marks as meant. Real terminals leave some 0x7D unescaped; the check byte is the judge of those."""
    return inner.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d") if b"\x7d" in inner else inner


def escape(plain: bytes) -> bytes:
    """Inverse of `unescape`."""
    return plain.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")


def parse(raw: bytes) -> Message:
    """One frame with its marks; raises FrameError (START_MARK, TRUNCATED, CHECK_BYTE, LENGTH)."""
    if len(raw) < 2 or raw[0] != MARK or raw[-1] != MARK:
        raise FrameError(Reason.START_MARK)
    plain = unescape(raw[1:-1])
    if len(plain) < 13:
        raise FrameError(Reason.TRUNCATED)
    if xor_of(plain):
        raise FrameError(Reason.CHECK_BYTE)
    message_id, properties = _HEAD.unpack_from(plain)
    version, at, digits = (plain[4], 5, 10) if properties & 0x4000 else (None, 4, 6)
    serial_at = at + digits
    start = serial_at + (1 if message_id in SHORT_SERIAL else 2)
    serial = int.from_bytes(plain[serial_at:start], "big")
    part = None
    if properties & 0x2000:
        if len(plain) < start + 4:
            raise FrameError(Reason.TRUNCATED)
        part = _SUB.unpack_from(plain, start)
        start += 4
    body = plain[start:-1]
    if len(body) != properties & 0x3FF or len(plain) <= start:
        raise FrameError(Reason.LENGTH, f"body has {len(body)} bytes, header says {properties & 0x3FF}")
    terminal = plain[at:serial_at].hex()
    return Message(message_id, terminal, serial, body, properties >> 10 & 7, version, part, raw)


def build(message: Message) -> bytes:
    """The frame as sent. Raises ValueError for a body that needs sub-packages or a terminal number of the wrong length."""
    terminal = bytes.fromhex(message.terminal)
    digits = 6 if message.version_2019 is None else 10
    if len(message.body) > MAX_BODY or len(terminal) != digits:
        raise ValueError("body too long or terminal number of the wrong length")
    properties = len(message.body) | message.encryption << 10
    properties |= 0x2000 if message.part else 0
    properties |= 0x4000 if message.version_2019 is not None else 0
    head = _HEAD.pack(message.message_id, properties)
    if message.version_2019 is not None:
        head += bytes((message.version_2019,))
    serial = message.serial.to_bytes(1 if message.message_id in SHORT_SERIAL else 2, "big")
    plain = head + terminal + serial + (_SUB.pack(*message.part) if message.part else b"") + message.body
    return b"\x7e" + escape(plain + bytes((xor_of(plain),))) + b"\x7e"
