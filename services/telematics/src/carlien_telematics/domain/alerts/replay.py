"""A watch taken through records, and what becomes of cases that late records put in another light."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from carlien_telematics.domain.alerts.cases import FUSE, Case
from carlien_telematics.domain.alerts.signals import Evidence
from carlien_telematics.domain.alerts.watch import NOWHERE, Watch
from carlien_telematics.domain.geofences import GeofenceIndex
from carlien_telematics.domain.trips import Sample

WITHDRAWN = "WITHDRAWN_BY_LATE_RECORDS"
"""Evidence against a case: with the records that came late it would not have been found."""


@dataclass(slots=True)
class Advance:
    """What records did to a watch."""

    watch: Watch
    head_time: datetime | None
    cases: dict[str, Case] = field(default_factory=dict)
    """Cases that changed, by identifier, as they are at the end."""
    checkpoints: list[tuple[datetime, Watch]] = field(default_factory=list)
    """The watch as it was at the last record of each hour that ended, with that record's time."""


def advance(watch: Watch, head_time: datetime | None, samples: Iterable[Sample], fences: GeofenceIndex = NOWHERE) -> Advance:
    """Takes `samples`, in device time, into `watch`, which is changed; `head_time` is that of its newest record."""
    result = Advance(watch, head_time)
    for gone in watch.places.forget(fences):
        case = watch.book.close(f"GEOFENCE/{gone}", head_time) if head_time is not None else None
        if case is not None:
            result.cases[case.case_id] = case
    for sample in samples:
        if result.head_time is not None and _hour(sample.at) != _hour(result.head_time):
            result.checkpoints.append((result.head_time, copy.deepcopy(watch)))
            watch.book.forget(sample.at)
        for case in watch.observe(sample, fences):
            result.cases[case.case_id] = case
        result.head_time = sample.at
    return result


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def reconcile(result: Advance, stored: Sequence[Case], now: datetime) -> None:
    """After a replay: a case that comes out a little different keeps its identifier, one that doesn't is closed and says so.

    `stored` are the cases with a signal after the point from which was replayed, as they were known before.
    """
    standing = {case.case_id for case in result.watch.book.current.values()}
    known = {case.case_id for case in stored}
    for old in stored:
        if old.case_id in result.cases or old.case_id in standing:
            continue
        twin = next(
            (
                case
                for case in result.cases.values()
                if case.incident == old.incident and case.case_id not in known and abs(case.started_at - old.started_at) <= FUSE
            ),
            None,
        )
        if twin is not None:
            del result.cases[twin.case_id]
            twin.case_id = old.case_id
            result.cases[twin.case_id] = twin
        elif not any(item.name == WITHDRAWN for item in old.evidence):
            note = Evidence(WITHDRAWN, 1.0, "1", now)
            closed_at = old.closed_at or max(old.last_signal_at, min(now, result.head_time or now))
            result.cases[old.case_id] = replace(old, active=[], closed_at=closed_at, evidence=[*old.evidence, note])
