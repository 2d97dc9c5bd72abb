"""What a secured party wants to be told of without asking."""

import datetime as dt
import enum
from dataclasses import dataclass

from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.operations import Dispute, Reservation


class AlertKind(enum.Enum):
    """Why."""

    EXPIRY_REMINDER = "expiry_reminder"
    EXPIRED = "expired"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert about one registration of ours. `days_ahead` is of reminders, `change` of change alerts."""

    kind: AlertKind
    vin: str
    registration_number: str
    expires_at: dt.datetime | None
    days_ahead: int = 0
    change: Change | None = None

    @property
    def alert_id(self) -> str:
        """The same alert has the same name, however often it is found."""
        if self.change is not None:
            return f"{self.change.event_id}/{self.registration_number}"
        ends = f"{self.expires_at:%Y%m%dT%H%M%SZ}" if self.expires_at else ""
        return f"{self.registration_number}/{ends}/{self.days_ahead}"


def concerns(change: Change, msp_id: str) -> bool:
    """True for a change of somebody else's that may touch the rights of whoever else has a registration on the car."""
    if change.lien is not None:
        return change.lien.secured_party_msp_id != msp_id
    match change.record:
        case Dispute():
            return change.record.opened_by_msp_id != msp_id
        case Reservation():
            return change.record.msp_id != msp_id
        case None:
            return change.title is not None and change.kind == "title.transferred"
    # A court order touches everybody; a consent touches only whoever gave it.
    return change.kind == "court_order.registered"
