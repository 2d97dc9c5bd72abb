"""How far an estimate can be relied on."""

from enum import StrEnum


class Confidence(StrEnum):
    """How far an estimate can be relied on."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
