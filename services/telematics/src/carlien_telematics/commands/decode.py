"""`carlien-decode`: hex lines in, JSON lines out."""

import argparse
import json
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

from carlien_telematics.codecs import gb32960, jt808, obd
from carlien_telematics.codecs.errors import FrameError, Reason

Answer = dict[str, Any]

_EXAMPLE = """example:
  echo '232307fe4c53564e56323138374532313030303031010000d2' | carlien-decode --protocol gb32960

One line in gives one line out: {"ok": true, "reason": null, …} or {"ok": false, "reason": "CHECK_BYTE", …}.
A bad line never stops the run. A line that holds several messages (sticky) is not ok as one message: reason STICKY, and
`frames` has each good one. Times are UTC. `missing` names what the device marked as abnormal or invalid, with which of both.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where every line was ok, 1 where one was not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="carlien-decode", description=__doc__, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--protocol", required=True, choices=sorted(_DECODERS))
    parser.add_argument(
        "file", nargs="?", type=argparse.FileType("r", errors="replace"), default=None, help="hex lines; default standard input"
    )
    arguments = parser.parse_args(argv)
    source: TextIO = arguments.file or sys.stdin
    all_ok = True
    try:
        for answer in decode_lines(arguments.protocol, source):
            all_ok &= answer["ok"]
            sys.stdout.write(json.dumps(answer, default=_plain, ensure_ascii=False) + "\n")
    except BrokenPipeError:  # the reader has had enough
        return 0
    return 0 if all_ok else 1


def decode_lines(protocol: str, lines: Iterable[str]) -> Iterator[Answer]:
    """One answer per line that isn't blank."""
    decode = _DECODERS[protocol]
    for line in lines:
        text = line.strip()
        if text:
            yield _answer(decode, text)


def _answer(decode: Callable[[str], Answer], text: str) -> Answer:
    try:
        return {"ok": True, "reason": None, **decode(text)}
    except FrameError as error:
        answer: Answer = {"ok": False, "reason": str(error.reason)}
        return answer | ({"detail": error.detail} if error.detail else {}) | getattr(error, "decoded", {})


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise FrameError(Reason.NOT_HEX) from None


class _StickyError(FrameError):
    """Not one message, but good ones stand in it."""

    def __init__(self, frames: list[Answer], refused: dict[str, int]) -> None:
        super().__init__(Reason.STICKY, "more than one message, or bytes beside one")
        self.decoded = {"frames": frames, "refused": refused}


def decode_gb32960(text: str) -> Answer:
    """Decoded form of one GB/T 32960 frame in hex. Raises FrameError."""
    raw = _bytes(text)
    try:
        return _gb32960_frame(raw)
    except FrameError as error:
        if error.reason in (Reason.DEVICE_TIME, Reason.BODY):
            raise
        stream = gb32960.StreamParser()
        frames = stream.feed(raw) + stream.finish()
        if not frames:
            raise
        refused = {str(reason): count for reason, count in stream.refused.items()}
        raise _StickyError([_answer(decode_gb32960, frame.hex()) for frame in frames], refused) from None


def _gb32960_frame(raw: bytes) -> Answer:
    frame = gb32960.parse(raw)
    answer: Answer = {
        "protocol": frame.version.protocol,
        "command": _name(gb32960.Command, frame.command),
        "response": _name(gb32960.Response, frame.response),
        "vin": _vin(frame.vin),
        "encryption": _name(gb32960.Encryption, frame.encryption),
    }
    if not frame.is_uplink:
        return answer | ({"device_time": gb32960.decode_time(frame.data)} if len(frame.data) >= 6 else {})
    if frame.encryption != gb32960.Encryption.NONE:
        return answer | {"encrypted_data": frame.data.hex()}
    return answer | _gb32960_body(frame)


def _gb32960_body(frame: gb32960.Frame) -> Answer:
    match frame.command:
        case gb32960.Command.REALTIME | gb32960.Command.REISSUE:
            record = gb32960.decode_record(frame.version, frame.data)
            vehicle, position = record.units.get("vehicle", {}), record.units.get("position", {})
            answer: Answer = {"device_time": record.device_time}
            answer |= {name: vehicle[name] for name in ("speed_kmh", "odometer_km", "soc_percent") if name in vehicle}
            answer |= {name: position[name] for name in ("latitude", "longitude") if name in position}
            answer |= {"units": record.units, "missing": record.missing}
            if record.undecoded:
                answer |= {"undecoded": record.undecoded, "undecoded_reason": record.undecoded_reason}
            return answer
        case gb32960.Command.LOGIN:
            login = gb32960.decode_login(frame.version, frame.data)
            return {"device_time": login.device_time, "serial": login.serial, "iccid": login.iccid, "packs": login.packs}
        case gb32960.Command.LOGOUT | gb32960.Command.PLATFORM_LOGOUT:
            logout = gb32960.decode_logout(frame.data)
            return {"device_time": logout.device_time, "serial": logout.serial}
        case gb32960.Command.PLATFORM_LOGIN:
            platform = gb32960.decode_platform_login(frame.data)
            return {"device_time": platform.device_time, "serial": platform.serial, "user": platform.user}
        case gb32960.Command.ACTIVATION:
            shown = gb32960.decode_activation(frame.data)
            key = {"chip_id": shown.chip_id, "public_key": shown.public_key.hex(), "activated_vin": shown.vin}
            return {"device_time": shown.device_time, **key, "algorithm": shown.algorithm, "r": shown.r.hex(), "s": shown.s.hex()}
        case gb32960.Command.KEY_EXCHANGE:
            exchange = gb32960.decode_key_exchange(frame.data)
            return {"key_encryption": exchange.encryption, "valid_from": exchange.valid_from, "valid_to": exchange.valid_to}
        case _:
            return {"data": frame.data.hex()} if frame.data else {}


def _vin(raw: bytes) -> str | None:
    return raw.decode("ascii", errors="replace") if raw != bytes(17) else None


def _name(kind: type[gb32960.Command] | type[gb32960.Response] | type[gb32960.Encryption], code: int) -> str:
    return kind(code).name


def decode_jt808(text: str) -> Answer:
    """Decoded form of one JT/T 808 message in hex, with its marks. Raises FrameError."""
    raw = _bytes(text)
    if raw.count(b"\x7e") > 2:
        stream = jt808.StreamParser()
        messages = stream.feed(raw)
        if messages:
            raise _StickyError([_jt808_message(message) for message in messages], {str(r): n for r, n in stream.refused.items()})
    return _jt808_message(jt808.parse(raw))


def _jt808_message(message: jt808.Message) -> Answer:
    head: Answer = {
        "protocol": "JT808_2019" if message.version_2019 is not None else "JT808_2013",
        "message_id": f"0x{message.message_id:04x}",
        "terminal": message.terminal,
        "serial": message.serial,
    }
    if message.part:
        head |= {"part": message.part[1], "parts": message.part[0]}
    if message.encryption:
        head |= {"encryption": message.encryption}
    return head | jt808.decode_body(message)


_DECODERS: dict[str, Callable[[str], Answer]] = {"gb32960": decode_gb32960, "jt808": decode_jt808, "obd": obd.decode}


def _plain(value: object) -> Any:
    if isinstance(value, array):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(type(value).__name__)
