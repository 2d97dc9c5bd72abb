"""Messages out of a TCP stream, and sub-packages put together."""

from collections import Counter, OrderedDict
from typing import TypeAlias

from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.jt808.frame import MAX_FRAME, Message, parse


class StreamParser:
    """Push parser; marks delimit, so a broken message costs only itself. The buffer is bounded by the longest frame."""

    __slots__ = ("_buffer", "refused")

    def __init__(self) -> None:
        self._buffer = b""
        self.refused: Counter[Reason] = Counter()
        """Broken messages by reason."""

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Whole messages in the order they came. One mark may end a message and begin the next."""
        pieces = (self._buffer + data).split(b"\x7e")
        rest = pieces.pop()
        if len(rest) > MAX_FRAME:
            self.refused[Reason.LENGTH] += 1
            rest = b""
        self._buffer = rest
        messages = []
        for piece in pieces:
            if not piece:
                continue
            try:
                messages.append(parse(b"\x7e" + piece + b"\x7e"))
            except FrameError as error:
                self.refused[error.reason] += 1
        return messages

    def finish(self) -> list[Message]:
        """At the end of the stream: what has no closing mark is no message."""
        if self._buffer:
            self.refused[Reason.TRUNCATED] += 1
            self._buffer = b""
        return []


MAX_PARTS = 100
"""Of one message: a hundred kilobytes, far above a batch of positions. A message said to have more is not put together."""


_Key: TypeAlias = tuple[str, int, int]


def _key(message: Message) -> _Key:
    return message.terminal, message.message_id, message.first_serial


class Reassembly:
    """Joins sub-packages. Holds at most `limit` unfinished messages, the oldest going first."""

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._parts: OrderedDict[_Key, dict[int, Message]] = OrderedDict()
        self.dropped = 0
        """Unfinished messages given up."""

    def add(self, message: Message) -> Message | None:
        """The whole message when its last part is there, in any order; None before. A message without parts is whole."""
        if message.part is None:
            return message
        total, number = message.part
        if not 1 <= number <= total <= MAX_PARTS:
            self.dropped += 1
            return None
        key = _key(message)
        parts = self._parts.setdefault(key, {})
        parts[number] = message
        if len(parts) < total:
            if len(self._parts) > self._limit:
                self._parts.popitem(last=False)
                self.dropped += 1
            return None
        del self._parts[key]
        ordered = [parts[n] for n in sorted(parts)]
        body, raw = b"".join(part.body for part in ordered), b"".join(part.raw for part in ordered)
        return Message(message.message_id, message.terminal, key[2], body, message.encryption, message.version_2019, raw=raw)

    def missing(self, message: Message) -> list[int]:
        """Once a message's last part is there: which others of it are not. Over TCP they will not come unless they are asked for."""
        if message.part is None or message.part[0] != message.part[1]:
            return []
        there = self._parts.get(_key(message), {})
        return [number for number in range(1, message.part[0]) if number not in there] if there else []
