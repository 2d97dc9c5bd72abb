"""Domain records to canonical JSON and back: sorted keys, no spaces, decimals as text, so that equal records are equal bytes."""

import hashlib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter

from carlien_pricing.domain.quote import QuoteInputs

T = TypeVar("T")


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once per type: building one costs milliseconds."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(record: Any) -> str:
    """Canonical text of a record."""
    plain = _adapter(type(record)).dump_python(record, mode="json")
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(kind: type[T], text: str) -> T:
    """The record of a canonical text."""
    found: T = _adapter(kind).validate_json(text)
    return found


def input_hash(inputs: QuoteInputs, policies_version: str, engine_version: str) -> str:
    """SHA-256 over everything a price depends on."""
    digest = hashlib.sha256()
    for part in (to_json(inputs), policies_version, engine_version):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()
