"""Importing extracts of official registries, and the cases that come of them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import not_found, precondition
from carlien_common.domain.ids import new_id
from carlien_lien_registry import metrics
from carlien_lien_registry.domain.liens import Lien
from carlien_lien_registry.domain.reconciliation import TIME_TO_SETTLE, ExtractRecord, Mismatch, MismatchKind, compare
from carlien_lien_registry.service.registry import Asked


@dataclass(frozen=True, slots=True)
class Case:
    """A mismatch with its clock."""

    mismatch_id: str
    mismatch: Mismatch
    state: str
    opened_at: dt.datetime
    due_at: dt.datetime
    ended_at: dt.datetime | None = None
    resolution: str = ""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did."""

    records: int
    opened: int
    gone: int
    as_of_block: int


@dataclass(frozen=True, slots=True)
class CaseList:
    """Which cases to list, after a (due_at, mismatch_id)."""

    state: str
    limit: int
    kind: MismatchKind | None = None
    vin: str = ""
    after: tuple[dt.datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class Extract:
    """What an official registry said at a time."""

    source: str
    extracted_at: dt.datetime
    records: tuple[ExtractRecord, ...]


class ReconciliationStore(Protocol):
    """Cases, and the liens to compare with."""

    async def liens_to_compare(self, vins: Sequence[str], msp_id: str) -> tuple[Sequence[Lien], int]:
        """Return the liens on these cars or with their search keys, and all of one organisation; and the block they're as of."""
        ...

    async def keep(self, asked: Asked, extract: Extract, cases: Sequence[Case], result: ImportResult) -> ImportResult:
        """Keep the extract, open what isn't open yet, close what it doesn't show any more; return the result with how many of each.

        A repeat returns the first result; DUPLICATE IDEMPOTENCY_KEY_REUSED.
        """
        ...

    async def keep_again(self, extract: Extract, cases: Sequence[Case], as_of_block: int) -> None:
        """The same for an extract that is kept already, unless a newer one has come meanwhile."""
        ...

    async def extracts(self) -> Sequence[Extract]:
        """Return the newest extract of each source."""
        ...

    async def list_cases(self, query: CaseList) -> Sequence[Case]:
        """Return one page of cases, those due first."""
        ...

    async def resolve(self, mismatch_id: str, resolution: str, now: dt.datetime) -> Case | None:
        """Settle an open case; None where there is none of that number."""
        ...


class Reconciliation:
    """Use cases."""

    def __init__(self, store: ReconciliationStore, msp_id: str, clock: Clock) -> None:
        """Take the parts."""
        self._store = store
        self._msp_id = msp_id
        self._clock = clock

    async def take_extract(self, asked: Asked, source: str, extracted_at: dt.datetime, records: Sequence[ExtractRecord]) -> ImportResult:
        """Compare an extract with the ledger. PRECONDITION EXTRACT_FROM_FUTURE."""
        now = self._clock()
        if extracted_at > now:
            raise precondition("EXTRACT_FROM_FUTURE", "The extract was drawn later than now.")
        extract = Extract(source, extracted_at, tuple(records))
        cases, as_of_block = await self._cases(extract, now)
        result = await self._store.keep(asked, extract, cases, ImportResult(len(records), 0, 0, as_of_block))
        for case in cases:
            metrics.MISMATCHES.labels(case.mismatch.kind.value).inc()
        return result

    async def compare_again(self) -> None:
        """Compare the newest extract of each source with the ledger as it is now. To be repeated, for the ledger moves on."""
        for extract in await self._store.extracts():
            cases, as_of_block = await self._cases(extract, self._clock())
            await self._store.keep_again(extract, cases, as_of_block)

    async def _cases(self, extract: Extract, now: dt.datetime) -> tuple[list[Case], int]:
        vins = sorted({record.vin for record in extract.records})
        liens, as_of_block = await self._store.liens_to_compare(vins, self._msp_id)
        found = compare(extract.source, liens, extract.records, self._msp_id, now, extract.extracted_at)
        return [Case(new_id(), one, "OPEN", now, now + TIME_TO_SETTLE[one.kind]) for one in found], as_of_block

    async def list_cases(self, query: CaseList) -> Sequence[Case]:
        """Return one page of cases."""
        return await self._store.list_cases(query)

    async def resolve(self, mismatch_id: str, resolution: str) -> Case:
        """Settle a case, NOT_FOUND MISMATCH_UNKNOWN. Settling it again the same way changes nothing."""
        case = await self._store.resolve(mismatch_id, resolution, self._clock())
        if case is None:
            raise not_found("MISMATCH_UNKNOWN", "There is no mismatch of this number.")
        if case.state != "RESOLVED" or case.resolution != resolution:
            raise precondition("MISMATCH_ENDED", "The mismatch was settled another way, or went away.")
        return case
