"""One calibration from start to end: sales read, models judged, the report written and stored, intervals recalibrated."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from carlien_common.domain.clock import Clock, utc_now
from carlien_common.domain.errors import precondition
from carlien_valuation.adapters.battery_policy_file import load_battery_policies
from carlien_valuation.adapters.index_store import PostgresIndexStore
from carlien_valuation.adapters.liquidation_policy_file import load_liquidation_policies
from carlien_valuation.adapters.own_database import own_database
from carlien_valuation.adapters.policy_file import load_policies
from carlien_valuation.adapters.postgres_outcomes import outcomes_between
from carlien_valuation.adapters.postgres_reports import store_report
from carlien_valuation.adapters.published_index import PublishedIndex
from carlien_valuation.adapters.stack_appraiser import StackAppraiser
from carlien_valuation.calibration.canonical import canonical, sha256
from carlien_valuation.calibration.judge import judge
from carlien_valuation.calibration.recalibrate import write_recalibrated
from carlien_valuation.calibration.report import Subject, calibration_report, recalibration
from carlien_valuation.calibration.sales_file import load_outcome_mapping, read_sales
from carlien_valuation.calibration.shifts import read_shifts
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import Shift
from carlien_valuation.domain.outcome import Outcome
from carlien_valuation.domain.policy import AppraisalPolicy
from carlien_valuation.listings.read import expand
from carlien_valuation.service.appraise import Appraising
from carlien_valuation.service.finish import Finishing
from carlien_valuation.training.store import load_model, read_card


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked."""

    model: Path
    challengers: tuple[Path, ...]
    first: date | None
    last: date | None
    sales: tuple[str, ...]
    mapping: Path | None
    region: str
    policy: Path | None
    out: Path | None


@dataclass(frozen=True, slots=True)
class Done:
    """The report, its hash, whether it was stored, and the version of the recalibrated model ("" where there is none)."""

    report: dict[str, Any]
    sha256: str
    stored: bool
    recalibrated: str


Load = Callable[[Path], StackAppraiser]


def load_unwarmed(directory: Path) -> StackAppraiser:
    """A checked model; shapes are compiled as they come, for few are needed."""
    return StackAppraiser(load_model(directory))


def calibrate(task: Task, load: Load = load_unwarmed, clock: Clock = utc_now) -> Done:
    """Run it. PRECONDITION NO_SALES where nothing was sold in the period."""
    return asyncio.run(_calibrate(task, load, clock()))


async def _calibrate(task: Task, load: Load, now: datetime) -> Done:
    cutoff = date.fromisoformat(read_card(task.model)["data"]["cutoff"])
    first, last = task.first or cutoff + timedelta(days=1), task.last or now.date()
    index = PublishedIndex(task.region)
    if task.mapping is not None:
        sales = read_sales(expand(task.sales), load_outcome_mapping(task.mapping))
        outcomes: Sequence[Outcome] = [one for one in sales.outcomes if first <= one.sold_on <= last]
    else:
        async with own_database("carlien-calibrate") as connection:
            outcomes = await outcomes_between(connection, first, last)
            index.update(await PostgresIndexStore(connection).latest("", task.region))
    if not outcomes:
        raise precondition("NO_SALES", f"no car was sold from {first} to {last}")
    champion, *challengers = [
        _subject(path.resolve(), load, load_policies(task.policy), index, outcomes, now) for path in (task.model, *task.challengers)
    ]
    basis = "sales of a file, no index" if task.mapping else f"sales of the database, index of region {task.region} as last published"
    report = calibration_report(champion, challengers, outcomes, (first, last), now=now, basis=basis)
    digest = sha256(canonical(report))
    recalibrated = ""
    if task.out is not None and report["recalibration"]["advised"]:
        recalibrated = write_recalibrated(task.model.resolve(), task.out, _added(task.model, recalibration(champion.sales)), digest)
    if task.mapping is None:
        async with own_database("carlien-calibrate") as connection:
            await store_report(connection, "calibration", champion.version, report, now)
    return Done(report, digest, task.mapping is None, recalibrated)


def _subject(
    directory: Path,
    load: Load,
    policies: Sequence[AppraisalPolicy],
    index: PublishedIndex,
    outcomes: Sequence[Outcome],
    now: datetime,
) -> Subject:
    appraiser = load(directory)
    finishing = Finishing(load_battery_policies(), load_liquidation_policies(), appraiser.typical_odometer)
    appraising = Appraising(appraiser, policies, index, lambda: now, read_shifts(directory), finishing)
    return Subject(appraiser.version, appraiser.data_cutoff, judge(appraising, outcomes, appraiser.data_cutoff), appraiser.model.card)


def _added(model: Path, measured: dict[PriceType, Shift]) -> dict[PriceType, Shift]:
    """Shifts are measured on values that carry earlier ones: both together are what the model's own quantiles are moved by."""
    before = read_shifts(model.resolve())
    total = dict(before)
    for kind, shift in measured.items():
        old = before.get(kind, Shift())
        total[kind] = Shift(old.p10 + shift.p10, old.p50 + shift.p50, old.p90 + shift.p90)
    return total
