"""Vehicle files: records in, the file out, and what it teaches an appraisal."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Protocol

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import not_found
from carlien_valuation.domain.appraisal import Appraisal, Confidence, PriceType, Remark
from carlien_valuation.domain.corrections import corrected
from carlien_valuation.domain.policy import AppraisalPolicy, in_force
from carlien_valuation.domain.quotes import Fused, Quote, Skill, fuse, learn
from carlien_valuation.domain.vehicle_file import Conflict, Facts, Record, RecordKind, conflicts, facts
from carlien_valuation.service.appraise import Request

QUOTE_DAYS = 180
DAYS_PER_MONTH = 30.4375
SKILL_SECONDS = 600
"""How long a source's skill is remembered."""
MOST_SKILLS = 10_000
DISAGREES = 2.0
"""Standard deviations between appraisal and fused quotes from which they are said to disagree."""


@dataclass(frozen=True, slots=True)
class QuotedSale:
    """A quote of a car that was sold within 90 days: both prices, each in its market."""

    source: str
    quoted: float
    quoted_in: PriceType
    paid: float
    sold_in: PriceType


@dataclass(frozen=True, slots=True)
class Held:
    """A car's records, the newest 1,000 oldest first, and how many there are."""

    records: tuple[Record, ...]
    total: int


class RecordStore(Protocol):
    """Where records are kept."""

    async def held(self, vins: Sequence[str], as_of: datetime, now: datetime) -> Mapping[str, Held]:
        """Records up to `as_of` whose consent still stands `now`; no entry for cars without any."""
        ...

    async def quoted_sales(self, sources: Sequence[str], currency: str) -> Sequence[QuotedSale]:
        """Quotes of these sources that sales have judged, the newest first, a bounded number."""
        ...


class KnownFiles(Protocol):
    """Which cars have a file, in memory: an appraisal of any other car asks nobody."""

    def __contains__(self, vin: object) -> bool:
        """May say yes wrongly, never no."""
        ...


@dataclass(frozen=True, slots=True)
class FusedQuotes:
    """Quotes (newest first) as one, in dealer retail."""

    quotes: tuple[tuple[Record, Quote], ...]
    fused: Fused
    currency: str


@dataclass(frozen=True, slots=True)
class File:
    """A car's file at an instant."""

    vin: str
    held: Held
    facts: Facts
    conflicts: tuple[Conflict, ...]
    quotes: FusedQuotes | None


@dataclass(frozen=True, slots=True)
class Informed:
    """A request as the car's file corrects it, and what to say of that."""

    request: Request
    remarks: tuple[Remark, ...] = ()
    doubtful: bool = False
    file: File | None = None


class VehicleFiles:
    """The use case."""

    def __init__(self, store: RecordStore, known: KnownFiles, policies: Sequence[AppraisalPolicy], currency: str, clock: Clock) -> None:
        self._store, self._known, self._policies, self._currency, self._clock = store, known, policies, currency, clock
        self._skills: dict[str, tuple[datetime, Skill]] = {}

    async def file(self, vin: str, as_of: datetime | None) -> File:
        """A car's file; NOT_FOUND VEHICLE_FILE_UNKNOWN where nothing is on file."""
        at = as_of or self._clock()
        found = await self._files([vin], at)
        if vin not in found:
            raise not_found("VEHICLE_FILE_UNKNOWN", "Nothing is on file for this car.")
        return found[vin]

    async def informed(self, requests: Sequence[Request]) -> list[Informed]:
        """Requests of one valuation date, each as its car's file corrects it."""
        vins = sorted({request.car.vin for request in requests if request.car.vin in self._known})
        if not vins:
            return [Informed(request) for request in requests]
        until = datetime.combine(requests[0].valuation_date + timedelta(days=1), time_of_day(), UTC) - timedelta(microseconds=1)
        files = await self._files(vins, min(until, self._clock()))
        return [_corrected(request, files[request.car.vin]) if request.car.vin in files else Informed(request) for request in requests]

    def told(self, informed: Informed, appraisal: Appraisal) -> Appraisal:
        """The appraisal with what the file says beside it: remarks, and less confidence where sources contradict each other."""
        remarks, doubtful = list(informed.remarks), informed.doubtful
        if informed.file is not None and informed.file.quotes is not None and not appraisal.abstained:
            apart = self._apart(appraisal, informed.file.quotes)
            if apart > DISAGREES:
                count = len(informed.file.quotes.quotes)
                remarks.append(Remark("QUOTES_DIFFER", f"{count} quotes on file lie {apart:.1f} standard deviations from this value."))
                doubtful = True
        if not remarks:
            return appraisal
        estimates = appraisal.estimates
        if doubtful:
            estimates = tuple(dataclasses.replace(one, confidence=_LESS[one.confidence]) for one in estimates)
        return dataclasses.replace(appraisal, estimates=estimates, warnings=(*appraisal.warnings, *remarks))

    def _apart(self, appraisal: Appraisal, quotes: FusedQuotes) -> float:
        policy = in_force(self._policies, appraisal.valuation_date)
        estimate = appraisal.estimates[0]
        retail = math.log(float(estimate.p50.amount)) - _level(policy, estimate.price_type)
        return abs(retail - quotes.fused.log_value) / math.hypot(quotes.fused.deviation, estimate.fsd)

    async def _files(self, vins: Sequence[str], at: datetime) -> dict[str, File]:
        held = await self._store.held(vins, at, self._clock())
        quotes = {vin: self._quotes_of(one.records, at) for vin, one in held.items()}
        skills = await self._learned({record.source for of_one in quotes.values() for record in of_one})
        return {vin: self._file(vin, one, quotes[vin], skills, at) for vin, one in held.items()}

    def _file(self, vin: str, held: Held, quotes: Sequence[Record], skills: Mapping[str, Skill], at: datetime) -> File:
        found = conflicts(held.records)
        fused = self._fused(quotes, skills, at) if quotes else None
        if fused is not None and fused.fused.disagree:
            ids = tuple(record.record_id for record, _ in fused.quotes)
            found.append(Conflict("QUOTES_DISAGREE", "Two quotes differ by more than their sources' errors explain.", ids))
        return File(vin, held, facts(held.records, at), tuple(found), fused)

    def _quotes_of(self, records: Sequence[Record], at: datetime) -> list[Record]:
        return [
            record
            for record in reversed(records)
            if record.kind is RecordKind.QUOTE
            and record.price is not None
            and record.price.currency == self._currency
            and at - record.occurred_at <= timedelta(days=QUOTE_DAYS)
        ]

    def _fused(self, records: Sequence[Record], skills: Mapping[str, Skill], at: datetime) -> FusedQuotes:
        policy = in_force(self._policies, at.date())
        quotes = [
            (
                record,
                Quote(
                    record.record_id,
                    math.log(float(record.price.amount)) - _level(policy, record.price_type or PriceType.DEALER_RETAIL),
                    (at - record.occurred_at) / timedelta(days=DAYS_PER_MONTH),
                    skills[record.source],
                ),
            )
            for record in records
            if record.price is not None
        ]
        return FusedQuotes(tuple(quotes), fuse([quote for _, quote in quotes]), self._currency)

    async def _learned(self, sources: set[str]) -> dict[str, Skill]:
        now = self._clock()
        stale = sorted(
            source for source in sources if source not in self._skills or now - self._skills[source][0] > timedelta(seconds=SKILL_SECONDS)
        )
        if stale:
            sales = await self._store.quoted_sales(stale, self._currency)
            policy = in_force(self._policies, now.date())
            if len(self._skills) + len(stale) > MOST_SKILLS:
                self._skills.clear()
            for source in stale:
                ratios = [
                    math.log(sale.quoted / sale.paid) - _level(policy, sale.quoted_in) + _level(policy, sale.sold_in)
                    for sale in sales
                    if sale.source == source
                ]
                self._skills[source] = now, learn(ratios)
        return {source: self._skills[source][1] for source in sources}


_LESS = {Confidence.HIGH: Confidence.MEDIUM, Confidence.MEDIUM: Confidence.LOW, Confidence.LOW: Confidence.LOW}


def _level(policy: AppraisalPolicy, price_type: PriceType) -> float:
    """Log level of a market relative to dealer retail."""
    return math.log(policy.markets[price_type].level / policy.markets[PriceType.DEALER_RETAIL].level)


def _corrected(request: Request, file: File) -> Informed:
    car, remarks, doubtful = corrected(request.car, file.facts)
    pack, soh = request.pack, file.facts.soh
    if pack is not None and pack.soh is None and soh is not None:
        pack = dataclasses.replace(pack, soh=soh)
        remarks = (*remarks, Remark("BATTERY_FROM_FILE", f"State of health as last told: {100 * soh:.0f} %."))
    if file.conflicts:
        codes = ", ".join(sorted({conflict.code for conflict in file.conflicts}))
        remarks = (*remarks, Remark("FILE_CONFLICTS", f"Sources contradict each other: {codes}."))
    return Informed(dataclasses.replace(request, car=car, pack=pack), remarks, doubtful or bool(file.conflicts), file)
