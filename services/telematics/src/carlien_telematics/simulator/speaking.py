"""What a simulated device must be able to do, whatever protocol it speaks; and GB/T 32960."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from carlien_telematics.codecs.gb32960 import Command, Response, StreamParser
from carlien_telematics.simulator.faults import Shown
from carlien_telematics.simulator.terminals import Gb32960Frames, reissue


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the platform: to which record, and SUCCESS or the reason."""

    key: bytes
    result: str
    login: bool


class Terminal(Protocol):
    """One terminal's side of a protocol; bytes only, no socket."""

    def connected(self) -> None:
        """A new connection begins."""

    def login(self, at: datetime) -> bytes:
        """What it says first."""

    def record(self, shown: Shown, at: datetime) -> bytes:
        """A record at device time `at`."""

    def reissue(self, raw: bytes) -> bytes:
        """The same record sent again after an outage."""

    def key(self, raw: bytes) -> bytes:
        """What the answer to a frame is told by."""

    def answers(self, data: bytes) -> Iterator[Answer]:
        """Answers in what was received."""


class Gb32960Terminal:
    """`Terminal` of GB/T 32960-2016. A record's key is its device time."""

    def __init__(self, vin: str, iccid: str) -> None:
        self._frames = Gb32960Frames(vin)
        self._iccid = iccid
        self._stream = StreamParser()

    def connected(self) -> None:
        """See `Terminal`."""
        self._stream = StreamParser()

    def login(self, at: datetime) -> bytes:
        """See `Terminal`."""
        return self._frames.login(self._iccid, at)

    def record(self, shown: Shown, at: datetime) -> bytes:
        """See `Terminal`."""
        return self._frames.record(shown.reading, at, fix=shown.fix, car_data=shown.car_data)

    def reissue(self, raw: bytes) -> bytes:
        """See `Terminal`."""
        return reissue(raw)

    def key(self, raw: bytes) -> bytes:
        """See `Terminal`."""
        return raw[24:30]

    def answers(self, data: bytes) -> Iterator[Answer]:
        """See `Terminal`."""
        for raw in self._stream.feed(data):
            yield Answer(raw[24:30], Response(raw[3]).name, login=raw[2] == Command.LOGIN)
