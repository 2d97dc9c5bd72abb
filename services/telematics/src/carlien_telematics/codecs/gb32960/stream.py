"""Frames out of a TCP stream: sticky, split, truncated and garbled.

A frame ends where its length says, if its check byte then agrees. Otherwise the search for a start mark goes on one
byte behind the refused mark, so that good frames beside or inside a broken one are found.
"""

from collections import Counter

from carlien_telematics.codecs.check import xor_of
from carlien_telematics.codecs.errors import Reason
from carlien_telematics.codecs.gb32960.frame import HEADER, OVERHEAD, plausible_header

_MARKS = (b"##", b"$$")


class StreamParser:
    """Push parser with a buffer bounded by the longest frame plus one read. Not thread safe."""

    __slots__ = ("_buffer", "junk_bytes", "refused")

    def __init__(self) -> None:
        self._buffer = b""
        self.refused: Counter[Reason] = Counter()
        """Broken messages by reason since the start; the owner may clear it."""
        self.junk_bytes = 0
        """Bytes thrown away between frames."""

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Whole frames, envelope checked, in the order they came."""
        buffer = self._buffer + data if self._buffer else data
        frames, start = self._scan(buffer, last=False)
        self._buffer = buffer[start:]
        return frames

    def finish(self) -> list[bytes]:
        """At the end of the stream: frames hidden behind a message that will never be complete."""
        buffer, self._buffer = self._buffer, b""
        return self._scan(buffer, last=True)[0]

    def _scan(self, buffer: bytes, *, last: bool) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        at, end = 0, len(buffer)
        while True:
            start = _next_mark(buffer, at)
            if start < 0:
                # one byte may be the first half of a mark
                keep = end - 1 if not last and end > at and buffer[-1:] in (b"#", b"$") else end
                self.junk_bytes += max(0, keep - at)
                return frames, max(at, keep)
            self.junk_bytes += start - at
            at = start
            if end - at < HEADER:
                if not last:
                    return frames, at
                self.refused[Reason.TRUNCATED] += 1
                at += 2
                continue
            if not plausible_header(buffer, at):
                self.refused[Reason.HEADER] += 1
                at += 1
                continue
            stop = at + OVERHEAD + (buffer[at + 22] << 8 | buffer[at + 23])
            if stop <= end:
                raw = buffer[at:stop]
                if not xor_of(raw[2:]):
                    frames.append(raw)
                    at = stop
                else:
                    self.refused[Reason.CHECK_BYTE] += 1
                    at += 2
                continue
            if last or _whole_frame_of_same_car_follows(buffer, at):
                # the rest of this message was lost: waiting for it would only swallow what follows
                self.refused[Reason.TRUNCATED] += 1
                at += 2
            else:
                return frames, at


def _next_mark(buffer: bytes, at: int) -> int:
    old, new = buffer.find(b"##", at), buffer.find(b"$$", at)
    return new if old < 0 else old if new < 0 else min(old, new)


def _whole_frame_of_same_car_follows(buffer: bytes, head: int) -> bool:
    """True where, behind the incomplete message at `head`, a whole checked frame of the same edition and VIN stands."""
    mark, end = buffer[head : head + 2], len(buffer)
    vin = buffer[head + 4 : head + 21]
    at = buffer.find(mark, head + 2)
    while 0 <= at <= end - OVERHEAD:
        if plausible_header(buffer, at) and buffer[at + 4 : at + 21] == vin:
            stop = at + OVERHEAD + (buffer[at + 22] << 8 | buffer[at + 23])
            if stop <= end and not xor_of(buffer[at + 2 : stop]):
                return True
        at = buffer.find(mark, at + 1)
    return False
