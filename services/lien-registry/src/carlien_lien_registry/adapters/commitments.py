"""What the public registry's records are in the Merkle tree: canonical bytes, and an entry under every subject they are searched by.

Every organisation derives the same from the same blocks; the form is part of the contract between them (README, "Proofs").
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from carlien_lien_registry.adapters.records import kind_of, lien_from_record, lien_to_record, record_to_json, title_to_record
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, Position, Title
from carlien_lien_registry.domain.merkle import LIEN_KIND, entry, subject_key
from carlien_lien_registry.domain.operations import Record
from carlien_lien_registry.domain.subjects import subjects_of, vin_subject

TITLE: Final = 2
_ENCODER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_KINDS: Final = {"reservation": 3, "consent": 4, "dispute": 5, "court_order": 6}


def lien_record(lien: Lien) -> bytes:
    """The canonical record of a registration, with its place in the ledger, which decides its rank."""
    place = {"block": lien.position.block_number, "tx_index": lien.position.tx_index, "change_index": lien.position.change_index}
    return _canonical({**lien_to_record(lien), "registered_in": place})


def lien_of_record(record: bytes) -> Lien:
    """The registration in a canonical record; ValueError where it isn't one in its one canonical form."""
    try:
        told = json.loads(record)
        place = told["registered_in"]
        lien = lien_from_record(told, Position(place["block"], place["tx_index"], place["change_index"]))
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError("no record of a registration") from error
    if lien_record(lien) != record:
        raise ValueError("a record in another than its canonical form")
    return lien


def lien_entries(lien: Lien, record: bytes) -> list[bytes]:
    """The entries of a registration with this canonical record."""
    return [entry(subject_key(subject), LIEN_KIND, record) for subject in subjects_of(lien)]


def title_entries(title: Title) -> list[bytes]:
    """The entry of a title."""
    return [entry(subject_key(vin_subject(title.vin)), TITLE, _canonical(title_to_record(title)))]


def record_entries(record: Record) -> list[bytes]:
    """The entry of a reservation, consent, dispute or court order."""
    return [entry(subject_key(vin_subject(record.vin)), _KINDS[kind_of(record)], _canonical(record_to_json(record)))]


def entries_of(change: Change) -> list[bytes]:
    """The entries of the record that a change leaves behind."""
    if change.lien is not None:
        return lien_entries(change.lien, lien_record(change.lien))
    if change.title is not None:
        return title_entries(change.title)
    return record_entries(change.record) if change.record is not None else []


def _canonical(record: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(record).encode()
