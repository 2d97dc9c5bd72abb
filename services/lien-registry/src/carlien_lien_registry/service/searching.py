"""Searching the registry and certifying what was found."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import not_found, unavailable
from carlien_lien_registry import metrics
from carlien_lien_registry.domain.certificate import KnownSince, MatchType, Proof, Query, Search, SubjectProof, hits_of
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher
from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.merkle import KEY_BYTES, LIEN_KIND, bucket_hash, entry, subject_key
from carlien_lien_registry.domain.search_key import search_key
from carlien_lien_registry.domain.subjects import debtor_subject, number_subject, serial_subject, vin_subject
from carlien_lien_registry.service.anchoring import Anchored
from carlien_lien_registry.service.following import Progress
from carlien_lien_registry.service.ports import Found, SearchSubject

MAX_BEHIND_SECONDS: Final = 5.0
# How long a search that names a block waits for the proof to reach it.
ANCHOR_SECONDS: Final = 2.0


class SearchReader(Protocol):
    """Searching the read model."""

    async def search(self, subject: SearchSubject, as_of: dt.datetime | None, since: int = -1, buckets: Sequence[int] = ()) -> Found:
        """Return matching registrations as they are now, or were known by `as_of`, with the block they're as of.

        Without `as_of` also those that matched as of block `since`, what changed after it, and what the tree's buckets held then.
        """
        ...


class Prover(Protocol):
    """The registry's tree as of the newest block on whose root the organisations agree."""

    def prove(self, subjects: Sequence[str]) -> Anchored | None:
        """Return the ways of these subjects to that root; None where there is none yet."""
        ...

    async def covered(self, block_number: int, timeout: float) -> bool:
        """Wait until that root takes a block into account; False where it won't within the time."""
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
        prover: Prover,
        to_record: Callable[[Lien], bytes],
        progress: Progress,
        hasher: DebtorHasher,
        clock: Clock,
    ) -> None:
        """Take the parts; `to_record` gives a registration's canonical record."""
        self._reader = reader
        self._certificates = certificates
        self._certifier = certifier
        self._prover = prover
        self._to_record = to_record
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
        # The tree is of what is current: how things stood at a past time it can't show.
        anchored = None if request.as_of is not None else self._prover.prove(_tree_subjects(request, hashes))
        agreed = anchored.agreement.block_number if anchored else -1
        buckets = [path.bucket for path in anchored.paths] if anchored else []
        found = await self._reader.search(_subject(request, hashes), request.as_of, agreed, buckets)
        search = Search(
            certificate_number=await self._certificates.next_number(),
            searched_at=searched_at,
            query=query,
            hits=hits_of(found.liens, query),
            as_of_block=found.as_of_block if request.as_of else agreed,
            known_to_block=found.as_of_block,
            ledger_height=max(self._progress.height, found.as_of_block),
            known_since=tuple(_since(change) for change in found.since),
            # Of hits that were cut off nothing can be proven.
            proof=self._proof(anchored, found) if anchored and not found.cut else None,
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

    def _proof(self, anchored: Anchored, found: Found) -> Proof:
        """Put the proof together. UNAVAILABLE READ_MODEL_DAMAGED rather than one that doesn't hold."""
        agreement = anchored.agreement
        subjects = []
        for path in anchored.paths:
            entries = found.entries[path.bucket]
            if bucket_hash(entries) != path.leaf:
                raise _damaged("the tree's entries aren't those that were anchored")
            subjects.append(SubjectProof(path.subject, b"".join(entries), path.siblings))
        records = tuple(self._to_record(lien) for lien in found.proven)
        under = tuple(subject_key(path.subject) + bytes((LIEN_KIND,)) for path in anchored.paths)
        committed = {one[KEY_BYTES:] for entries in found.entries.values() for one in entries if one.startswith(under)}
        if committed != {entry(b"", LIEN_KIND, record) for record in records}:
            raise _damaged("a registration isn't as it was anchored, or is missing")
        return Proof(agreement.root, agreement.msp_ids, tuple(subjects), records)

    async def _require_fresh(self, min_block: int) -> None:
        progress = self._progress
        if min_block > progress.block_number and not await progress.reached(min_block, MAX_BEHIND_SECONDS):
            raise _behind(progress, f"block {min_block} isn't in the read model")
        if progress.behind_seconds() > MAX_BEHIND_SECONDS:
            raise _behind(progress, f"it hasn't been level with the ledger for {MAX_BEHIND_SECONDS:.0f} seconds")
        if min_block:
            # Who names a block wants it proven; where the other organisations are slow the certificate says so itself.
            await self._prover.covered(min_block, ANCHOR_SECONDS)


def _behind(progress: Progress, why: str) -> Exception:
    text = f"The read model is behind the ledger: {why}."
    return unavailable("READ_MODEL_BEHIND", text, as_of_block=str(progress.block_number), ledger_height=str(progress.height))


def _damaged(why: str) -> Exception:
    return unavailable("READ_MODEL_DAMAGED", f"The read model can't be certified: {why}; audit and rebuild it.")


def _since(change: Change) -> KnownSince:
    if change.lien is None:
        raise TypeError("a search finds registrations")
    return KnownSince(change.lien.registration_number, change.kind, change.position.block_number, change.position.tx_index)


def _tree_subjects(request: SearchRequest, hashes: list[str]) -> list[str]:
    if request.debtor is not None:
        return [debtor_subject(one) for one in hashes]
    if request.registration_number:
        return [number_subject(request.registration_number)]
    return [serial_subject(request.vin) if request.match is MatchType.SIMILAR else vin_subject(request.vin)]


def _subject(request: SearchRequest, hashes: list[str]) -> SearchSubject:
    if request.debtor is not None:
        return SearchSubject("debtor", hashes)
    if request.registration_number:
        return SearchSubject("registration_number", request.registration_number)
    if request.match is MatchType.SIMILAR:
        return SearchSubject("search_key", search_key(request.vin))
    return SearchSubject("vin", request.vin)
