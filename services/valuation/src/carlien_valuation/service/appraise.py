"""Appraisals: what a model says a car is worth, in five markets, as a waterfall, with what isn't known said plainly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import invalid
from carlien_valuation.domain.appraisal import Z80, Appraisal, Estimate, PriceType, Remark, confidence, scale_of, units, waterfall
from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.calibration import Shift
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.domain.policy import AppraisalPolicy, in_force, widened
from carlien_valuation.service.finish import Finishing
from carlien_valuation.service.ports import Appraiser, IndexReading, MarketIndex, Point, Support
from carlien_valuation.service.remarks import UNKNOWN_MODEL, Facts, Remarks, of_car

DAYS_PER_YEAR = 365.25
DAYS_REMEMBERED = 64
"""Valuation dates whose policies are kept at hand."""

NO_VINTAGE = "model:"
"""Begins the vintage of an answer that stands on no index but on the model's own market."""

UNKNOWN_MAKE, AGE_MISSING = "UNKNOWN_MAKE", "AGE_MISSING"


class NoIndex:
    """Where there is no market index: values stand at the model's cutoff."""

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:  # noqa: ARG002 - the protocol's signature
        """The level of the cutoff itself."""
        return at_cutoff(cutoff)


def at_cutoff(cutoff: date) -> IndexReading:
    """What stands for an index where there is none."""
    return IndexReading(f"{NO_VINTAGE}{cutoff.isoformat()}", 100.0, 1.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One car to be appraised on a date in some markets."""

    car: Car
    price_types: tuple[PriceType, ...]
    valuation_date: date
    currency: str = ""
    waterfall: bool = True
    pack: Pack | None = None


class _Plan(NamedTuple):
    """The points of one car's build-up: step name to row in the batch, the actual car's last; and what else its answer needs."""

    rows: dict[str, int]
    reading: IndexReading
    age_years: float
    typical_km: float


class _Market(NamedTuple):
    """A market's level and spread (see MarketLevel), and what realised prices taught of P10 and P90: moves of log distances from P50."""

    level: float
    spread: float
    low: float = 0.0
    high: float = 0.0


class _Edition(NamedTuple):
    """What the policy in force on a date says, and of each market with what realised prices taught."""

    policy: AppraisalPolicy
    markets: dict[PriceType, _Market]


class Appraising:
    """The use case, free of transport and storage. Computing is synchronous: callers run it where it may take a while."""

    def __init__(
        self,
        appraiser: Appraiser,
        policies: Sequence[AppraisalPolicy],
        index: MarketIndex,
        clock: Clock,
        shifts: Mapping[PriceType, Shift] = MappingProxyType({}),
        finishing: Finishing | None = None,
    ) -> None:
        """`shifts`: what realised prices taught of each market's quantiles (see `calibrate`); `finishing`: batteries and forced sales."""
        self.appraiser = appraiser
        self._finishing = finishing
        self._shifts = shifts
        self._policies = policies
        self._index = index
        self._clock = clock
        self._scale = scale_of(appraiser.currency)
        self._edition = lru_cache(DAYS_REMEMBERED)(self._edition_of)
        self._remarks = Remarks(appraiser)

    def check(self, request: Request) -> None:
        """Raises INVALID for what can't be appraised at all."""
        self.check_common(request)
        car = request.car
        if car.new_price is not None and car.new_price_currency not in {"", self.appraiser.currency}:
            raise invalid("vehicle.new_price", "CURRENCY_UNSUPPORTED", f"State the price when new in {self.appraiser.currency}.")
        if car.first_registration and car.first_registration > request.valuation_date:
            raise invalid("vehicle.first_registration", "REGISTRATION_FUTURE", "The car was registered after the valuation date.")
        if request.pack is not None and self._finishing is not None:
            self._finishing.check(request.pack, request.valuation_date)

    def check_common(self, request: Request) -> None:
        """Raises INVALID for what all cars of a batch share: markets, currency and date."""
        if not request.price_types:
            raise invalid("price_types", "PRICE_TYPE_MISSING", "Say which markets' prices are asked for.")
        if len(set(request.price_types)) < len(request.price_types):
            raise invalid("price_types", "PRICE_TYPE_REPEATED", "Each price type can be asked for once.")
        if request.currency and request.currency != self.appraiser.currency:
            raise invalid(
                "currency_code", "CURRENCY_UNSUPPORTED", f"This model values in {self.appraiser.currency}, not in {request.currency}."
            )
        if (request.valuation_date - self._clock().date()).days > 1:
            raise invalid("valuation_date", "VALUATION_DATE_FUTURE", "A value in the future is a forecast: ask for a residual.")

    def appraise(self, requests: Sequence[Request]) -> list[Appraisal]:
        """One answer per request, in order; all points of all cars are valued in one batch."""
        return self.appraise_along(requests, [()] * len(requests))[0]

    def appraise_along(self, requests: Sequence[Request], along: Sequence[Sequence[Point]]) -> tuple[list[Appraisal], list[list[float]]]:
        """As `appraise`, with further points of each request valued in the same batch.

        The second list holds, per request, the model's median of those points and, last, of the car as it is; nothing where it is
        abstained from.
        """
        supports = self.appraiser.support([request.car for request in requests])
        points: list[Point] = []
        plans: list[_Plan | None] = []
        reasons = [self._abstain_reason(request.car, support) for request, support in zip(requests, supports, strict=True)]
        rows: list[list[int]] = []
        for request, reason, further in zip(requests, reasons, along, strict=True):
            plan = None if reason else self._plan(request, points)
            plans.append(plan)
            rows.append([] if plan is None else [*range(len(points), len(points) + len(further)), plan.rows["region"]])
            if plan is not None:
                points.extend(further)
        values: list[list[float]] = self.appraiser.values(points).tolist() if points else []
        answers = [
            self._abstained(request, reason) if plan is None else self._answer(request, support, plan, values)
            for request, support, plan, reason in zip(requests, supports, plans, reasons, strict=True)
        ]
        if self._finishing is not None:
            finished = self._finishing.finished
            answers = [finished(answer, request.car, request.pack) for answer, request in zip(answers, requests, strict=True)]
        return answers, [[values[row][1] for row in own] for own in rows]

    def _abstain_reason(self, car: Car, support: Support) -> str:
        if support.unknown_make:
            return UNKNOWN_MAKE
        if support.unknown_model and self.appraiser.cold_start is None:
            return UNKNOWN_MODEL
        if car.first_registration is None and self.appraiser.knows_age:
            return AGE_MISSING
        return ""

    def _plan(self, request: Request, points: list[Point]) -> _Plan:
        """Points from the new, typical car to the actual one; steps the model can't tell apart share a point."""
        car, appraiser = request.car, self.appraiser
        market = min(request.valuation_date, appraiser.data_cutoff)
        age = _age(car, request.valuation_date)
        odometer = None if car.odometer_km is None else float(car.odometer_km)
        typical = appraiser.typical_odometer(age)
        row = len(points)
        if request.waterfall:
            points.append(Point(car, market, 0.0, appraiser.typical_odometer(0.0) or None, condition=False, usage=False, region=False))
            points.append(Point(car, market, age, typical or None, condition=False, usage=False, region=False))
            points.append(Point(car, market, age, odometer, condition=False, usage=False, region=False))
            rows = {"base": row, "age": row + 1, "mileage": row + 2}
            if appraiser.condition:
                points.append(Point(car, market, age, odometer, condition=True, usage=False, region=False))
            rows["condition"] = len(points) - 1
            if appraiser.usage:
                points.append(Point(car, market, age, odometer, condition=True, usage=True, region=False))
            rows["usage"] = len(points) - 1
            if appraiser.region:
                points.append(Point(car, market, age, odometer, condition=True, usage=True, region=True))
            rows["region"] = len(points) - 1
        else:
            points.append(Point(car, market, age, odometer))
            rows = {"region": row}
        return _Plan(rows, self._index.read(car, appraiser.data_cutoff, request.valuation_date), age, typical)

    def _answer(self, request: Request, support: Support, plan: _Plan, values: list[list[float]]) -> Appraisal:
        car, cold_start = request.car, self.appraiser.cold_start
        edition = self._edition(request.valuation_date)
        low, middle, high = values[plan.rows["region"]]
        below, above = math.log(low / middle), math.log(high / middle)
        if support.unknown_model and cold_start is not None:
            below, above = min(below, cold_start.low), max(above, cold_start.high)
        levels = self._levels(car, edition.policy, plan.rows, values)
        levels["options"] = levels["region"]
        levels["market_index"] = levels["options"] * plan.reading.ratio
        estimates = tuple(
            self._estimate(price_type, edition.markets[price_type], levels, (below, above), support, waterfall_asked=request.waterfall)
            for price_type in request.price_types
        )
        facts = self._facts(request, support, edition.policy, plan)
        return self._frame(request, plan.reading, estimates, "", self._remarks.of(facts), round(plan.typical_km))

    def _levels(self, car: Car, policy: AppraisalPolicy, rows: dict[str, int], values: list[list[float]]) -> dict[str, float]:
        """The value after each step, in the order it is built up, with policy factors where the model has no column."""
        condition, usage = self._policy_factors(car, policy)
        both = condition * usage
        if len(rows) == 1:
            return {"region": values[rows["region"]][1] * both}
        return {
            "base": values[rows["base"]][1],
            "age": values[rows["age"]][1],
            "mileage": values[rows["mileage"]][1],
            "condition": values[rows["condition"]][1] * condition,
            "usage": values[rows["usage"]][1] * both,
            "region": values[rows["region"]][1] * both,
        }

    def policy_factors(self, car: Car, day: date) -> tuple[float, float]:
        """Factors of condition and of usage and transfers that come from the policy; 1 where the model has a column for it."""
        return self._policy_factors(car, self._edition(day).policy)

    def _edition_of(self, day: date) -> _Edition:
        policy = in_force(self._policies, day)
        return _Edition(policy, {price_type: self._market(policy, price_type) for price_type in policy.markets})

    def _market(self, policy: AppraisalPolicy, price_type: PriceType) -> _Market:
        market, shift = policy.market(price_type, self.appraiser.price_kind), self._shifts.get(price_type)
        if shift is None:
            return _Market(market.level, market.spread)
        return _Market(market.level * math.exp(shift.p50), market.spread, shift.p10 - shift.p50, shift.p90 - shift.p50)

    def _policy_factors(self, car: Car, policy: AppraisalPolicy) -> tuple[float, float]:
        condition = 1.0 if self.appraiser.condition or car.grade is None else policy.grades[car.grade]
        transfers = min(car.transfer_count or 0, policy.transfers_counted)
        return condition, 1.0 if self.appraiser.usage else policy.usages[car.usage] * policy.transfer**transfers

    def _estimate(
        self,
        price_type: PriceType,
        market: _Market,
        levels: dict[str, float],
        distances: tuple[float, float],
        support: Support,
        *,
        waterfall_asked: bool,
    ) -> Estimate:
        """`distances`: of P10 and P90 from P50, in logs, before the market's own spread."""
        below, above = widened(*distances, market.spread)
        low, high = math.exp(below + market.low), math.exp(above + market.high)
        value = levels["market_index"] * market.level
        width = high - low
        if waterfall_asked:
            steps, p50 = waterfall({step: level * market.level for step, level in levels.items()}, self._scale)
        else:
            steps, p50 = (), units(value, self._scale)
        return Estimate(
            price_type,
            self.appraiser.currency,
            min(units(value * low, self._scale), p50),
            p50,
            max(units(value * high, self._scale), p50),
            steps,
            support.sample_size,
            width / (2 * Z80),
            confidence(support.sample_size, width, unknown=support.unknown_model),
        )

    def _abstained(self, request: Request, reason: str) -> Appraisal:
        reading = self._index.read(request.car, self.appraiser.data_cutoff, request.valuation_date)
        return self._frame(request, reading, (), reason, of_car(request.car.warnings), 0)

    def _frame(
        self,
        request: Request,
        reading: IndexReading,
        estimates: tuple[Estimate, ...],
        reason: str,
        warnings: tuple[Remark, ...],
        typical_km: int,
    ) -> Appraisal:
        return Appraisal(
            vin=request.car.vin,
            estimates=estimates,
            abstain_reason=reason,
            warnings=warnings,
            model_version=self.appraiser.version,
            data_cutoff=self.appraiser.data_cutoff,
            index_vintage=reading.vintage,
            index_level=reading.level,
            valued_at=self._clock(),
            valuation_date=request.valuation_date,
            typical_odometer_km=typical_km,
        )

    def _facts(self, request: Request, support: Support, policy: AppraisalPolicy, plan: _Plan) -> Facts:
        car, appraiser = request.car, self.appraiser
        on_model_market = plan.reading.vintage.startswith(NO_VINTAGE)
        return Facts(
            car.warnings,
            support.unknown_model,
            car.odometer_km is None,
            car.grade is not None,
            car.usage is not Usage.PRIVATE or bool(car.transfer_count),
            bool(car.region_code),
            bool(car.options),
            plan.age_years > appraiser.max_age_years,
            (car.odometer_km or 0) > appraiser.max_odometer_km,
            (request.valuation_date - appraiser.data_cutoff).days if on_model_market else 0,
            policy.source,
        )


def _age(car: Car, day: date) -> float:
    return max(0.0, (day - car.first_registration).days / DAYS_PER_YEAR) if car.first_registration else math.nan
