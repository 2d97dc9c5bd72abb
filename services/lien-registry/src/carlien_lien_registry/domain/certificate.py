"""A search and what it found, before it is signed."""

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass

from carlien_lien_registry.domain.liens import SHOWN_AFTER_END, Lien


class MatchType(enum.Enum):
    """How a hit matched."""

    EXACT = "EXACT"
    SIMILAR = "SIMILAR"


@dataclass(frozen=True, slots=True)
class Query:
    """What was searched for: exactly one of a VIN, a debtor's keyed hash, a registration number; judged as of a time."""

    as_of: dt.datetime
    vin: str = ""
    debtor_hash: str = ""
    registration_number: str = ""
    match: MatchType = MatchType.EXACT


@dataclass(frozen=True, slots=True)
class Hit:
    """One registration found."""

    lien: Lien
    match_type: MatchType


@dataclass(frozen=True, slots=True)
class KnownSince:
    """The last change of a registration after the block that the proof stands on."""

    registration_number: str
    change: str
    block_number: int
    tx_index: int


@dataclass(frozen=True, slots=True)
class SubjectProof:
    """Everything under one subject: its bucket's entries in order, and the way from there to the root."""

    subject: str
    entries: bytes
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that the hits are all there is: a way to the root per subject, and the records as of its block."""

    root: bytes
    anchored_by: tuple[str, ...]
    subjects: tuple[SubjectProof, ...]
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A finished search: no hit means that nothing is registered.

    The hits are as of `known_to_block`. The proof, where there is one, stands on `as_of_block` (-1: nothing is anchored yet);
    `known_since` tells what came after that.
    """

    certificate_number: str
    searched_at: dt.datetime
    query: Query
    hits: tuple[Hit, ...]
    as_of_block: int
    known_to_block: int
    ledger_height: int
    known_since: tuple[KnownSince, ...] = ()
    proof: Proof | None = None


def hits_of(liens: Iterable[Lien], query: Query) -> tuple[Hit, ...]:
    """The hits of a query among the registrations found, in order of registration.

    What ended more than 30 days before the stated time is left out, as in bcgov/ppr.
    """
    shown = (lien for lien in liens if not long_ended(lien, query.as_of))
    return tuple(Hit(lien, _match(lien, query)) for lien in sorted(shown, key=lambda lien: lien.position))


def long_ended(lien: Lien, as_of: dt.datetime) -> bool:
    """True where a search as of that time doesn't show it any more."""
    ended_at = lien.ended_at(as_of)
    return ended_at is not None and as_of - ended_at > SHOWN_AFTER_END


def _match(lien: Lien, query: Query) -> MatchType:
    return MatchType.SIMILAR if query.vin and lien.vin != query.vin else MatchType.EXACT
