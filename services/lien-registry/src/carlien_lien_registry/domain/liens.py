"""A registration as the public ledger shows it, and how a reader judges its state."""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Final

from carlien_common.domain.money import Money

# The search shows ended registrations for a while, as bcgov/ppr does: who searches late still learns of a recent end.
SHOWN_AFTER_END: Final = dt.timedelta(days=30)


class LienClass(enum.Enum):
    """Kind of security interest; it decides the priority rule (Civil Code 414-416, 456)."""

    MORTGAGE = "MORTGAGE"
    PURCHASE_MONEY = "PURCHASE_MONEY"
    PLEDGE = "PLEDGE"
    POSSESSORY = "POSSESSORY"
    FINANCE_LEASE = "FINANCE_LEASE"
    RETENTION_OF_TITLE = "RETENTION_OF_TITLE"


class LienStatus(enum.Enum):
    """State of a registration as of a stated time."""

    ACTIVE = "ACTIVE"
    DISCHARGED = "DISCHARGED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the ledger. The order of everything: never a timestamp that a client chose."""

    block_number: int
    tx_index: int
    change_index: int = 0


@dataclass(frozen=True, slots=True)
class Lien:
    """One version of a registration, as the public ledger shows it.

    `position` is the place of the registering transaction; `priority_tx_id` is the reservation's where one was used.
    """

    registration_number: str
    vin: str
    lien_class: LienClass
    discharged: bool
    secured_amount: Money
    secured_party_msp_id: str
    registered_at: dt.datetime
    tx_id: str
    position: Position
    expires_at: dt.datetime | None
    first_rank: bool
    delivery_date: dt.date | None
    details_hash: str
    debtor_hash: str
    discharge_reason: str = ""
    discharged_at: dt.datetime | None = None
    version: int = 1
    base_registration_number: str = ""
    claim_id: str = ""
    priority_at: dt.datetime | None = None
    priority_tx_id: str = ""
    evidence_hash: str = ""
    possession_ended_on: dt.date | None = None
    transfer_restriction_registered: bool = False
    external_registry: str = ""
    external_certificate_number: str = ""
    external_status: str = ""
    subordinated_to: tuple[str, ...] = ()
    replaced_by: str = ""
    amendment: str = ""

    def status(self, as_of: dt.datetime) -> LienStatus:
        """Judge the state as of an instant: expiry is the reader's judgement, no sweeper writes it on the ledger."""
        if self.discharged:
            return LienStatus.DISCHARGED
        if self.expires_at is not None and self.expires_at <= as_of:
            return LienStatus.EXPIRED
        return LienStatus.ACTIVE

    def ended_at(self, as_of: dt.datetime) -> dt.datetime | None:
        """When it ended, None while it is in force as of that instant."""
        match self.status(as_of):
            case LienStatus.ACTIVE:
                return None
            case LienStatus.EXPIRED:
                return self.expires_at
            case LienStatus.DISCHARGED:
                return self.discharged_at


@dataclass(frozen=True, slots=True)
class Title:
    """The one title record of a car."""

    vin: str
    holder_msp_id: str
    holder_hash: str
    registration_certificate_number: str
    issued_at: dt.datetime
    tx_id: str
    block_number: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """The root of the registry's Merkle tree as of a block, as an organisation posted it on the ledger."""

    block_number: int
    msp_id: str
    root: bytes
