"""The stream parser: whatever stands beside a good frame, the good frame is found, once and in order."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.errors import Reason
from carlien_telematics.codecs.gb32960 import Command, Frame, Response, StreamParser, Version

TIME = gb32960.encode_time(datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
VINS = (b"LSVNV2187E2100001", b"LJ12EKR10D4000002")


def frame(payload: bytes = b"", vin: bytes = VINS[0], command: Command = Command.REALTIME, version: Version = Version.V2016) -> bytes:
    block = b"\x90" + len(payload).to_bytes(2, "big") + payload
    return gb32960.build(Frame(version, command, Response.COMMAND, vin, 1, TIME + block))


FRAMES = st.builds(
    frame, st.binary(max_size=40), st.sampled_from(VINS), st.sampled_from((Command.REALTIME, Command.REISSUE)), st.sampled_from(Version)
)
JUNK = st.binary(max_size=20).filter(lambda junk: b"##" not in junk and b"$$" not in junk and junk[-1:] not in (b"#", b"$"))


def pushed(stream: bytes, sizes: list[int]) -> tuple[list[bytes], StreamParser]:
    parser, found, at = StreamParser(), [], 0
    for size in sizes:
        found += parser.feed(stream[at : at + size])
        at += size
    found += parser.feed(stream[at:])
    return found + parser.finish(), parser


@given(st.lists(FRAMES, max_size=6), st.lists(JUNK, min_size=7, max_size=7), st.lists(st.integers(0, 50), max_size=12))
def test_frames_between_junk_arrive_once_in_order_however_the_stream_is_split(
    frames: list[bytes], junk: list[bytes], sizes: list[int]
) -> None:
    stream = junk[0] + b"".join(raw + gap for raw, gap in zip(frames, junk[1:], strict=False))
    found, parser = pushed(stream, sizes)
    assert found == frames
    assert not parser.refused
    assert parser.pending == 0


@given(FRAMES, st.data())
def test_a_truncated_message_costs_only_itself(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(3, len(whole) - 1))
    after = [frame(b"a", vin=whole[4:21], version=Version(int.from_bytes(whole[:2], "big"))), frame(b"b")]
    found, parser = pushed(whole[:cut] + b"".join(after), [])
    assert found == after
    assert parser.refused.total() >= 1


@given(FRAMES, st.integers(2, 200), st.integers(1, 255))
def test_a_garbled_byte_costs_only_its_own_message(victim: bytes, place: int, flip: int) -> None:
    garbled = bytearray(victim)
    garbled[2 + place % (len(victim) - 2)] ^= flip
    good = [frame(b"before"), frame(b"after"), frame(b"last", vin=VINS[1])]
    found, parser = pushed(good[0] + bytes(garbled) + b"".join(good[1:]), [])
    assert [raw for raw in found if raw in good] == good
    assert bytes(garbled) not in found
    assert parser.refused.total() >= 1


def test_a_length_that_lies_by_two_is_counted_and_the_next_frame_found() -> None:
    lying = bytearray(frame(b"payload"))
    lying[23] += 2
    after = frame(b"next")
    found, parser = pushed(bytes(lying) + after, [])
    assert found == [after]
    assert parser.refused[Reason.CHECK_BYTE] == 1


def test_a_message_that_stopped_does_not_hold_back_the_next_of_the_same_car() -> None:
    parser = StreamParser()
    assert parser.feed(frame(b"x" * 300)[:200]) == []
    after = frame(b"next")
    assert parser.feed(after) == [after]
    assert parser.refused == {Reason.TRUNCATED: 1}


def test_the_buffer_holds_at_most_one_message() -> None:
    parser = StreamParser()
    head = frame(b"")[:22] + b"\xff\xfb"
    for _ in range(200):
        parser.feed(head + b"\0" * 1000)
        assert parser.pending <= gb32960.MAX_FRAME


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_random_bytes_never_break_it(chunks: list[bytes]) -> None:
    parser = StreamParser()
    for chunk in chunks:
        parser.feed(b"##" + chunk)
    parser.finish()
    assert parser.pending == 0
