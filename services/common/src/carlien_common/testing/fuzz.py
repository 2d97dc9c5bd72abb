"""Requests nobody would send in good faith, made from a rpc's descriptor: half plausible, half hostile, or no protobuf at all.

    for request in fuzz.requests(method.input_type, random.Random(7), 20):
        fuzz.judge(await hostile.call(address, credentials, method, request))

The same seed makes the same requests, so a finding can be repeated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from carlien_common.testing.hostile import Outcome

HOSTILE_TEXTS: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "'; DROP TABLE outbox; --",
    "%s%n{0}{{x}}$(id)`id`",
    "../../../etc/passwd",
    "\u202e\u200b\ufeff",
    "💥" * 50,
    "１２３",
    "NaN",
    "-0",
    "x" * 70_000,
    "null",
    "\ud7ff\uffff",
    "<script>alert(1)</script>",
    "k1:" + "0" * 64,
)
PLAUSIBLE: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("vin", ("1M8GDM9AXKP042788", "LSVAM4187C2184841", "LFV2A21K0A3000001")),
    ("currency", ("CNY", "USD")),
    ("msp", ("Org1MSP", "Org2MSP")),
    ("region", ("CN-SH", "")),
    ("hash", ("ab" * 32,)),
    ("phone", ("13800138000",)),
    ("number", ("R-1", "沪A12345")),
    ("id", ("8f14e45f-ceea-467f-a0e6-1d6d2b5d4f3e", "1")),
)
INTEGERS: Final = (0, 1, -1, 7, 36, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
FLOATS: Final = (0.0, -0.0, 1.0, 0.5, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
MAX_DEPTH: Final = 5
# What an exception's text or a stack trace would show.
_LEAKS: Final = re.compile(
    r"Traceback|File \"|\.py\b|asyncpg|psycopg|pydantic|kafka\.|Errno|Exception|Error:|<class|SELECT |INSERT |object at 0x|/site-packages/|"
    r"invalid literal|NoneType|unexpected keyword|out of range \(|could not convert"
)
_WRONG: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS})


def requests(message: Descriptor, rng: random.Random, count: int) -> Iterator[bytes]:
    """`count` requests for a rpc that takes this message: three in four are protobuf, some of those cut or with a byte changed."""
    kind: type[Message] = message_factory.GetMessageClass(message)
    for _ in range(count):
        if rng.random() < 0.1:
            yield rng.randbytes(rng.randrange(200))
            continue
        made = kind()
        _fill(made, rng, 0)
        raw = bytearray(made.SerializeToString())
        if raw and rng.random() < 0.15:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        yield bytes(raw[: rng.randrange(len(raw) + 1)] if rng.random() < 0.05 else raw)


def judge(outcome: Outcome) -> None:
    """Fails for an answer no request may get: a failure of ours, or a text that shows our inside."""
    assert outcome.code not in _WRONG, f"{outcome.code.name}: {outcome.text}"
    texts = [outcome.text, *(outcome.error.metadata.values() if outcome.error else ())]
    texts += [violation.description for violation in (outcome.error.violations if outcome.error else ())]
    for text in texts:
        assert not _LEAKS.search(text), f"{outcome.code.name} tells too much: {text}"


def _fill(message: Message, rng: random.Random, depth: int) -> None:
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None and rng.random() < 0.8:
        special(message, rng)
        return
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.15:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(message, field, rng)
        elif field.is_repeated:
            _fill_repeated(message, field, rng, depth)
        elif field.message_type is None:
            setattr(message, field.name, _scalar(field, rng))
        elif depth < MAX_DEPTH:
            inner = getattr(message, field.name)
            inner.SetInParent()
            _fill(inner, rng, depth + 1)


def _fill_repeated(message: Message, field: Any, rng: random.Random, depth: int) -> None:
    values = getattr(message, field.name)
    count = rng.choice((0, 1, 1, 2, 3, 40))
    if field.message_type is None:
        values.extend(_scalar(field, rng) for _ in range(count))
    elif depth < MAX_DEPTH:
        for _ in range(min(count, 3)):
            _fill(values.add(), rng, depth + 1)


def _fill_map(message: Message, field: Any, rng: random.Random) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    if value.message_type is None:
        entries = getattr(message, field.name)
        for _ in range(rng.randrange(3)):
            entries[_scalar(key, rng)] = _scalar(value, rng)


def _scalar(field: Any, rng: random.Random) -> Any:
    if field.type == Field.TYPE_STRING:
        return _text(field.name, rng)
    if field.type == Field.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 24, 64, 5000)))
    if field.type == Field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == Field.TYPE_ENUM:
        return rng.choice([*(value.number for value in field.enum_type.values), 999, -1])
    if field.cpp_type in (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT):
        # A float's own range: protobuf turns what is larger into infinity.
        return rng.choice([*FLOATS, rng.uniform(0, 300_000)])
    return _fitting(rng.choice([*INTEGERS, rng.randrange(1, 300_000)]), field)


def _fitting(value: int, field: Any) -> int:
    bits: int = 32 if field.cpp_type in (Field.CPPTYPE_INT32, Field.CPPTYPE_UINT32) else 64
    if field.cpp_type in (Field.CPPTYPE_UINT32, Field.CPPTYPE_UINT64):
        return value % (1 << bits)
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def _text(name: str, rng: random.Random) -> str:
    if rng.random() < 0.7:
        if "idempotency" in name:
            return f"fuzz-{rng.getrandbits(64):x}"
        for part, values in PLAUSIBLE:
            if part in name:
                return rng.choice(values)
    return rng.choice(HOSTILE_TEXTS)


def _money(message: Any, rng: random.Random) -> None:
    message.currency_code = rng.choice(("CNY", "CNY", "CNY", "JPY", "XXX", "cny", ""))
    message.units = rng.choice((0, 1, -1, 80_000, 10**12, 2**63 - 1, -(2**63)))
    message.nanos = rng.choice((0, 0, 500_000_000, 1, -1, 999_999_999, 2**31 - 1))


def _date(message: Any, rng: random.Random) -> None:
    message.year = rng.choice((2018, 2024, 2026, 0, 9999, 10_000, -1))
    message.month = rng.choice((1, 2, 12, 0, 13, -1))
    message.day = rng.choice((1, 28, 29, 30, 31, 0, 32))


def _seconds(message: Any, rng: random.Random) -> None:
    message.seconds = rng.choice((0, 1_760_000_000, 1_800_000_000, -62_135_596_801, 253_402_300_800, 2**63 - 1, -(2**63)))
    message.nanos = rng.choice((0, 1, 999_999_999, 1_000_000_000, -1))


_SPECIAL: Final[dict[str, Callable[[Any, random.Random], None]]] = {
    "google.type.Money": _money,
    "google.type.Date": _date,
    "google.protobuf.Timestamp": _seconds,
    "google.protobuf.Duration": _seconds,
}
