"""A car's file: records of many sources, what contradicts what, and the facts that can be relied on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.car import ACCIDENT_GRADE, Usage


class RecordKind(StrEnum):
    """What a record tells of."""

    REGISTRATION = "REGISTRATION"
    LISTING = "LISTING"
    QUOTE = "QUOTE"
    INSURANCE_CLAIM = "INSURANCE_CLAIM"
    MAINTENANCE = "MAINTENANCE"
    INSPECTION = "INSPECTION"
    TELEMATICS_PROFILE = "TELEMATICS_PROFILE"
    AUCTION_SALE = "AUCTION_SALE"
    REPOSSESSION_SALE = "REPOSSESSION_SALE"
    TITLE_TRANSFER = "TITLE_TRANSFER"
    DEREGISTRATION = "DEREGISTRATION"


class Accident(StrEnum):
    """What a source says of accidents."""

    NONE = "NONE"
    MINOR = "MINOR"
    STRUCTURAL = "STRUCTURAL"


NEEDS_CONSENT = {RecordKind.INSURANCE_CLAIM, RecordKind.MAINTENANCE, RecordKind.TELEMATICS_PROFILE}
"""Kinds that tell of a person's life as well as of a car (PIPL art. 13)."""
PRICED = {RecordKind.LISTING, RecordKind.QUOTE, RecordKind.AUCTION_SALE, RecordKind.REPOSSESSION_SALE}
DISPOSALS = {RecordKind.DEREGISTRATION}
ESTIMATED_ODOMETER = {RecordKind.LISTING, RecordKind.QUOTE}
"""Kinds whose readings are rounded or guessed."""

READ_TOLERANCE_KM, ROUGH_TOLERANCE_KM, TOLERANCE_SHARE = 50, 1_000, 0.02
"""A later reading may be lower by so much without anybody having turned anything back; the share is of the higher one."""
MOST_KM_PER_DAY = 2_000
"""A reading that asks for more is a slip of the pen and believed by nobody."""
REGISTRATION_TOLERANCE = timedelta(days=45)
INSPECTION_VALID = timedelta(days=365)
HARD_USE = frozenset(set(Usage) - {Usage.PRIVATE})


@dataclass(frozen=True, slots=True)
class Record:
    """What one source says of one car at one time; None is "not stated"."""

    record_id: str
    vin: str
    kind: RecordKind
    source: str
    key: str
    """The source's own name of it."""
    occurred_at: datetime
    received_at: datetime
    consent_id: str = ""
    consent_expires_at: datetime | None = None
    odometer_km: int | None = None
    price: Money | None = None
    price_type: PriceType | None = None
    usage: Usage | None = None
    grade: int | None = None
    accident: Accident | None = None
    first_registration: date | None = None
    transfer_count: int | None = None
    soh: Decimal | None = None
    """Fraction of the capacity when new."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Records that can't all be right."""

    code: str
    message: str
    record_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file amounts to."""

    odometer_km: int | None = None
    grade: int | None = None
    accident: bool = False
    """Whether a source tells of structural damage."""
    usage: Usage | None = None
    transfer_count: int | None = None
    first_registration: date | None = None
    soh: Decimal | None = None
    disposed_at: datetime | None = None


def facts(records: Sequence[Record], at: datetime) -> Facts:
    """Of records in order of time, as known at an instant."""
    known = [record for record in records if record.occurred_at <= at]
    inspected = [record for record in known if record.grade is not None and at - record.occurred_at <= INSPECTION_VALID]
    accident = any(record.accident is Accident.STRUCTURAL or record.grade == ACCIDENT_GRADE for record in known)
    transfers = _last(known, "transfer_count")
    moved = sum(record.kind is RecordKind.TITLE_TRANSFER for record in known)
    disposals = [record.occurred_at for record in known if record.kind in DISPOSALS]
    registered = [record.first_registration for record in known if record.first_registration]
    believed = [record.odometer_km for record in _believed(known) if record.odometer_km is not None]
    return Facts(
        odometer_km=max(believed, default=None),
        grade=ACCIDENT_GRADE if accident else inspected[-1].grade if inspected else None,
        accident=accident,
        usage=_usage(known),
        transfer_count=max(transfers or 0, moved) if transfers is not None or moved else None,
        first_registration=registered[0] if registered else None,
        soh=_last(known, "soh"),
        disposed_at=disposals[-1] if disposals else None,
    )


def _last(records: Sequence[Record], name: str) -> Any:
    return next((getattr(record, name) for record in reversed(records) if getattr(record, name) is not None), None)


def _usage(records: Sequence[Record]) -> Usage | None:
    """The licence's and telematics' last word; where they differ the harder use, for that is what wears the car."""
    by_licence = [record.usage for record in records if record.usage and record.kind is not RecordKind.TELEMATICS_PROFILE]
    by_telematics = [record.usage for record in records if record.usage and record.kind is RecordKind.TELEMATICS_PROFILE]
    last = [uses[-1] for uses in (by_telematics, by_licence) if uses]
    return next((use for use in last if use in HARD_USE), last[-1] if last else None)


def _believed(records: Sequence[Record]) -> list[Record]:
    """Readings without those that would ask for more than MOST_KM_PER_DAY since the one before, and fall again afterwards."""
    read = [record for record in records if record.odometer_km is not None]
    kept: list[Record] = []
    for place, record in enumerate(read):
        if kept and _km(record) > _km(kept[-1]) + MOST_KM_PER_DAY * (_days(kept[-1], record) + 1):
            later = [_km(other) for other in read[place + 1 :]]
            if later and min(later) < _km(record):
                continue
        kept.append(record)
    return kept


def conflicts(records: Sequence[Record]) -> list[Conflict]:
    """What doesn't fit together in records in order of time."""
    return [*_rollbacks(records), *_accidents(records), *_registrations(records), *_uses(records), *_after_disposal(records)]


def _rollbacks(records: Sequence[Record]) -> list[Conflict]:
    """Each reading below the highest one before it, beyond what rounding explains; between any two sources."""
    found = []
    highest: Record | None = None
    for record in _believed(records):
        if highest is not None and _km(record) < _km(highest) - _tolerance(highest, record):
            found.append(
                Conflict(
                    "ODOMETER_ROLLBACK",
                    f"{record.source} reads {_km(record)} km on {record.occurred_at:%Y-%m-%d}, {highest.source} read {_km(highest)} km on "
                    f"{highest.occurred_at:%Y-%m-%d}.",
                    (highest.record_id, record.record_id),
                )
            )
        if highest is None or _km(record) > _km(highest):
            highest = record
    return found


def _tolerance(before: Record, after: Record) -> float:
    rough = bool({before.kind, after.kind} & ESTIMATED_ODOMETER)
    return max(ROUGH_TOLERANCE_KM, TOLERANCE_SHARE * _km(before)) if rough else READ_TOLERANCE_KM


def _accidents(records: Sequence[Record]) -> list[Conflict]:
    """Structural damage by one source, and a later record that says there was none or grades the car as free of accidents."""
    damage = next((record for record in records if record.accident is Accident.STRUCTURAL or record.grade == ACCIDENT_GRADE), None)
    if damage is None:
        return []
    silent = [
        record
        for record in records
        if record.occurred_at >= damage.occurred_at
        and (record.accident is Accident.NONE or (record.grade is not None and record.grade < ACCIDENT_GRADE))
    ]
    return [
        Conflict(
            "ACCIDENT_UNDECLARED",
            f"{record.source} knows of no accident on {record.occurred_at:%Y-%m-%d}; {damage.source} tells of structural damage on "
            f"{damage.occurred_at:%Y-%m-%d}.",
            (damage.record_id, record.record_id),
        )
        for record in silent
    ]


def _registrations(records: Sequence[Record]) -> list[Conflict]:
    stated = [record for record in records if record.first_registration is not None]
    found = []
    for record in stated[1:]:
        first, other = stated[0].first_registration, record.first_registration
        if first and other and abs(first - other) > REGISTRATION_TOLERANCE:
            text = f"{record.source} dates the first registration {other}, {stated[0].source} {first}."
            found.append(Conflict("REGISTRATION_CONFLICT", text, (stated[0].record_id, record.record_id)))
    return found


def _uses(records: Sequence[Record]) -> list[Conflict]:
    """Licensed or offered as private while telematics saw it used commercially before."""
    driven = next((r for r in reversed(records) if r.kind is RecordKind.TELEMATICS_PROFILE and r.usage in HARD_USE), None)
    told = next((r for r in reversed(records) if r.kind is not RecordKind.TELEMATICS_PROFILE and r.usage is Usage.PRIVATE), None)
    if driven is None or told is None:
        return []
    text = f"{told.source} says PRIVATE on {told.occurred_at:%Y-%m-%d}; it was used for {driven.usage} by {driven.occurred_at:%Y-%m-%d}."
    return [Conflict("USAGE_UNDECLARED", text, tuple(r.record_id for r in sorted((driven, told), key=lambda r: r.occurred_at)))]


def _after_disposal(records: Sequence[Record]) -> list[Conflict]:
    gone = next((record for record in records if record.kind in DISPOSALS), None)
    if gone is None:
        return []
    return [
        Conflict(
            "RECORD_AFTER_DISPOSAL",
            f"{record.source} tells of the car on {record.occurred_at:%Y-%m-%d}, after it was deregistered on {gone.occurred_at:%Y-%m-%d}.",
            (gone.record_id, record.record_id),
        )
        for record in records
        if record.occurred_at > gone.occurred_at
    ]


def _km(record: Record) -> int:
    return record.odometer_km or 0


def _days(before: Record, after: Record) -> float:
    return (after.occurred_at - before.occurred_at) / timedelta(days=1)
