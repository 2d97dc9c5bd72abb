"""Round trips, sub-packages and stream of the JT/T 808 codec."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_telematics.codecs import jt808
from carlien_telematics.codecs.errors import FrameError, Reason
from carlien_telematics.codecs.jt808 import Message
from carlien_telematics.codecs.jt808.tables import ALARMS, ITEMS, STATUS_FLAGS

TIMES = st.integers(1_000_000_000, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
BODIES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(b"\x7d\x7e\x01\x02"), max_size=60).map(bytes))


@st.composite
def messages(draw: st.DrawFn) -> Message:
    version = draw(st.one_of(st.none(), st.integers(0, 255)))
    digits = 12 if version is None else 20
    part = draw(st.one_of(st.none(), st.tuples(st.integers(1, 9), st.integers(1, 9))))
    terminal = draw(st.text("0123456789", min_size=digits, max_size=digits))
    message_id = draw(st.integers(0, 0xFFFF).filter(lambda number: number not in (0x5501, 0x5502)))
    return Message(message_id, terminal, draw(st.integers(0, 0xFFFF)), draw(BODIES), draw(st.integers(0, 7)), version, part)


def number(size: int, divisor: int) -> st.SearchStrategy[float]:
    return st.integers(0, 256**size - 1).map(lambda raw: raw / divisor if divisor != 1 else raw)


POSITIONS = st.fixed_dictionaries(
    {
        "device_time": TIMES,
        "latitude": st.integers(-90_000_000, 90_000_000).map(lambda micro: micro / 1_000_000),
        "longitude": st.integers(-180_000_000, 180_000_000).map(lambda micro: micro / 1_000_000),
        "fix_valid": st.booleans(),
        "ignition": st.booleans(),
        "altitude_m": st.integers(0, 0xFFFF),
        "speed_kmh": number(2, 10),
        "heading_deg": st.integers(0, 0xFFFF),
        "alarms": st.sets(st.sampled_from(sorted(ALARMS))).map(lambda bits: tuple(ALARMS[bit] for bit in sorted(bits))),
        "status": st.sets(st.sampled_from(sorted(STATUS_FLAGS))).map(lambda bits: tuple(STATUS_FLAGS[bit] for bit in sorted(bits))),
    },
    optional={name: number(size, divisor) for name, size, divisor in ITEMS.values()},
)


def outcome(action: Callable[[], object]) -> object:
    """What it answers, or the reason it refuses for."""
    try:
        return action()
    except FrameError as error:
        return error.reason


@given(messages())
def test_a_message_survives_building_and_parsing(message: Message) -> None:
    raw = jt808.build(message)
    assert raw[1:-1].count(b"\x7e") == 0
    assert jt808.parse(raw) == message


@given(POSITIONS)
def test_a_position_survives(values: dict[str, Any]) -> None:
    assert jt808.decode_position(jt808.encode_position(values)) == values


@given(st.lists(POSITIONS, max_size=3), st.booleans())
def test_a_batch_survives(positions: list[dict[str, Any]], reissued: bool) -> None:
    body = jt808.encode_position_batch([jt808.encode_position(values) for values in positions], reissued=reissued)
    assert jt808.decode_position_batch(body) == {"reissued": reissued, "positions": positions}


@given(messages(), st.integers(0, 500), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_the_message(message: Message, place: int, flip: int) -> None:
    raw = bytearray(jt808.build(message))
    raw[1 + place % (len(raw) - 2)] ^= flip
    assert outcome(lambda: jt808.parse(bytes(raw))) != message


@given(st.lists(messages(), max_size=5), st.lists(st.integers(0, 40), max_size=8))
def test_messages_arrive_in_order_however_the_stream_is_split(sent: list[Message], sizes: list[int]) -> None:
    stream = b"".join(map(jt808.build, sent))
    parser, found, at = jt808.StreamParser(), [], 0
    for size in [*sizes, len(stream)]:
        found += parser.feed(stream[at : at + size])
        at += size
    assert found == sent
    assert not parser.refused
    assert parser.pending == 0


def test_a_broken_message_costs_only_itself() -> None:
    good = Message(0x0002, "013912345678", 1, b"")
    broken = jt808.build(good)[:-2] + b"\x00\x7e"
    parser = jt808.StreamParser()
    assert parser.feed(jt808.build(good) + broken + jt808.build(good)) == [good, good]
    assert parser.refused == {Reason.CHECK_BYTE: 1}


def test_the_buffer_of_a_flood_without_marks_is_bounded() -> None:
    parser = jt808.StreamParser()
    for _ in range(100):
        parser.feed(b"\x00" * 1000)
        assert parser.pending <= jt808.MAX_FRAME
    assert parser.refused[Reason.LENGTH] > 0


@given(st.permutations([1, 2, 3]))
def test_parts_join_in_any_order(order: list[int]) -> None:
    joined = [jt808.Reassembly().add(Message(0x0200, "013912345678", 1, b"x"))]
    together = jt808.Reassembly()
    joined = [together.add(Message(0x0200, "013912345678", 9 + n, bytes((n,)), part=(3, n))) for n in order]
    assert joined[:2] == [None, None]
    assert joined[2] == Message(0x0200, "013912345678", 10, b"\1\2\3")


def test_missing_parts_are_known_once_the_last_is_there() -> None:
    together = jt808.Reassembly()
    parts = [Message(0x0200, "013912345678", 9 + n, bytes((n,)), part=(4, n)) for n in (1, 2, 3, 4)]
    for part, missing in ((parts[1], []), (parts[3], [1, 3]), (parts[0], []), (parts[3], [3])):
        assert together.add(part) is None
        assert together.missing(part) == missing
    assert together.add(parts[2]) is not None
    assert together.missing(parts[3]) == []


def test_the_count_of_missing_parts_is_a_word_since_2019() -> None:
    part = Message(0x0704, "00000000013912345678", 0, b"", version_2019=1, part=(2, 2))
    assert jt808.request_parts(part, 7, [1]).body == bytes.fromhex("ffff 0001 0001")


def test_unfinished_parts_are_bounded() -> None:
    together = jt808.Reassembly(limit=2)
    for serial in range(0, 40, 2):
        together.add(Message(0x0200, "013912345678", serial, b"", part=(2, 1)))
    assert together.dropped == 18


def test_golden_position_of_the_standard_shape() -> None:
    """By hand: overspeed, ignition on, fix, south; 2024-05-06 15:08:09 in China; odometer 1234.5 km, 11 satellites."""
    body = bytes.fromhex("00000002 00000007 01d9f2d4 073ca28d 002b 01c2 0059 240506150809 0104 00003039 3101 0b")
    assert jt808.decode_position(body) == {
        "device_time": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        "latitude": -31.060692,
        "longitude": 121.414285,
        "fix_valid": True,
        "ignition": True,
        "altitude_m": 43,
        "speed_kmh": 45.0,
        "heading_deg": 89,
        "alarms": ("OVERSPEED",),
        "status": (),
        "odometer_km": 1234.5,
        "satellites": 11,
    }


@pytest.mark.parametrize(
    ("build", "message_id", "body"),
    [
        (lambda m: jt808.platform_ack(m, 7, 0), 0x8001, "0005 0200 00"),
        (lambda m: jt808.register_ack(m, 7, 0, "abc"), 0x8100, "0005 00 616263"),
        (lambda m: jt808.set_parameters(m, 7, {0x0001: b"\0\0\0\x1e"}), 0x8103, "01 00000001 04 0000001e"),
        (lambda m: jt808.query_parameters(m, 7), 0x8104, ""),
        (lambda m: jt808.request_parts(replace(m, part=(4, 3)), 7, [1, 4]), 0x8003, "0003 02 0001 0004"),
    ],
)
def test_answers_of_the_platform(build: Any, message_id: int, body: str) -> None:
    answer = build(Message(0x0200, "013912345678", 5, b""))
    assert jt808.parse(jt808.build(answer)) == Message(message_id, "013912345678", 7, bytes.fromhex(body))


@given(st.binary(max_size=120))
def test_random_bytes_never_break_the_bodies(body: bytes) -> None:
    for message_id in (0x0001, 0x0100, 0x0102, 0x0200, 0x0201, 0x0704, 0x0705):
        for version in (None, 1):
            message = Message(message_id, "013912345678", 1, body, version_2019=version)
            decoded = outcome(partial(jt808.decode_body, message))
            assert isinstance(decoded, dict) or decoded is Reason.BODY
