"""Files to text. `auto` tells the encodings listings come in apart by what their bytes look like."""

import gzip
import re
from pathlib import Path

from carlien_common.domain.errors import invalid

SAMPLE = 1_000_000
"""Bytes that are looked at."""

_RUN = re.compile(rb"[\x80-\xff]+")
_SMALL_CYRILLIC = re.compile(rb"[\xb8\xe0-\xff]")


def decode(path: Path, encoding: str) -> str:
    """A file's text, unpacked where its name ends in .gz; raises DomainError LISTINGS_ENCODING or MAPPING_ENCODING."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if encoding == "auto":
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            encoding = likely_encoding(data[:SAMPLE])
    elif encoding.casefold() in {"utf-8", "utf8"}:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except LookupError:
        raise invalid("files.encoding", "MAPPING_ENCODING", f"unknown encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        fault = error
    raise invalid("files.encoding", "LISTINGS_ENCODING", f"{path} is not {encoding}: byte {fault.start} is {data[fault.start]:#x}")


def likely_encoding(data: bytes) -> str:
    """For bytes that are no UTF-8: UTF-16 by its mark, else Chinese, Cyrillic or western by their runs of non-ASCII bytes.

    Western words have single accents. Cyrillic words are mostly small letters, which windows-1251 has at the top of the table, where
    Chinese text in GB 18030 has a fifth of its bytes.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    runs = _RUN.findall(data)
    letters = b"".join(runs)
    if sum(len(run) == 1 for run in runs) > len(runs) / 2:
        return "cp1252" if not re.search(rb"[\x81\x8d\x8f\x90\x9d]", letters) else "latin-1"
    return "cp1251" if len(_SMALL_CYRILLIC.findall(letters)) > 0.6 * len(letters) else "gb18030"
