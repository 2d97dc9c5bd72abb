"""Appraisals: what a model says a car is worth, in five markets, as a waterfall, with what isn't known said plainly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import numpy as np

from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import invalid
from carlien_valuation.domain.appraisal import Z80, Appraisal, Estimate, PriceType, Remark, confidence, scale_of, units, waterfall
from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.calibration import Shift
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.domain.policy import AppraisalPolicy, MarketLevel, in_force, widened
from carlien_valuation.service.finish import Finishing
from carlien_valuation.service.ports import Appraiser, IndexReading, MarketIndex, Point, Spread, Support

DAYS_PER_YEAR = 365.25
STALE_DAYS = 180
"""A model older than this, without an index, is said to be stale."""

NO_VINTAGE = "model:"
"""Begins the vintage of an answer that stands on no index but on the model's own market."""

UNKNOWN_MAKE, UNKNOWN_MODEL, AGE_MISSING = "UNKNOWN_MAKE", "UNKNOWN_MODEL", "AGE_MISSING"


class NoIndex:
    """Where there is no market index: values stand at the model's cutoff."""

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:  # noqa: ARG002 - the protocol's signature
        """The level of the cutoff itself."""
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """The points of one car's build-up: step name to row in the batch, the actual car's last; and its index reading."""

    rows: dict[str, int]
    reading: IndexReading


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
        values = self.appraiser.values(points) if points else np.zeros((0, 3))
        answers = [
            self._abstained(request, reason) if plan is None else self._answer(request, support, plan, values)
            for request, support, plan, reason in zip(requests, supports, plans, reasons, strict=True)
        ]
        if self._finishing is not None:
            finished = self._finishing.finished
            answers = [finished(answer, request.car, request.pack) for answer, request in zip(answers, requests, strict=True)]
        medians = values[:, 1].tolist()
        return answers, [[medians[row] for row in own] for own in rows]

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
        reading = self._index.read(car, appraiser.data_cutoff, request.valuation_date)

        def point(years: float, km: float | None, *, condition: bool, usage: bool, region: bool) -> int:
            points.append(Point(car, market, years, km, condition, usage, region))
            return len(points) - 1

        if not request.waterfall:
            return _Plan({"region": point(age, odometer, condition=True, usage=True, region=True)}, reading)
        rows = {
            "base": point(0.0, appraiser.typical_odometer(0.0) or None, condition=False, usage=False, region=False),
            "age": point(age, appraiser.typical_odometer(age) or None, condition=False, usage=False, region=False),
            "mileage": point(age, odometer, condition=False, usage=False, region=False),
        }
        rows["condition"] = point(age, odometer, condition=True, usage=False, region=False) if appraiser.condition else rows["mileage"]
        rows["usage"] = point(age, odometer, condition=True, usage=True, region=False) if appraiser.usage else rows["condition"]
        rows["region"] = point(age, odometer, condition=True, usage=True, region=True) if appraiser.region else rows["usage"]
        return _Plan(rows, reading)

    def _answer(self, request: Request, support: Support, plan: _Plan, values: np.ndarray) -> Appraisal:
        car, appraiser = request.car, self.appraiser
        policy = in_force(self._policies, request.valuation_date)
        low, middle, high = values[plan.rows["region"]].tolist()
        spread = Spread(math.log(low / middle), math.log(high / middle))
        if support.unknown_model and appraiser.cold_start is not None:
            spread = Spread(min(spread.low, appraiser.cold_start.low), max(spread.high, appraiser.cold_start.high))
        levels = self._levels(car, policy, {step: float(values[row, 1]) for step, row in plan.rows.items()})
        levels["options"] = levels["region"]
        levels["market_index"] = levels["options"] * plan.reading.ratio
        estimates = tuple(self._estimate(price_type, policy, levels, spread, support, request) for price_type in request.price_types)
        age = _age(car, request.valuation_date)
        return self._frame(
            request,
            plan.reading,
            estimates,
            "",
            self._warnings(request, support, policy, plan.reading),
            round(appraiser.typical_odometer(age)),
        )

    def _levels(self, car: Car, policy: AppraisalPolicy, values: dict[str, float]) -> dict[str, float]:
        """The value after each step, in the order it is built up, with policy factors where the model has no column."""
        condition, usage = self._policy_factors(car, policy)
        factors = {"base": 1.0, "age": 1.0, "mileage": 1.0, "condition": condition, "usage": condition * usage, "region": condition * usage}
        return {step: values[step] * factor for step, factor in factors.items() if step in values}

    def policy_factors(self, car: Car, day: date) -> tuple[float, float]:
        """Factors of condition and of usage and transfers that come from the policy; 1 where the model has a column for it."""
        return self._policy_factors(car, in_force(self._policies, day))

    def _policy_factors(self, car: Car, policy: AppraisalPolicy) -> tuple[float, float]:
        condition = 1.0 if self.appraiser.condition or car.grade is None else policy.grades[car.grade]
        transfers = min(car.transfer_count or 0, policy.transfers_counted)
        return condition, 1.0 if self.appraiser.usage else policy.usages[car.usage] * policy.transfer**transfers

    def _estimate(
        self, price_type: PriceType, policy: AppraisalPolicy, levels: dict[str, float], spread: Spread, support: Support, request: Request
    ) -> Estimate:
        market = policy.market(price_type, self.appraiser.price_kind)
        low, high = widened(spread.low, spread.high, market.spread)
        shift = self._shifts.get(price_type)
        if shift is not None:
            market = MarketLevel(market.level * math.exp(shift.p50), market.spread)
            low, high = low + shift.p10 - shift.p50, high + shift.p90 - shift.p50
        value = levels["market_index"] * market.level
        low, high = math.exp(low), math.exp(high)
        width = high - low
        if request.waterfall:
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
        return self._frame(request, reading, (), reason, _remarks(request.car), 0)

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

    def _warnings(self, request: Request, support: Support, policy: AppraisalPolicy, reading: IndexReading) -> tuple[Remark, ...]:
        car, appraiser = request.car, self.appraiser
        age = _age(car, request.valuation_date)
        behind = (request.valuation_date - appraiser.data_cutoff).days
        from_policy = [
            name
            for name, known, stated in (
                ("condition", appraiser.condition, car.grade is not None),
                ("usage and transfers", appraiser.usage, car.usage is not Usage.PRIVATE or bool(car.transfer_count)),
            )
            if stated and not known
        ]
        rules = (
            (appraiser.synthetic, "SYNTHETIC_MODEL", "The model was trained on simulated listings; this is not a market value."),
            (
                support.unknown_model,
                UNKNOWN_MODEL,
                "Unknown to the model: valued from its make and name, with the interval measured for such cars.",
            ),
            (car.odometer_km is None, "ODOMETER_MISSING", "Valued at the distance that is typical for its age."),
            (
                bool(from_policy),
                "ADJUSTMENT_FROM_POLICY",
                f"The data doesn't tell {' and '.join(from_policy)} apart; adjusted by: {policy.source}.",
            ),
            (bool(car.region_code) and not appraiser.region, "REGION_NOT_VALUED", "The training data has no region."),
            (bool(car.options), "OPTIONS_NOT_VALUED", "Options are not valued: the training data has none."),
            (
                age > appraiser.max_age_years,
                "AGE_BEYOND_DATA",
                f"Older than 99 % of the training cars ({appraiser.max_age_years:.0f} years).",
            ),
            (
                (car.odometer_km or 0) > appraiser.max_odometer_km,
                "ODOMETER_BEYOND_DATA",
                f"Driven further than 99 % of the training cars ({appraiser.max_odometer_km:.0f} km).",
            ),
            (
                behind > STALE_DAYS and reading.vintage.startswith(NO_VINTAGE),
                "MARKET_LEVEL_STALE",
                f"The model's market ends {behind} days before the valuation date; no index brings it forward.",
            ),
            (
                True,
                "PRICE_TYPES_FROM_POLICY",
                f"The model values {appraiser.price_kind.replace('_', ' ')} prices; other markets by: {policy.source}.",
            ),
        )
        return (*_remarks(car), *(Remark(code, text) for applies, code, text in rules if applies))


def _age(car: Car, day: date) -> float:
    return max(0.0, (day - car.first_registration).days / DAYS_PER_YEAR) if car.first_registration else math.nan


def _remarks(car: Car) -> tuple[Remark, ...]:
    return tuple(Remark(code, "The VIN's check digit is not the one GB 16735 and ISO 3779 prescribe.") for code in car.warnings)
