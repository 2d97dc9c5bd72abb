"""Searching the registry and certifying what was found."""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Protocol

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import not_found, unavailable
from carlien_lien_registry import metrics
from carlien_lien_registry.domain.certificate import MatchType, Query, Search, hits_of
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher
from carlien_lien_registry.domain.search_key import search_key
from carlien_lien_registry.service.following import Progress
from carlien_lien_registry.service.ports import Found, SearchSubject

MAX_BEHIND_SECONDS: Final = 5.0


class SearchReader(Protocol):
    """Searching the read model."""

    async def search(self, subject: SearchSubject, as_of: dt.datetime | None) -> Found:
        """Return matching registrations as they are now, or were known by `as_of`, with the block they're as of."""
        ...


class CertificateStore(Protocol):
    """Where signed certificates are kept for good."""

    async def next_number(self) -> str:
        """Return a number never given before; gaps are allowed."""
        ...

    async def put(self, number: str, searched_at: dt.datetime, certificate: bytes) -> None:
        """Keep a certificate."""
        ...

    async def get(self, number: str) -> bytes | None:
        """Return the certificate exactly as it was signed."""
        ...


class Certifier(Protocol):
    """Signing certificates."""

    async def sign(self, search: Search) -> bytes:
        """Return the signed certificate, serialised."""
        ...


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What a caller searches for; exactly one of vin, debtor, registration_number."""

    vin: str = ""
    debtor: Debtor | None = None
    registration_number: str = ""
    match: MatchType = MatchType.EXACT
    as_of: dt.datetime | None = None
    min_block: int = 0


class Searches:
    """Runs searches; every one ends in a stored certificate."""

    def __init__(
        self,
        reader: SearchReader,
        certificates: CertificateStore,
        certifier: Certifier,
        progress: Progress,
        hasher: DebtorHasher,
        clock: Clock,
    ) -> None:
        """Take the parts."""
        self._reader = reader
        self._certificates = certificates
        self._certifier = certifier
        self._progress = progress
        self._hasher = hasher
        self._clock = clock

    async def search(self, request: SearchRequest) -> bytes:
        """Search and return the signed certificate. UNAVAILABLE READ_MODEL_BEHIND rather than an old truth."""
        await self._require_fresh(request.min_block)
        searched_at = self._clock()
        hashes = self._hasher.all_live(request.debtor) if request.debtor else []
        query = Query(
            as_of=request.as_of or searched_at,
            vin=request.vin,
            debtor_hash=hashes[0] if hashes else "",
            registration_number=request.registration_number,
            match=request.match,
        )
        found = await self._reader.search(_subject(request, hashes), request.as_of)
        search = Search(
            certificate_number=await self._certificates.next_number(),
            searched_at=searched_at,
            query=query,
            hits=hits_of(found.liens, query),
            as_of_block=found.as_of_block,
            ledger_height=max(self._progress.height, found.as_of_block),
        )
        metrics.SEARCHES.labels(str(bool(search.hits)).lower()).inc()
        certificate = await self._certifier.sign(search)
        await self._certificates.put(search.certificate_number, searched_at, certificate)
        return certificate

    async def certificate(self, number: str) -> bytes:
        """Return a stored certificate as it was signed, NOT_FOUND CERTIFICATE_UNKNOWN."""
        certificate = await self._certificates.get(number)
        if certificate is None:
            raise not_found("CERTIFICATE_UNKNOWN", "There is no certificate with this number.")
        return certificate

    async def _require_fresh(self, min_block: int) -> None:
        progress = self._progress
        if min_block > progress.block_number and not await progress.reached(min_block, MAX_BEHIND_SECONDS):
            raise _behind(progress, f"block {min_block} isn't in the read model")
        if progress.behind_seconds() > MAX_BEHIND_SECONDS:
            raise _behind(progress, f"it hasn't been level with the ledger for {MAX_BEHIND_SECONDS:.0f} seconds")


def _behind(progress: Progress, why: str) -> Exception:
    text = f"The read model is behind the ledger: {why}."
    return unavailable("READ_MODEL_BEHIND", text, as_of_block=str(progress.block_number), ledger_height=str(progress.height))


def _subject(request: SearchRequest, hashes: list[str]) -> SearchSubject:
    if request.debtor is not None:
        return SearchSubject("debtor", hashes)
    if request.registration_number:
        return SearchSubject("registration_number", request.registration_number)
    if request.match is MatchType.SIMILAR:
        return SearchSubject("search_key", search_key(request.vin))
    return SearchSubject("vin", request.vin)
