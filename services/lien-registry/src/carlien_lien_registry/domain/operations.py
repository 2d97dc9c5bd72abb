"""What the ledger keeps besides liens and titles: reservations of first rank, consents, disputes, court orders."""

import datetime as dt
import enum
from dataclasses import dataclass


class ReservationState(enum.Enum):
    """State as the ledger has it; whether a held one has run out is judged against its expiry."""

    HELD = "HELD"
    RELEASED = "RELEASED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """First rank of a car, held for some minutes."""

    reservation_id: str
    vin: str
    msp_id: str
    state: ReservationState
    reserved_at: dt.datetime
    expires_at: dt.datetime
    tx_id: str

    @property
    def key(self) -> str:
        """What names it."""
        return self.reservation_id


class ConsentOperation(enum.Enum):
    """What a consent is for."""

    TRANSFER_TITLE = "TRANSFER_TITLE"
    ASSIGN = "ASSIGN"
    SUBORDINATE = "SUBORDINATE"


class ConsentState(enum.Enum):
    """State of a consent; it is used once."""

    GIVEN = "GIVEN"
    WITHDRAWN = "WITHDRAWN"
    USED = "USED"


@dataclass(frozen=True, slots=True)
class Consent:
    """One organisation's consent to one proposed change."""

    vin: str
    operation: ConsentOperation
    proposal_hash: str
    msp_id: str
    state: ConsentState
    given_at: dt.datetime
    expires_at: dt.datetime | None
    tx_id: str

    @property
    def key(self) -> str:
        """What names it."""
        return f"{self.vin}/{self.proposal_hash}/{self.msp_id}"


class DisputeKind(enum.Enum):
    """Kind of a dispute: 异议登记, or a demand to change."""

    OBJECTION = "OBJECTION"
    CHANGE_DEMAND = "CHANGE_DEMAND"


class DisputeState(enum.Enum):
    """State of a dispute."""

    OPEN = "OPEN"
    UPHELD = "UPHELD"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute about a car or a registration."""

    dispute_id: str
    vin: str
    registration_number: str
    kind: DisputeKind
    statement_hash: str
    state: DisputeState
    opened_by_msp_id: str
    opened_at: dt.datetime
    tx_id: str
    resolution_hash: str
    resolved_by_msp_id: str
    resolved_at: dt.datetime | None

    @property
    def key(self) -> str:
        """What names it."""
        return self.dispute_id


class CourtOrderEffect(enum.Enum):
    """What a court orders."""

    DISCHARGE = "DISCHARGE"
    SEIZURE = "SEIZURE"
    RELEASE_SEIZURE = "RELEASE_SEIZURE"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class CourtOrder:
    """A court order as the registrar registered it."""

    court_order_id: str
    vin: str
    registration_number: str
    effect: CourtOrderEffect
    court_name: str
    court_registry: str
    file_number: str
    order_date: dt.date
    order_hash: str
    registrar_msp_id: str
    registered_at: dt.datetime
    tx_id: str

    @property
    def key(self) -> str:
        """What names it."""
        return self.court_order_id


Record = Reservation | Consent | Dispute | CourtOrder
