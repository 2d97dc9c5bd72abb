"""Rows in PostgreSQL's binary COPY format, built straight from bytes.

asyncpg's own encoder looks at every element of an array three times; a record of a bus has three hundred of them, and this
made half of the consumer's work. Format: https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4
"""

import struct
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

NULL = b"\xff\xff\xff\xff"
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LENGTH = struct.Struct(">i")
_INT8 = struct.Struct(">iq")
_FLOAT8 = struct.Struct(">id")
_FLOAT4 = struct.Struct(">if")
_TRUE, _FALSE = b"\0\0\0\1\1", b"\0\0\0\1\0"
_ARRAY = struct.Struct(">iiiiii")
_ELEMENT = {
    21: np.dtype([("size", ">i4"), ("value", ">i2")]),
    23: np.dtype([("size", ">i4"), ("value", ">i4")]),
}
"""smallint and integer by type oid, as they stand in an array."""


def columns(count: int) -> bytes:
    """What starts a row."""
    return struct.pack(">h", count)


@lru_cache(maxsize=65_536)
def text(value: str) -> bytes:
    """A short text that comes again and again: a VIN, a device, a protocol."""
    raw = value.encode()
    return _LENGTH.pack(len(raw)) + raw


def optional_text(value: str | None) -> bytes:
    """A text or NULL."""
    return NULL if value is None else text(value)


def binary(value: bytes | None) -> bytes:
    """A bytea or NULL."""
    return NULL if value is None else _LENGTH.pack(len(value)) + value


def jsonb(value: bytes | None) -> bytes:
    """JSON text as jsonb (version 1 of its binary form), or NULL."""
    return NULL if value is None else _LENGTH.pack(len(value) + 1) + b"\1" + value


def boolean(value: bool) -> bytes:
    """A boolean."""
    return _TRUE if value else _FALSE


def timestamp(value: datetime) -> bytes:
    """A timestamptz from an aware time."""
    return _INT8.pack(8, (value - _EPOCH) // _MICROSECOND)


def float8(value: float | None) -> bytes:
    """A double precision or NULL."""
    return NULL if value is None else _FLOAT8.pack(8, value)


def float4(value: float | None) -> bytes:
    """A real or NULL."""
    return NULL if value is None else _FLOAT4.pack(4, value)


def integers(values: Sequence[int | None] | None, oid: int) -> bytes:
    """A one-dimensional smallint[] (oid 21) or integer[] (oid 23) with its gaps, or NULL."""
    if values is None:
        return NULL
    element = _ELEMENT[oid]
    if isinstance(values, array):
        elements = np.empty(len(values), element)
        elements["size"] = element["value"].itemsize
        elements["value"] = np.frombuffer(values, values.typecode)
        body, gaps = elements.tobytes(), 0
    else:
        pack = struct.Struct(">ii" if oid == 23 else ">ih").pack
        size = element["value"].itemsize
        body, gaps = b"".join(NULL if value is None else pack(size, value) for value in values), int(None in values)
    return _ARRAY.pack(20 + len(body), 1, gaps, oid, len(values), 1) + body
