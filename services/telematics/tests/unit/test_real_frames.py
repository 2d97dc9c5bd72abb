"""The codecs on frames of real devices (skipped visibly where CARLIEN_DATA has none)."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from carlien_telematics.codecs import gb32960, jt808
from carlien_telematics.codecs.errors import FrameError
from carlien_telematics.codecs.gb32960 import Command, StreamParser

DATA = Path(os.environ.get("CARLIEN_DATA", Path(__file__).parents[5] / "shared" / "data")) / "protocols"


def gb_lines() -> list[dict[str, Any]]:
    path = DATA / "gb32960_36node" / "frames.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}: set CARLIEN_DATA")
    return [json.loads(line) for line in path.read_text().splitlines()]


def jt_lines() -> list[dict[str, Any]]:
    path = DATA / "jt808_traccar" / "jt808_frames.json"
    if not path.exists():
        pytest.skip(f"no {path}: set CARLIEN_DATA")
    frames: list[dict[str, Any]] = json.loads(path.read_text())
    return frames


def test_every_gb32960_line_parses_exactly_where_its_length_and_check_byte_are_right() -> None:
    outcomes: Counter[str] = Counter()
    for line in gb_lines():
        try:
            frame = gb32960.parse(bytes.fromhex(line["hex"]))
        except FrameError:
            assert not (line["len_ok"] and line["bcc_ok"])
            outcomes["refused"] += 1
            continue
        assert line["len_ok"]
        assert line["bcc_ok"]
        assert (frame.command, frame.response, len(frame.data)) == (line["cmd"], line["ack"], line["dlen"])
        outcomes["uplink" if frame.is_uplink else "answer"] += 1
    assert outcomes == {"uplink": 62, "answer": 61, "refused": 16}


def test_every_realtime_unit_decodes_and_encodes_to_the_same_numbers() -> None:
    seen: Counter[str] = Counter()
    for line in gb_lines():
        if not (line["len_ok"] and line["ack"] == 0xFE and line["cmd"] == Command.REALTIME):
            continue
        frame = gb32960.parse(bytes.fromhex(line["hex"]))
        record = gb32960.decode_record(frame.version, frame.data)
        assert record.undecoded == ""
        seen.update(record.units.keys())
        again = gb32960.decode_record(frame.version, gb32960.encode_record(frame.version, record.device_time, record.units))
        assert again.units == record.units
        position = record.units["position"]
        if position["fix_valid"]:  # the buses ran in and around Shanghai
            assert 30.5 < position["latitude"] < 32
            assert 120.5 < position["longitude"] < 122.5
    assert seen["vehicle"] == 34
    assert seen["cell_voltages"] > 10


def test_reissues_of_a_maker_with_its_own_layout_keep_their_bytes() -> None:
    reissues = [line for line in gb_lines() if line["len_ok"] and line["ack"] == 0xFE and line["cmd"] == Command.REISSUE]
    for line in reissues:
        frame = gb32960.parse(bytes.fromhex(line["hex"]))
        record = gb32960.decode_record(frame.version, frame.data)
        kept = sum(3 + len(block["data"]) // 2 for block in record.units.get("user_defined", ())) + len(record.undecoded) // 2
        assert 6 + kept == len(frame.data)
    assert len(reissues) == 21


@pytest.mark.parametrize("read_size", [1, 7, 1460, 1_000_000])
def test_no_good_frame_is_lost_in_one_stream_of_all_lines(read_size: int) -> None:
    lines = gb_lines()
    stream = b"".join(bytes.fromhex(line["hex"]) for line in lines)
    parser = StreamParser()
    found = [raw for at in range(0, len(stream), read_size) for raw in parser.feed(stream[at : at + read_size])] + parser.finish()
    good = [bytes.fromhex(line["hex"]) for line in lines if line["len_ok"] and line["bcc_ok"]]
    missing = Counter(good) - Counter(found)
    assert not missing
    assert len(found) == 144  # 123 whole lines and 21 more inside the sticky ones
    assert parser.refused.total() >= 4


def test_every_jt808_frame_parses_exactly_where_its_check_byte_is_right() -> None:
    good = 0
    for line in jt_lines():
        try:
            message = jt808.parse(bytes.fromhex(line["hex"]))
        except FrameError:
            assert not line["checksum_ok"]
            continue
        assert line["checksum_ok"]
        assert message.message_id == int(line["msg_id"], 16)
        assert (message.version_2019 is not None) == line["v2019"]
        assert (len(message.body), message.encryption) == (line["body_len"], line["enc"])
        jt808.decode_body(message)
        good += 1
    assert good == 76
