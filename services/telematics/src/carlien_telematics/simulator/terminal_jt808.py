"""A simulated JT/T 808-2013 terminal: frames out, answers in."""

from collections.abc import Iterator
from datetime import datetime

from carlien_telematics.codecs import jt808
from carlien_telematics.codecs.jt808 import Message
from carlien_telematics.simulator.faults import Shown
from carlien_telematics.simulator.speaking import Answer

_AUTHENTICATE, _POSITION, _BATCH, _GENERAL_ANSWER = 0x0102, 0x0200, 0x0704, 0x8001


class Jt808Terminal:
    """`Terminal` that authenticates with its maker's code. A record's key is the serial number it was sent with."""

    def __init__(self, number: str, code: str) -> None:
        self._number = number
        self._code = code
        self._serial = 0
        self._stream = jt808.StreamParser()

    def connected(self) -> None:
        """See `Terminal`."""
        self._stream = jt808.StreamParser()

    def login(self, at: datetime) -> bytes:
        """See `Terminal`."""
        del at
        return self._message(_AUTHENTICATE, self._code.encode())

    def record(self, shown: Shown, at: datetime) -> bytes:
        """See `Terminal`."""
        reading = shown.reading
        values = {
            "device_time": at,
            "latitude": reading.latitude,
            "longitude": reading.longitude,
            "fix_valid": shown.fix,
            "ignition": reading.ignition and shown.car_data,
            "altitude_m": 5,
            "speed_kmh": reading.speed_kmh,
            "heading_deg": 0,
            "alarms": shown.alarms,
            "status": (),
        }
        if shown.car_data:
            values["odometer_km"] = reading.odometer_km
        return self._message(_POSITION, jt808.encode_position(values))

    def reissue(self, raw: bytes) -> bytes:
        """See `Terminal`: a batch of one."""
        body = jt808.parse(raw).body
        return self._message(_BATCH, jt808.encode_position_batch([body], reissued=True))

    def key(self, raw: bytes) -> bytes:
        """See `Terminal`."""
        return jt808.parse(raw).serial.to_bytes(2, "big")

    def answers(self, data: bytes) -> Iterator[Answer]:
        """See `Terminal`."""
        for message in self._stream.feed(data):
            if message.message_id == _GENERAL_ANSWER:
                about, result = int.from_bytes(message.body[2:4], "big"), message.body[4]
                name = "SUCCESS" if result == 0 else f"RESULT_{result}"
                yield Answer(message.body[:2], name, login=about == _AUTHENTICATE)

    def _message(self, message_id: int, body: bytes) -> bytes:
        self._serial = (self._serial + 1) % 0x10000
        return jt808.build(Message(message_id, self._number, self._serial, body))
