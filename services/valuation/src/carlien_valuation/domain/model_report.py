"""A stored report on a model."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Kind = Literal["calibration", "residual"]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report, its very text and the hash of that."""

    sha256: str
    model_version: str
    created_at: datetime
    body: str

    @property
    def document(self) -> dict[str, Any]:
        """The text, read."""
        document: dict[str, Any] = json.loads(self.body)
        return document
