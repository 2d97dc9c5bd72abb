"""Rows of the read model to domain records and back."""

from typing import Final

import asyncpg

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, LienClass, Position, Title
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
    "lien_class",
    "discharged",
    "amount",
    "currency_code",
    "secured_party_msp_id",
    "registered_at",
    "registered_tx_id",
    "registered_block",
    "registered_tx_index",
    "registered_change_index",
    "expires_at",
    "first_rank",
    "delivery_date",
    "details_hash",
    "debtor_hash",
    "discharge_reason",
    "discharged_at",
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
    "holder_msp_id",
    "holder_hash",
    "registration_certificate_number",
    "issued_at",
)


def lien_row(change: Change, lien: Lien, superseded_block: int | None) -> tuple[object, ...]:
    """One row of lien_versions, in the order of LIEN_COLUMNS."""
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
        lien.lien_class.value,
        lien.discharged,
        lien.secured_amount.amount,
        lien.secured_amount.currency,
        lien.secured_party_msp_id,
        lien.registered_at,
        lien.tx_id,
        registered.block_number,
        registered.tx_index,
        registered.change_index,
        lien.expires_at,
        lien.first_rank,
        lien.delivery_date,
        lien.details_hash,
        lien.debtor_hash,
        lien.discharge_reason,
        lien.discharged_at,
    )


def title_row(change: Change, title: Title, superseded_block: int | None) -> tuple[object, ...]:
    """One row of title_versions, in the order of TITLE_COLUMNS."""
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
        title.holder_msp_id,
        title.holder_hash,
        title.registration_certificate_number,
        title.issued_at,
    )


def lien_of(row: asyncpg.Record) -> Lien:
    """The registration in a row of lien_versions."""
    return Lien(
        registration_number=row["registration_number"],
        vin=row["vin"],
        lien_class=LienClass(row["lien_class"]),
        discharged=row["discharged"],
        secured_amount=Money(row["amount"], row["currency_code"]).quantized(),
        secured_party_msp_id=row["secured_party_msp_id"],
        registered_at=row["registered_at"],
        tx_id=row["registered_tx_id"],
        position=Position(row["registered_block"], row["registered_tx_index"], row["registered_change_index"]),
        expires_at=row["expires_at"],
        first_rank=row["first_rank"],
        delivery_date=row["delivery_date"],
        details_hash=row["details_hash"],
        debtor_hash=row["debtor_hash"],
        discharge_reason=row["discharge_reason"],
        discharged_at=row["discharged_at"],
    )


def title_of(row: asyncpg.Record) -> Title:
    """The title in a row of title_versions."""
    return Title(
        vin=row["vin"],
        holder_msp_id=row["holder_msp_id"],
        holder_hash=row["holder_hash"],
        registration_certificate_number=row["registration_certificate_number"],
        issued_at=row["issued_at"],
        tx_id=row["tx_id"],
        block_number=row["block_number"],
    )


def lien_change(row: asyncpg.Record) -> Change:
    """The change in a row of lien_versions."""
    position = Position(row["block_number"], row["tx_index"], row["change_index"])
    return Change(row["change"], row["vin"], position, row["tx_id"], row["changed_at"], lien=lien_of(row))


def title_change(row: asyncpg.Record) -> Change:
    """The change in a row of title_versions."""
    position = Position(row["block_number"], row["tx_index"], row["change_index"])
    return Change(row["change"], row["vin"], position, row["tx_id"], row["changed_at"], title=title_of(row))
