"""`carlien-decode`: what it prints and its exit code."""

import io
import json

import pytest

from carlien_telematics.codecs import gb32960
from carlien_telematics.codecs.gb32960 import Command, Frame, Response, Version
from carlien_telematics.commands import decode

HEARTBEAT = gb32960.build(Frame(Version.V2016, Command.HEARTBEAT, Response.COMMAND, b"LSVNV2187E2100001", 1, b""))


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], protocol: str, *lines: str
) -> tuple[int, list[dict[str, object]]]:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    code = decode.main(["--protocol", protocol])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_bad_line_never_stops_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, answers = run(monkeypatch, capsys, "gb32960", "zz", "", HEARTBEAT.hex(), HEARTBEAT.hex()[:-2] + "00", "2323", "41")
    assert code == 1
    assert [(answer["ok"], answer["reason"]) for answer in answers] == [
        (False, "NOT_HEX"),
        (True, None),
        (False, "CHECK_BYTE"),
        (False, "TRUNCATED"),
        (False, "START_MARK"),
    ]
    assert answers[1]["vin"] == "LSVNV2187E2100001"


def test_good_frames_of_a_sticky_line_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _, [answer] = run(monkeypatch, capsys, "gb32960", (HEARTBEAT + HEARTBEAT[:10] + HEARTBEAT).hex())
    assert (answer["ok"], answer["reason"]) == (False, "STICKY")
    assert [frame["command"] for frame in answer["frames"]] == ["HEARTBEAT", "HEARTBEAT"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("protocol", "line"), [("jt808", "7e0002000004304832546500b7ca7e"), ("obd", "41 0D 32")])
def test_all_good_exits_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], protocol: str, line: str) -> None:
    code, [answer] = run(monkeypatch, capsys, protocol, line)
    assert (code, answer["ok"]) == (0, True)


def test_wrong_usage_exits_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        decode.main(["--protocol", "morse"])
    assert stopped.value.code == 2
