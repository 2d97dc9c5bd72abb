"""Sales beside what a model says of them: each car valued as it was sold, on that day, in that market."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from carlien_common.domain.errors import DomainError
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import Judged
from carlien_valuation.domain.outcome import Outcome
from carlien_valuation.service.appraise import DAYS_PER_YEAR, Appraising, Request

BATCH = 1024


@dataclass(frozen=True, slots=True)
class JudgedSales:
    """Sales that count (n), beside the model's values of them, and how many don't, by reason."""

    outcomes: tuple[Outcome, ...]
    judged: Judged
    excluded: Counter[str]

    def of(self, outcomes: set[str]) -> "JudgedSales":
        """Only the sales with these ids, in order."""
        rows = np.array([outcome.outcome_id in outcomes for outcome in self.outcomes], dtype=bool)
        kept = tuple(outcome for outcome, keep in zip(self.outcomes, rows, strict=True) if keep)
        return JudgedSales(kept, self.judged.take(rows), self.excluded)

    @property
    def ids(self) -> set[str]:
        """Which sales count."""
        return {outcome.outcome_id for outcome in self.outcomes}

    def in_market(self, price_type: PriceType) -> np.ndarray:
        """(n,) which were sold there."""
        return np.array([outcome.price_type is price_type for outcome in self.outcomes], dtype=bool)

    def column(self, name: str) -> np.ndarray:
        """(n,) a number of the cars as sold: age_years, odometer_km or price; NaN where not known."""
        if name == "price":
            return self.judged.price
        return np.array([_number(outcome, name) for outcome in self.outcomes], dtype=float)

    def makes(self) -> list[str]:
        """Case-folded, (n,)."""
        return [outcome.car.make.strip().casefold() if outcome.car else "" for outcome in self.outcomes]


def judge(appraising: Appraising, outcomes: Sequence[Outcome], after: date) -> JudgedSales:
    """Value the sales after a day (the model's cutoff: what it may have learned from is no test).

    Left out, by reason: SALE_BEFORE_CUTOFF, CAR_NOT_DESCRIBED, CURRENCY_UNSUPPORTED, the reason of an abstention, or of a bad description.
    """
    excluded: Counter[str] = Counter()
    sound: list[tuple[Outcome, Request]] = []
    for outcome in outcomes:
        request, reason = _request(appraising, outcome, after)
        if request is None:
            excluded[reason] += 1
        else:
            sound.append((outcome, request))
    kept: list[Outcome] = []
    rows: list[tuple[float, float, float, float]] = []
    for start in range(0, len(sound), BATCH):
        part = sound[start : start + BATCH]
        for (outcome, _), answer in zip(part, appraising.appraise([request for _, request in part]), strict=True):
            if answer.abstained:
                excluded[answer.abstain_reason] += 1
                continue
            estimate = answer.estimates[0]
            kept.append(outcome)
            rows.append((float(outcome.price.amount), float(estimate.p10.amount), float(estimate.p50.amount), float(estimate.p90.amount)))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return JudgedSales(tuple(kept), Judged(*columns), excluded)


def _request(appraising: Appraising, outcome: Outcome, after: date) -> tuple[Request | None, str]:
    if outcome.car is None:
        return None, "CAR_NOT_DESCRIBED"
    if outcome.sold_on <= after:
        return None, "SALE_BEFORE_CUTOFF"
    request = Request(outcome.car, (outcome.price_type,), outcome.sold_on, outcome.price.currency, waterfall=False, pack=outcome.pack)
    try:
        appraising.check(request)
    except DomainError as error:
        return None, error.reason
    return request, ""


def _number(outcome: Outcome, name: str) -> float:
    car = outcome.car
    if car is None:
        return float("nan")
    if name == "odometer_km":
        return float("nan") if car.odometer_km is None else float(car.odometer_km)
    if car.first_registration is None:
        return float("nan")
    return max((outcome.sold_on - car.first_registration).days / DAYS_PER_YEAR, 0.0)
