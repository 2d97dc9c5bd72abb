"""JT/T 808 terminals at the gateway: registration, authentication, positions, batches, parts."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from carlien_telematics.codecs import jt808
from carlien_telematics.codecs.jt808 import Message
from carlien_telematics.domain.access import Access, KnownDevice
from carlien_telematics.domain.devices import Credential, DeviceProtocol, OnlineReason
from carlien_telematics.service.recording import ReceivedFrame, read_frame
from carlien_telematics.testing.gateway import FOREVER, VIN, Bench

TERMINAL = "013912345678"
AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
POSITION: dict[str, Any] = {
    "device_time": AT,
    "latitude": 31.2304,
    "longitude": 121.4737,
    "fix_valid": True,
    "ignition": True,
    "altitude_m": 12,
    "speed_kmh": 45.5,
    "heading_deg": 90,
    "alarms": ("POWER_CUT",),
    "status": (),
    "odometer_km": 1234.5,
}


class Terminal:
    """Sends messages, reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._stream = jt808.StreamParser()
        self._answers: list[Message] = []

    async def ask(self, message: Message) -> Message:
        self.writer.write(jt808.build(message))
        return await self.answer()

    async def answer(self) -> Message:
        async with asyncio.timeout(30):
            while not self._answers:
                self._answers += self._stream.feed(await self.reader.read(65536))
        return self._answers.pop(0)

    async def result(self, message: Message) -> int:
        answer = await self.ask(message)
        assert answer.message_id == 0x8001
        assert answer.body[:4] == message.serial.to_bytes(2, "big") + message.message_id.to_bytes(2, "big")
        return answer.body[4]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench() as made:
        device = KnownDevice(TERMINAL.lstrip("0"), DeviceProtocol.JT808, Credential.of("TERM001"))
        made.access.cars[VIN] = Access(VIN, (device,), FOREVER)
        yield made


@pytest.fixture
async def terminal(bench: Bench) -> AsyncIterator[Terminal]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.jt808_port)
    yield Terminal(reader, writer)
    writer.close()
    await writer.wait_closed()


def message(message_id: int, body: bytes = b"", serial: int = 7, terminal: str = TERMINAL) -> Message:
    return Message(message_id, terminal, serial, body)


def registration(terminal_id: str = "TERM001") -> Message:
    fields = (
        b"\0\x1f\0\x01" + b"MAKER" + b"MODEL".ljust(20, b"\0") + terminal_id.encode().ljust(7, b"\0") + b"\x01" + "沪A12345".encode("gbk")
    )
    return message(0x0100, fields)


async def authenticated(terminal: Terminal) -> None:
    answer = await terminal.ask(registration())
    assert (answer.message_id, answer.body[:3]) == (0x8100, b"\0\x07\0")
    assert await terminal.result(message(0x0102, answer.body[3:])) == 0


async def test_a_registered_terminal_gets_a_code_and_is_heard(bench: Bench, terminal: Terminal) -> None:
    await authenticated(terminal)
    assert await terminal.result(message(0x0002)) == 0
    position = message(0x0200, jt808.encode_position(POSITION))
    assert await terminal.result(position) == 0
    assert [frame.raw for frame in bench.publisher.frames] == [jt808.build(position)]
    assert await terminal.result(message(0x0003)) == 0
    assert bench.presence.reasons() == [OnlineReason.LOGIN, OnlineReason.LOGOUT]


async def test_a_code_from_the_maker_will_do(terminal: Terminal) -> None:
    assert await terminal.result(message(0x0102, b"TERM001")) == 0


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(0x0102, b"wrong"), "CREDENTIAL"),
        (message(0x0102, b"TERM001", terminal="013900000000"), "NOT_REGISTERED"),
        (message(0x0200, jt808.encode_position(POSITION)), "NOT_LOGGED_IN"),
    ],
)
async def test_who_may_not_is_refused(bench: Bench, terminal: Terminal, sent: Message, reason: str) -> None:
    assert await terminal.result(sent) == 1
    assert bench.metrics.counts == {reason: 1}


async def test_a_terminal_that_says_another_id_gets_no_code(bench: Bench, terminal: Terminal) -> None:
    answer = await terminal.ask(registration("OTHER"))
    assert answer.body == b"\0\x07\x04"
    assert bench.metrics.counts == {"CREDENTIAL": 1}


async def test_without_consent_nothing_is_taken(bench: Bench, terminal: Terminal) -> None:
    await authenticated(terminal)
    bench.access.cars[VIN] = replace(bench.access.cars[VIN], consent_until=0.0)
    bench.book.forget(VIN)
    assert await terminal.result(message(0x0200, jt808.encode_position(POSITION))) == 1
    assert bench.metrics.counts["CONSENT_MISSING"] == 1
    assert bench.publisher.frames == []


@pytest.mark.parametrize(
    ("body", "result", "reason"), [(b"\0" * 10, 2, "BODY"), (b"\0" * 28, 2, "DEVICE_TIME")], ids=["short", "time of zeros"]
)
async def test_a_position_that_is_none_is_refused(bench: Bench, terminal: Terminal, body: bytes, result: int, reason: str) -> None:
    await authenticated(terminal)
    assert await terminal.result(message(0x0200, body)) == result
    assert bench.metrics.counts[reason] == 1


async def test_parts_are_one_record_batch_acknowledged_when_all_is_there(bench: Bench, terminal: Terminal) -> None:
    await authenticated(terminal)
    body = jt808.encode_position_batch([jt808.encode_position(POSITION)] * 2, reissued=True)
    first = replace(message(0x0704, body[:40], serial=20), part=(2, 1))
    second = replace(message(0x0704, body[40:], serial=21), part=(2, 2))
    terminal.writer.write(jt808.build(first))
    assert await terminal.result(second) == 0
    [frame] = bench.publisher.frames
    records = read_frame(ReceivedFrame(VIN, "T", frame.source_protocol, frame.raw, AT))
    assert [(record.device_time, record.reissued) for record in records] == [(AT, True), (AT, True)]


async def test_a_part_that_is_missing_when_the_last_has_come_is_asked_for(bench: Bench, terminal: Terminal) -> None:
    await authenticated(terminal)
    body = jt808.encode_position_batch([jt808.encode_position(POSITION)] * 3, reissued=True)
    parts = [replace(message(0x0704, body[n * 40 - 40 : n * 40 if n < 3 else None], serial=19 + n), part=(3, n)) for n in (1, 2, 3)]
    terminal.writer.write(jt808.build(parts[0]))
    asked = await terminal.ask(parts[2])
    assert (asked.message_id, asked.body) == (0x8003, bytes.fromhex("0014 01 0002"))
    assert await terminal.result(parts[1]) == 0
    [frame] = bench.publisher.frames
    assert len(read_frame(ReceivedFrame(VIN, "T", frame.source_protocol, frame.raw, AT))) == 3


async def test_can_frames_are_records_of_the_nearest_day(bench: Bench, terminal: Terminal) -> None:
    await authenticated(terminal)
    frames = [{"can_id": 0x18FEF100, "channel": 1, "extended": True, "average": False, "data": "0011223344556677"}]
    body = jt808.encode_can_batch("2359590123", frames)
    assert await terminal.result(message(0x0705, body)) == 0
    assert await terminal.result(message(0x0705, jt808.encode_can_batch("2560610000", frames))) == 2
    assert await terminal.result(message(0x0705, body[:-1])) == 2
    [frame] = bench.publisher.frames
    # two seconds past midnight in China: it was the day before
    [record] = read_frame(ReceivedFrame(VIN, "T", frame.source_protocol, frame.raw, datetime(2024, 5, 6, 16, 0, 2, tzinfo=UTC)))
    assert record.device_time == datetime(2024, 5, 6, 15, 59, 59, 123_000, tzinfo=UTC)
    assert record.units == {"can": frames}


@pytest.mark.parametrize(("terminal_id", "size", "edition"), [("TERM001", 20, "2013"), ("TERM001", 8, "2011")])
async def test_the_edition_is_told_by_the_registration(bench: Bench, terminal: Terminal, terminal_id: str, size: int, edition: str) -> None:
    head = b"\0\x1f\0\x01" + b"MAKER" + b"MODEL".ljust(size, b"\0")
    answer = await terminal.ask(message(0x0100, head + terminal_id.encode() + b"\x01" + b"A1"))
    assert await terminal.result(message(0x0102, answer.body[3:])) == 0
    assert await terminal.result(message(0x0200, jt808.encode_position(POSITION))) == 0
    assert [frame.source_protocol for frame in bench.publisher.frames] == [f"JT808_{edition}"]


async def test_a_terminal_set_otherwise_is_told_once() -> None:
    wanted = {jt808.HEARTBEAT_INTERVAL: (30).to_bytes(4, "big"), jt808.REPORT_INTERVAL: (10).to_bytes(4, "big")}
    async with Bench(jt808_parameters=wanted) as bench:
        device = KnownDevice(TERMINAL.lstrip("0"), DeviceProtocol.JT808, Credential.of("TERM001"))
        bench.access.cars[VIN] = Access(VIN, (device,), FOREVER)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.jt808_port)
        terminal = Terminal(reader, writer)
        assert await terminal.result(message(0x0102, b"TERM001")) == 0
        asked = await terminal.answer()
        assert asked.message_id == 0x8104
        found = wanted | {jt808.REPORT_INTERVAL: (60).to_bytes(4, "big")}
        told = await terminal.ask(message(0x0104, jt808.encode_parameters(asked.serial, found)))
        assert told.message_id == 0x8103
        assert told.body == b"\x01" + (0x29).to_bytes(4, "big") + b"\x04" + (10).to_bytes(4, "big")
        writer.write(jt808.build(message(0x0001, told.serial.to_bytes(2, "big") + b"\x81\x03\0")))
        writer.write(jt808.build(message(0x0104, b"\0\1\x05\0")))
        refused = await terminal.answer()
        assert (refused.message_id, refused.body[4]) == (0x8001, 2)
        assert bench.metrics.counts == {"PARAMETERS True": 1, "BODY": 1}
        writer.close()
        await writer.wait_closed()


def test_a_message_of_too_many_parts_is_not_put_together() -> None:
    parts = jt808.Reassembly()
    assert parts.add(replace(message(0x0704, b"x"), part=(101, 1))) is None
    assert parts.dropped == 1


def test_a_position_and_its_reissue_are_the_same_record() -> None:
    body = jt808.encode_position(POSITION)
    live = jt808.build(message(0x0200, body))
    again = jt808.build(message(0x0704, jt808.encode_position_batch([body], reissued=True), serial=99))
    [first], [second] = (read_frame(ReceivedFrame(VIN, "T", "JT808_2013", raw, AT)) for raw in (live, again))
    assert (first.digest, first.device_time) == (second.digest, second.device_time)
    assert (first.reissued, second.reissued) == (False, True)
    assert first.units["vehicle"] == {"vehicle_state": "STARTED", "speed_kmh": 45.5, "odometer_km": 1234.5, "soc_percent": None}
    assert first.position is not None
    assert (first.position.latitude, first.position.longitude) == (31.2304, 121.4737)
    assert first.units["alarms"]["flags"] == ("POWER_CUT",)
