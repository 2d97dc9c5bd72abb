"""Re-marking a book: each car appraised as it is now, and the way there from its previous value explained.

The explanation asks the model for the car in states between then and now, all of a batch's states in one call.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from carlien_common.domain.errors import DomainError, invalid
from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import Appraisal, PriceType, in_units
from carlien_valuation.domain.battery import BatteryPolicy, Pack, check, full_cycles, in_force, known, split
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.domain.revaluation import Cause, Changes, explain
from carlien_valuation.service.appraise import DAYS_PER_YEAR, Appraising, Request
from carlien_valuation.service.ports import MarketIndex, Point


@dataclass(frozen=True, slots=True)
class Previous:
    """A car's previous value and what was true of it then."""

    value: Money
    day: date
    odometer_km: int | None
    usage: Usage
    transfer_count: int | None
    grade: int | None
    soh: Decimal | None
    index_level: float
    has_pack: bool = False
    """Whether the value counts the pack as an appraisal does: at `soh`, the usual one where that isn't known, without it where leased."""


@dataclass(frozen=True, slots=True)
class Position:
    """One car of a book as it is now."""

    position_id: str
    car: Car
    previous: Previous
    price_type: PriceType
    day: date
    expected_annual_km: int | None = None
    pack: Pack | None = None

    @property
    def request(self) -> Request:
        """The car as it is now, to be appraised."""
        return Request(self.car, (self.price_type,), self.day, self.previous.value.currency, waterfall=False)


@dataclass(frozen=True, slots=True)
class Revaluation:
    """New values and why, or (without values) an abstention."""

    position_id: str
    appraisal: Appraisal
    quantiles: tuple[int, int, int] | None = None
    """P10, P50 and P90 in minor units."""
    changes: Changes | None = None
    warnings: tuple[str, ...] = ()

    @property
    def p50(self) -> Money | None:
        """The new value."""
        return None if self.changes is None else self.changes.current


@dataclass(frozen=True, slots=True)
class Refused:
    """A position that can't be valued as it was sent."""

    position_id: str
    error: DomainError


Steps = dict[Cause, tuple[int, int]]
"""For each cause, the positions of the states before and after it on the way from then to now."""


class Revaluing:
    """The use case; synchronous: callers run it in the appraiser's turn."""

    def __init__(self, appraising: Appraising, index: MarketIndex, battery: Sequence[BatteryPolicy]) -> None:
        self._appraising, self._index, self._battery = appraising, index, battery

    def revalue(self, positions: Sequence[Position]) -> list[Revaluation | Refused]:
        """One answer per position, in order."""
        requests = [position.request for position in positions]
        errors = [self._fault(position, request) for position, request in zip(positions, requests, strict=True)]
        sound = [row for row, error in enumerate(errors) if error is None]
        answers = iter(self._values([positions[row] for row in sound], [requests[row] for row in sound]))
        return [
            Refused(position.position_id, error) if error is not None else next(answers)
            for position, error in zip(positions, errors, strict=True)
        ]

    def _fault(self, position: Position, request: Request) -> DomainError | None:
        previous, car = position.previous, position.car
        try:
            self._appraising.check(request)
            previous.value.require_positive("previous.value")
            if position.pack is not None:
                check(position.pack, in_force(self._battery, position.day))
            if previous.day > position.day:
                raise invalid("previous.valuation_date", "PREVIOUS_IN_FUTURE", "The previous value is dated after the new one.")
            if car.first_registration and previous.day < car.first_registration:
                raise invalid("previous.valuation_date", "PREVIOUS_BEFORE_REGISTRATION", "The previous value is older than the car.")
        except DomainError as error:
            return error
        return None

    def _values(self, positions: Sequence[Position], requests: Sequence[Request]) -> list[Revaluation]:
        ways = [self._way(position) for position in positions]
        appraisals, medians = self._appraising.appraise_along(requests, [points for points, _ in ways])
        return [
            self._answer(position, appraisal, _factors(steps, values))
            for position, appraisal, (_, steps), values in zip(positions, appraisals, ways, medians, strict=True)
        ]

    def _way(self, position: Position) -> tuple[list[Point], Steps]:
        """The states from then to now without the last one, which is appraised anyway; equal neighbours are asked once."""
        car, previous, appraiser = position.car, position.previous, self._appraising.appraiser
        then = _as_then(position)
        used_now = car if car.grade == previous.grade else dataclasses.replace(car, grade=previous.grade)
        market = min(position.day, appraiser.data_cutoff)
        age_then, age_now = _age(car, previous.day), _age(car, position.day)
        km_then = None if previous.odometer_km is None else float(previous.odometer_km)
        km_now = None if car.odometer_km is None else float(car.odometer_km)
        expected = km_now if km_then is None or km_now is None else km_then + self._expected_km(position, age_then, age_now)
        states = [(then, age_then, km_now if km_then is None else km_then)]
        steps: Steps = {}
        for cause, state in (
            (Cause.AGE, (then, age_now, expected)),
            (Cause.MILEAGE, (then, age_now, km_now)),
            (Cause.USAGE, (used_now, age_now, km_now)),
            (Cause.CONDITION, (car, age_now, km_now)),
        ):
            before = len(states) - 1
            if state != states[before]:
                states.append(state)
            steps[cause] = (before, len(states) - 1)
        return [Point(one, market, age, km) for one, age, km in states[:-1]], steps

    def _expected_km(self, position: Position, age_then: float, age_now: float) -> float:
        if position.expected_annual_km is not None:
            return position.expected_annual_km * (age_now - age_then)
        typical = self._appraising.appraiser.typical_odometer
        return max(typical(age_now) - typical(age_then), 0.0)

    def _answer(self, position: Position, appraisal: Appraisal, factors: dict[Cause, float]) -> Revaluation:
        remarks = tuple(remark.code for remark in appraisal.warnings)
        if appraisal.abstained:
            return Revaluation(position.position_id, appraisal, warnings=remarks)
        estimate, previous = appraisal.estimates[0], position.previous
        factors[Cause.MARKET] = self._market(position, appraisal)
        then = _as_then(position)
        if then is not position.car:
            condition_then, usage_then = self._appraising.policy_factors(then, position.day)
            condition_now, usage_now = self._appraising.policy_factors(position.car, position.day)
            factors[Cause.USAGE] *= usage_now / usage_then
            factors[Cause.CONDITION] *= condition_now / condition_then
        quantiles = estimate.p10_units, estimate.p50_units, estimate.p90_units
        battery, counted = None, None
        if position.pack is not None:
            added, battery, counted, code = self._battery_effect(position, position.pack, estimate.p50)
            low, middle, high = (max(units + in_units(added), 1) for units in quantiles)
            quantiles, remarks = (low, middle, high), (*remarks, *code)
        changes = explain(previous.value, factors, battery, quantiles[1], counted)
        return Revaluation(position.position_id, appraisal, quantiles, changes, remarks)

    def _market(self, position: Position, appraisal: Appraisal) -> float:
        """Level now over level then."""
        if position.previous.index_level > 0 and appraisal.index_level > 0:
            return appraisal.index_level / position.previous.index_level
        then = self._index.read(position.car, self._appraising.appraiser.data_cutoff, position.previous.day)
        return appraisal.index_level / then.level

    def _battery_effect(
        self, position: Position, pack: Pack, market_value: Money
    ) -> tuple[Money, Money | None, Money | None, tuple[str, ...]]:
        """What the pack adds to the market value now, the change of that since then, what the previous value had counted of it, and a
        remark where it can't be told.
        """
        nothing = market_value - market_value
        policy = in_force(self._battery, position.day)
        if policy.currency != market_value.currency or not known(pack, policy):
            return nothing, None, None, ("BATTERY_NOT_VALUED",)
        now = self._pack_adjustment(position, market_value, pack, position.day, policy)
        previous = position.previous
        pack_then = dataclasses.replace(pack, soh=previous.soh)
        if previous.has_pack:
            then = self._pack_adjustment(position, previous.value, pack_then, previous.day, policy)
            # The previous value is the market's and the pack's together; its pack is told from the market's part alone.
            then = self._pack_adjustment(position, previous.value - then, pack_then, previous.day, policy)
            return now, now - then, then, ()
        if pack.leased or previous.soh is None or pack.soh is None:
            return now, now if pack.leased else nothing, None, ()
        then = self._pack_adjustment(position, market_value, pack_then, previous.day, policy)
        return now, now - then, None, ()

    def _pack_adjustment(self, position: Position, market_value: Money, pack: Pack, day: date, policy: BatteryPolicy) -> Money:
        """Against the pack that is usual at the car's age and typical distance, as an appraisal counts it."""
        years = max(_age(position.car, day), 0.0) if position.car.first_registration else 0.0
        usual = full_cycles(pack, Decimal(repr(self._appraising.appraiser.typical_odometer(years))))
        return split(market_value, pack, Decimal(repr(years)), usual, policy).adjustment


def _factors(steps: Steps, values: Sequence[float]) -> dict[Cause, float]:
    return {cause: values[after] / values[before] for cause, (before, after) in steps.items()} if values else {}


def _as_then(position: Position) -> Car:
    """The car with what was true of it at its previous value, but for age and distance."""
    previous, car = position.previous, position.car
    if (previous.usage, previous.transfer_count, previous.grade) == (car.usage, car.transfer_count, car.grade):
        return car
    return dataclasses.replace(car, usage=previous.usage, transfer_count=previous.transfer_count, grade=previous.grade)


def _age(car: Car, day: date) -> float:
    return max(0.0, (day - car.first_registration).days / DAYS_PER_YEAR) if car.first_registration else float("nan")
