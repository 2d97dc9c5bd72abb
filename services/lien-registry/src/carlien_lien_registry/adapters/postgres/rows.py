"""Rows of the read model to domain records and back."""

import json
from typing import Final

import asyncpg

from carlien_lien_registry.adapters.commitments import lien_record
from carlien_lien_registry.adapters.records import (
    kind_of,
    lien_from_record,
    record_from_json,
    record_to_json,
    title_from_record,
    title_to_record,
)
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, Position, Title
from carlien_lien_registry.domain.search_key import search_key

LIEN_COLUMNS: Final = (
    "registration_number",
    "block_number",
    "tx_index",
    "change_index",
    "superseded_block",
    "change",
    "tx_id",
    "changed_at",
    "vin",
    "search_key",
    "debtor_hash",
    "secured_party_msp_id",
    "discharged",
    "expires_at",
    "registered_block",
    "registered_tx_index",
    "registered_change_index",
    "record",
)
TITLE_COLUMNS: Final = (
    "vin",
    "block_number",
    "tx_index",
    "change_index",
    "superseded_block",
    "change",
    "tx_id",
    "changed_at",
    "record",
)

RECORD_COLUMNS: Final = (
    "kind",
    "record_key",
    "block_number",
    "tx_index",
    "change_index",
    "superseded_block",
    "change",
    "tx_id",
    "changed_at",
    "vin",
    "record",
)


ANCHOR_COLUMNS: Final = ("block_number", "msp_id", "root", "posted_block", "posted_at", "tx_id")


def lien_row(change: Change, superseded_block: int | None, record: bytes | None = None) -> tuple[object, ...]:
    """One row of lien_versions, in the order of LIEN_COLUMNS; ValueError where the change is none of a lien.

    `record` is the lien's canonical record, where the caller has it already.
    """
    lien = change.lien
    if lien is None:
        raise ValueError("the change is none of a lien")
    at, registered = change.position, lien.position
    return (
        lien.registration_number,
        at.block_number,
        at.tx_index,
        at.change_index,
        superseded_block,
        change.kind,
        change.tx_id,
        change.changed_at,
        lien.vin,
        search_key(lien.vin),
        lien.debtor_hash,
        lien.secured_party_msp_id,
        lien.discharged,
        lien.expires_at,
        registered.block_number,
        registered.tx_index,
        registered.change_index,
        (record or lien_record(lien)).decode(),
    )


def title_row(change: Change, superseded_block: int | None) -> tuple[object, ...]:
    """One row of title_versions, in the order of TITLE_COLUMNS; ValueError where the change is none of a title."""
    title = change.title
    if title is None:
        raise ValueError("the change is none of a title")
    at = change.position
    return (
        title.vin,
        at.block_number,
        at.tx_index,
        at.change_index,
        superseded_block,
        change.kind,
        change.tx_id,
        change.changed_at,
        json.dumps(title_to_record(title), separators=(",", ":")),
    )


def record_row(change: Change, superseded_block: int | None) -> tuple[object, ...]:
    """One row of record_versions, in the order of RECORD_COLUMNS; ValueError where the change is of a lien or title."""
    record = change.record
    if record is None:
        raise ValueError("the change is of a lien or title")
    at = change.position
    return (
        kind_of(record),
        record.key,
        at.block_number,
        at.tx_index,
        at.change_index,
        superseded_block,
        change.kind,
        change.tx_id,
        change.changed_at,
        record.vin,
        json.dumps(record_to_json(record), separators=(",", ":")),
    )


def anchor_row(change: Change, _superseded_block: int | None = None) -> tuple[object, ...]:
    """One row of anchors, in the order of ANCHOR_COLUMNS; ValueError where the change is none of an anchor."""
    anchor = change.anchor
    if anchor is None:
        raise ValueError("the change is none of an anchor")
    return (anchor.block_number, anchor.msp_id, anchor.root, change.position.block_number, change.changed_at, change.tx_id)


def record_change(row: asyncpg.Record) -> Change:
    """The change in a row of record_versions."""
    position = Position(row["block_number"], row["tx_index"], row["change_index"])
    record = record_from_json(row["kind"], json.loads(row["record"]))
    return Change(row["change"], row["vin"], position, row["tx_id"], row["changed_at"], record=record)


def canonical(row: tuple[object, ...]) -> tuple[object, ...]:
    """A row in a form that compares: its record (the last column, where it is one) parsed, since jsonb keeps no order."""
    last = str(row[-1])
    return (*row[:-1], json.dumps(json.loads(last), sort_keys=True)) if last.startswith("{") else row


def registered_at(row: asyncpg.Record) -> Position:
    """The place of the registering transaction."""
    return Position(row["registered_block"], row["registered_tx_index"], row["registered_change_index"])


def lien_of(row: asyncpg.Record) -> Lien:
    """The registration in a row of lien_versions."""
    return lien_from_record(json.loads(row["record"]), registered_at(row))


def title_of(row: asyncpg.Record) -> Title:
    """The title in a row of title_versions."""
    return title_from_record(json.loads(row["record"]), row["tx_id"], row["block_number"])


def lien_change(row: asyncpg.Record) -> Change:
    """The change in a row of lien_versions."""
    position = Position(row["block_number"], row["tx_index"], row["change_index"])
    return Change(row["change"], row["vin"], position, row["tx_id"], row["changed_at"], lien=lien_of(row))


def title_change(row: asyncpg.Record) -> Change:
    """The change in a row of title_versions."""
    position = Position(row["block_number"], row["tx_index"], row["change_index"])
    return Change(row["change"], row["vin"], position, row["tx_id"], row["changed_at"], title=title_of(row))
