"""Ledger against official registry: a pure comparison, with typed mismatches and the time there is to settle each.

Which registry a lien belongs in follows from its class: motor-vehicle mortgages and pledges are the vehicle office's (车管所), and are
excluded from the movable-property registry (中登网), which has finance leases and retention of title.
"""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.liens import Lien, LienClass, LienStatus
from carlien_lien_registry.domain.search_key import search_key

PSB_VEHICLE: Final = "PSB_VEHICLE"
ZHONGDENG: Final = "ZHONGDENG"
SOURCES: Final = (PSB_VEHICLE, ZHONGDENG)
_ROUTES: Final[Mapping[LienClass, str]] = {
    LienClass.MORTGAGE: PSB_VEHICLE,
    LienClass.PURCHASE_MONEY: PSB_VEHICLE,
    LienClass.PLEDGE: PSB_VEHICLE,
    LienClass.FINANCE_LEASE: ZHONGDENG,
    LienClass.RETENTION_OF_TITLE: ZHONGDENG,
}
STALE_AFTER: Final = dt.timedelta(days=2)


class MismatchKind(enum.Enum):
    """How the two differ."""

    GHOST_LIEN = "GHOST_LIEN"
    MISSING_DISCHARGE = "MISSING_DISCHARGE"
    AMOUNT_DRIFT = "AMOUNT_DRIFT"
    VIN_MISREAD = "VIN_MISREAD"
    STALE_EXTRACT = "STALE_EXTRACT"


# House policy of 2026-11: what may cost a rank is settled in the day that 机动车登记规定 (公安部令164) gives the vehicle office to decide.
TIME_TO_SETTLE: Final[Mapping[MismatchKind, dt.timedelta]] = {
    MismatchKind.GHOST_LIEN: dt.timedelta(days=1),
    MismatchKind.MISSING_DISCHARGE: dt.timedelta(days=1),
    MismatchKind.VIN_MISREAD: dt.timedelta(days=1),
    MismatchKind.AMOUNT_DRIFT: dt.timedelta(days=5),
    MismatchKind.STALE_EXTRACT: dt.timedelta(days=1),
}


@dataclass(frozen=True, slots=True)
class ExtractRecord:
    """One line of an official registry's extract."""

    external_certificate_number: str
    vin: str
    active: bool
    secured_amount: Money
    registered_on: dt.date | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference. Two with equal identity are the same case."""

    kind: MismatchKind
    source: str
    vin: str
    registration_number: str
    external_certificate_number: str
    ledger_says: str
    registry_says: str

    @property
    def identity(self) -> tuple[str, str, str, str, str]:
        """What makes it the same case in the next extract."""
        return (self.kind.value, self.source, self.vin, self.registration_number, self.external_certificate_number)


def route(lien_class: LienClass) -> str | None:
    """The official registry a lien belongs in; possessory liens arise without registration."""
    return _ROUTES.get(lien_class)


def compare(
    source: str, liens: Iterable[Lien], records: Sequence[ExtractRecord], own_msp_id: str, as_of: dt.datetime, extracted_at: dt.datetime
) -> list[Mismatch]:
    """Compare an extract with the ledger's liens of its cars and those of the own organisation.

    A record is matched by the registry's number, else by VIN (with an amount that fits first), else by a VIN one misreading away.
    What the ledger has and the extract lacks is reported for own liens only: an extract covers the lender who drew it. What the
    ledger learned after the extract was drawn the extract can't show, so that is no difference.
    """
    if as_of - extracted_at > STALE_AFTER:
        age = f"drawn {extracted_at:%Y-%m-%d %H:%M} UTC"
        return [Mismatch(MismatchKind.STALE_EXTRACT, source, "", "", "", f"compared {as_of:%Y-%m-%d %H:%M} UTC", age)]
    candidates = [lien for lien in liens if route(lien.lien_class) == source]
    unmatched = {lien.registration_number: lien for lien in candidates}
    found: list[Mismatch] = []
    for record in sorted(records, key=lambda one: (one.external_certificate_number, one.vin)):
        lien = _match(record, unmatched.values(), as_of)
        if lien is not None:
            del unmatched[lien.registration_number]
            found += _differences(source, record, lien, as_of, extracted_at)
        elif record.active:
            found.append(_mismatch(MismatchKind.GHOST_LIEN, source, record, None, "nothing", "in force"))
    for lien in unmatched.values():
        known_then = lien.registered_at <= extracted_at
        if known_then and lien.secured_party_msp_id == own_msp_id and lien.status(as_of) is LienStatus.ACTIVE:
            found.append(_mismatch(MismatchKind.GHOST_LIEN, source, None, lien, "in force", "nothing"))
    return found


def misread(one: str, other: str) -> bool:
    """True where two VINs differ, in one character or only in look-alikes within the search key."""
    if one == other or len(one) != len(other):
        return False
    differing = sum(a != b for a, b in zip(one, other, strict=True))
    return differing == 1 or (one[:-6] == other[:-6] and search_key(one) == search_key(other))


def _match(record: ExtractRecord, liens: Iterable[Lien], as_of: dt.datetime) -> Lien | None:
    held = sorted(liens, key=lambda lien: lien.position)
    number = record.external_certificate_number
    by_number = [lien for lien in held if number and lien.external_certificate_number == number]
    # A registration with another number there is another registration.
    free = [lien for lien in held if not lien.external_certificate_number or not number]
    by_vin = [lien for lien in free if lien.vin == record.vin]
    alike = [lien for lien in free if misread(lien.vin, record.vin)]

    def fit(lien: Lien) -> tuple[bool, bool]:
        in_force = lien.status(as_of) is LienStatus.ACTIVE
        return (lien.secured_amount != record.secured_amount, in_force != record.active)

    for candidates in (by_number, by_vin, alike):
        if candidates:
            return min(candidates, key=fit)
    return None


def _differences(source: str, record: ExtractRecord, lien: Lien, as_of: dt.datetime, extracted_at: dt.datetime) -> list[Mismatch]:
    found = []
    status = lien.status(as_of)
    if record.active and status is not LienStatus.ACTIVE and (lien.ended_at(as_of) or as_of) > extracted_at:
        status = LienStatus.ACTIVE
    if record.vin != lien.vin:
        found.append(_mismatch(MismatchKind.VIN_MISREAD, source, record, lien, lien.vin, record.vin))
    if record.active != (status is LienStatus.ACTIVE):
        says = "in force" if record.active else "ended"
        found.append(_mismatch(MismatchKind.MISSING_DISCHARGE, source, record, lien, status.value.lower(), says))
    elif record.active and record.secured_amount != lien.secured_amount:
        amounts = (str(lien.secured_amount), str(record.secured_amount))
        found.append(_mismatch(MismatchKind.AMOUNT_DRIFT, source, record, lien, *amounts))
    return found


def _mismatch(
    kind: MismatchKind, source: str, record: ExtractRecord | None, lien: Lien | None, ledger_says: str, registry_says: str
) -> Mismatch:
    return Mismatch(
        kind=kind,
        source=source,
        vin=lien.vin if lien else record.vin if record else "",
        registration_number=lien.registration_number if lien else "",
        external_certificate_number=record.external_certificate_number if record else "",
        ledger_says=ledger_says,
        registry_says=registry_says,
    )
