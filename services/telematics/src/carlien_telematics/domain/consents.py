"""Consent to the use of a car's data.

A track is sensitive personal information and needs a consent of its own, for a purpose, with an end
(Provisions on Automotive Data Security Management, 2021, articles 3 and 9).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Purpose(StrEnum):
    """What data may be used for. Any live one lets records in; who may read what is the reader's purpose."""

    COLLATERAL_MONITORING = "COLLATERAL_MONITORING"
    USAGE_RATING = "USAGE_RATING"


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent of a car's holder."""

    vin: str
    purpose: Purpose
    granted_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def live(self, at: datetime) -> bool:
        """Whether it is in force at `at`."""
        return self.revoked_at is None and self.granted_at <= at < self.expires_at
