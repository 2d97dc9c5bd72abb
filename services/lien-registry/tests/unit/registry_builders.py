"""Domain records for tests."""

import datetime as dt
import hashlib
from dataclasses import replace
from decimal import Decimal

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Lien, LienClass, Position, Title
from carlien_lien_registry.service.ports import FollowedBlock, Outcome

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
VIN = "LSVAA4182E2184847"


def tx_id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def at(block: int) -> dt.datetime:
    """The ledger's time of a block: one block a minute."""
    return EPOCH + dt.timedelta(minutes=block)


def registered(number: str, block: int, index: int = 0, vin: str = VIN, debtor_hash: str = "k1:" + "a" * 64, **fields: object) -> Change:
    tx, position = tx_id(number, block, index), Position(block, index)
    lien = Lien(
        registration_number=number,
        vin=vin,
        lien_class=LienClass.MORTGAGE,
        discharged=False,
        secured_amount=Money(Decimal("30000.00"), "CNY"),
        secured_party_msp_id="Org1MSP",
        registered_at=at(block),
        tx_id=tx,
        position=position,
        expires_at=None,
        first_rank=False,
        delivery_date=None,
        details_hash="d" * 64,
        debtor_hash=debtor_hash,
    )
    return Change("lien.registered", vin, position, tx, at(block), lien=replace(lien, **fields))  # type: ignore[arg-type]


def discharged(before: Change, block: int, index: int = 0) -> Change:
    assert before.lien is not None
    lien = replace(before.lien, discharged=True, discharge_reason="PAID_OFF", discharged_at=at(block))
    number = lien.registration_number
    return Change("lien.discharged", lien.vin, Position(block, index), tx_id(number, block, index), at(block), lien=lien)


def issued(vin: str, block: int, index: int = 0) -> Change:
    tx = tx_id(vin, block, index)
    title = Title(vin, "Org1MSP", "k1:" + "b" * 64, "RC0000000001", at(block), tx, block)
    return Change("title.issued", vin, Position(block, index), tx, at(block), title=title)


def block_hash(number: int) -> bytes:
    return hashlib.sha256(f"block {number}".encode()).digest()


def block(number: int, *changes: Change, invalid: tuple[str, ...] = ()) -> FollowedBlock:
    """A block with one transaction per change, then the invalid ones."""
    outcomes = [Outcome(change.tx_id, "VALID", number, change.position.tx_index, (change,)) for change in changes]
    outcomes += [Outcome(tx, "MVCC_READ_CONFLICT", number, len(changes) + place) for place, tx in enumerate(invalid)]
    return FollowedBlock(number, block_hash(number - 1) if number else b"", block_hash(number), tuple(outcomes))
