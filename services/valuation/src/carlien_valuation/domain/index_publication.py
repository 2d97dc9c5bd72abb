"""A published index: one vintage of one segment, region and method."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

Method = Literal["hedonic", "repeat_price"]
METHODS: tuple[Method, ...] = ("hedonic", "repeat_price")

METHODOLOGY_VERSION = "1"
"""Raised whenever the same data would give another index; see docs/index-methodology.md."""


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """One month (its first day): level (base 100), standard error of its log, prices behind it."""

    month: date
    level: float
    standard_error: float
    sample_size: int
    first_published_level: float | None = None


@dataclass(frozen=True, slots=True)
class IndexKey:
    """What an index is of."""

    segment: str
    region: str
    method: Method = "hedonic"

    @property
    def event_key(self) -> str:
        """Key of its events."""
        return f"{self.segment}/{self.region}"


@dataclass(frozen=True, slots=True)
class Publication:
    """All months of an index as estimated from the data up to `vintage` (the first day of its last month)."""

    key: IndexKey
    vintage: date
    base_month: date
    points: tuple[IndexPoint, ...]
    input_hash: str
    published_at: datetime
    methodology_version: str = METHODOLOGY_VERSION
    publication_id: int = 0

    def level_at(self, month: date) -> float | None:
        """Level of the month of a date, of the last one before it where it has none, None before the first."""
        known = [point.level for point in self.points if point.month <= month]
        return known[-1] if known else None


@dataclass(frozen=True, slots=True)
class MarketNowcast:
    """Where a market stands in a month that no vintage covers yet; `month` is its first day."""

    segment: str
    region: str
    month: date
    level: float
    standard_error: float
    sample_size: int
    weight: float
    input_hash: str
    model_version: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class SegmentVintages:
    """What has been published of one index."""

    key: IndexKey
    vintages: tuple[date, ...] = field(default=())


def hash_inputs(rows: list[tuple[str, ...]]) -> str:
    """SHA-256 of the prices an index rests on, in any order, and of the methodology's version."""
    digest = hashlib.sha256(f"methodology {METHODOLOGY_VERSION}\n".encode())
    for row in sorted(rows):
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
