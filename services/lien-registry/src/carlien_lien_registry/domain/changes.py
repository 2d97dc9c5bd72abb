"""What one transaction changed, as the ledger's events tell it."""

import datetime as dt
from dataclasses import dataclass

from carlien_lien_registry.domain.liens import Anchor, Lien, Position, Title
from carlien_lien_registry.domain.operations import Record


@dataclass(frozen=True, slots=True)
class Change:
    """One change: its kind (`lien.registered`, …), where it stands in the ledger, and the record after it."""

    kind: str
    vin: str
    position: Position
    tx_id: str
    changed_at: dt.datetime
    lien: Lien | None = None
    title: Title | None = None
    record: Record | None = None
    anchor: Anchor | None = None

    @property
    def event_id(self) -> str:
        """Stable identifier of the event that tells of it: transaction id and index of the change."""
        return f"{self.tx_id}/{self.position.change_index}"
