"""Ranking the liens on a car, and what each holder recovers from it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import unavailable
from carlien_common.domain.money import Money
from carlien_lien_registry.domain.liens import Lien, LienClass, LienStatus, Position
from carlien_lien_registry.domain.priority import REGISTRY_ZONE, Interest, Ranked, Sale, rank
from carlien_lien_registry.service.ports import Found, SearchSubject

# Behind everything the ledger has, which is where a lien registered now would stand.
_NEXT: Final = Position(2**62, 0)
WHAT_IF: Final = ""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A lien that isn't registered (yet)."""

    lien_class: LienClass
    secured: Money
    delivered_on: dt.date | None
    subordinated_to: tuple[str, ...]
    unregistered: bool


@dataclass(frozen=True, slots=True)
class Appraised:
    """What the car fetches in a forced sale; no values where valuation abstained."""

    values: Mapping[str, Money]
    model_version: str
    data_cutoff: dt.date | None
    abstain_reason: str = ""


class Appraiser(Protocol):
    """Valuation."""

    async def appraise(self, vehicle: bytes, currency: str) -> Appraised:
        """Appraise a car (valuation's own message) without recording it; DomainError."""
        ...


class RankingReader(Protocol):
    """The read model."""

    async def search(self, subject: SearchSubject, as_of: dt.datetime | None) -> Found:
        """Return a car's registrations as they are now."""
        ...

    async def reservation_positions(self, tx_ids: Sequence[str]) -> Mapping[str, Position]:
        """Return where reservations stand in the ledger, by their transactions."""
        ...


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer."""

    ranked: Sequence[Ranked]
    liens: Mapping[str, Lien]
    as_of_block: int
    appraised: Appraised = field(default_factory=lambda: Appraised({}, "", None))


class Rankings:
    """Ranks on demand; nothing is stored."""

    def __init__(self, reader: RankingReader, appraiser: Appraiser | None, clock: Clock) -> None:
        """Take the parts; without an appraiser there are ranks only."""
        self._reader = reader
        self._appraiser = appraiser
        self._clock = clock

    async def rank(self, vin: str, what_if: WhatIf | None, vehicle: bytes, sale: Sale | None) -> Ranking:
        """Rank what is in force now. UNAVAILABLE VALUATION_MISSING where a value is asked for and there is no valuation."""
        now = self._clock()
        found = await self._reader.search(SearchSubject("vin", vin), None)
        liens = {lien.registration_number: lien for lien in found.liens if lien.status(now) is LienStatus.ACTIVE}
        reserved = [lien.priority_tx_id for lien in liens.values() if lien.priority_tx_id not in ("", lien.tx_id)]
        places = await self._reader.reservation_positions(reserved) if reserved else {}
        interests = [_interest(lien, places.get(lien.priority_tx_id, lien.position)) for lien in liens.values()]
        if what_if is not None:
            interests.append(_hypothetical(what_if, now))
        appraised = await self._appraise(vehicle, interests)
        ranked = rank(interests, appraised.values, now.astimezone(REGISTRY_ZONE).date(), sale)
        return Ranking(ranked, liens, found.as_of_block, appraised)

    async def _appraise(self, vehicle: bytes, interests: Sequence[Interest]) -> Appraised:
        if not vehicle:
            return Appraised({}, "", None)
        if self._appraiser is None:
            raise unavailable("VALUATION_MISSING", "This deployment has no valuation to ask.")
        return await self._appraiser.appraise(vehicle, interests[0].secured.currency if interests else "")


def _interest(lien: Lien, position: Position) -> Interest:
    return Interest(
        number=lien.registration_number,
        lien_class=lien.lien_class,
        secured=lien.secured_amount,
        position=position,
        registered_at=lien.priority_at or lien.registered_at,
        delivered_on=lien.delivery_date,
        possession_ended_on=lien.possession_ended_on,
        subordinated_to=lien.subordinated_to,
    )


def _hypothetical(what_if: WhatIf, now: dt.datetime) -> Interest:
    return Interest(
        number=WHAT_IF,
        lien_class=what_if.lien_class,
        secured=what_if.secured,
        position=None if what_if.unregistered else _NEXT,
        registered_at=None if what_if.unregistered else now,
        delivered_on=what_if.delivered_on,
        subordinated_to=what_if.subordinated_to,
    )
