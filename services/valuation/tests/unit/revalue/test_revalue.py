import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_common.domain.money import Money
from carlien_valuation.adapters.battery_policy_file import load_battery_policies
from carlien_valuation.adapters.policy_file import load_policies
from carlien_valuation.domain.appraisal import PriceType, in_units
from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.domain.revaluation import Cause, explain
from carlien_valuation.grpc_api.streams import gathered
from carlien_valuation.service.appraise import Appraising, Request
from carlien_valuation.service.ports import IndexReading, Point, Spread, Support
from carlien_valuation.service.revalue import Position, Previous, Refused, Revaluation, Revaluing

NOW, THEN = date(2026, 6, 30), date(2025, 6, 30)
CAR = Car("1M8GDM9AXKP042788", "Make", "Model", first_registration=date(2023, 6, 30), odometer_km=60_000)


class Formula:
    """A model in closed form: 12 % a year, 2 % per 10,000 km."""

    version, currency, price_kind, data_cutoff, synthetic = "m1", "CNY", "sold_retail", NOW, False
    knows_age, condition, usage, region = True, False, False, False
    cold_start: Spread | None = None
    max_age_years, max_odometer_km = 20.0, 400_000.0

    def __init__(self) -> None:
        self.asked = 0

    def values(self, points: Sequence[Point]) -> np.ndarray:
        self.asked += len(points)
        value = [200_000 * math.exp(-0.12 * p.age_years - 2e-6 * (p.odometer_km or 15_000 * p.age_years)) for p in points]
        return np.outer(value, np.exp([-0.1, 0.0, 0.1]))

    def support(self, cars: Sequence[Car]) -> list[Support]:
        return [Support(100, car.make == "Nothing", unknown_model=False) for car in cars]

    def typical_odometer(self, age_years: float) -> float:
        return 15_000 * age_years


class Levels:
    """An index that falls from 100 to 90 in the year between."""

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:
        level = 90.0 if day >= NOW else 100.0
        return IndexReading("2026-06", level, level / 90)


def revaluing() -> Revaluing:
    appraising = Appraising(Formula(), load_policies(), Levels(), lambda: datetime(2026, 6, 30, 12, tzinfo=UTC))
    return Revaluing(appraising, Levels(), load_battery_policies())


def appraised(car: Car, on: date) -> Money:
    appraising = Appraising(Formula(), load_policies(), Levels(), lambda: datetime(2026, 6, 30, 12, tzinfo=UTC))
    return appraising.appraise([Request(car, (PriceType.WHOLESALE,), on)])[0].estimates[0].p50


def position(
    car: Car = CAR, value: Money | None = None, odometer: int | None = 30_000, expected: int | None = 15_000, pack: Pack | None = None,
    soh: Decimal | None = None, usage: Usage = Usage.PRIVATE, grade: int | None = None, level: float = 100.0, day: date = THEN,
) -> Position:  # fmt: skip
    before = Car(CAR.vin, CAR.make, CAR.model, first_registration=CAR.first_registration, odometer_km=odometer)
    previous = Previous(value or appraised(before, THEN), day, odometer, usage, None, grade, soh, level)
    return Position("loan", car, previous, PriceType.WHOLESALE, NOW, expected, pack)


def one(asked: Position) -> Revaluation:
    (answer,) = revaluing().revalue([asked])
    assert isinstance(answer, Revaluation)
    return answer


MONEY = st.decimals("1", "900000", places=2).map(lambda amount: Money(amount, "CNY"))
FACTOR = st.floats(0.2, 2.0)


@given(
    previous=MONEY,
    current=MONEY,
    battery=st.none() | st.decimals("-50000", "50000", places=2),
    factors=st.lists(FACTOR, min_size=5, max_size=5),
)
def test_changes_sum_to_the_cent(previous: Money, current: Money, battery: Decimal | None, factors: list[float]) -> None:
    causes = (Cause.MARKET, Cause.AGE, Cause.MILEAGE, Cause.USAGE, Cause.CONDITION)
    changes = explain(
        previous, dict(zip(causes, factors, strict=True)), None if battery is None else Money(battery, "CNY"), in_units(current)
    )
    assert changes.current == current
    total = previous
    for amount in changes.amounts.values():
        assert amount.quantized() == amount
        total = total + amount
    assert total == current


@given(
    odometer=st.integers(0, 200_000), driven=st.integers(0, 200_000), expected=st.none() | st.integers(0, 100_000), value=MONEY,
    level=st.floats(50, 200), usage=st.sampled_from(Usage), soh=st.decimals("0.5", "1", places=2), leased=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_whatever_happened_new_less_previous_is_explained_to_the_cent(
    odometer: int, driven: int, expected: int | None, value: Money, level: float, usage: Usage, soh: Decimal, leased: bool
) -> None:
    car = Car(CAR.vin, CAR.make, CAR.model, first_registration=CAR.first_registration, odometer_km=odometer + driven, usage=usage)
    pack = Pack(Decimal(60), "LFP", soh, leased)
    answer = one(position(car, value, odometer, expected, pack, soh + Decimal("0.03"), level=level))
    assert answer.p50 is not None
    assert answer.changes is not None
    total = value
    for amount in answer.changes.amounts.values():
        total = total + amount
    assert total == answer.p50


def test_the_market_and_the_driver_are_told_apart() -> None:
    as_expected = one(position(Car(CAR.vin, "Make", "Model", first_registration=CAR.first_registration, odometer_km=45_000)))
    driven_more = one(position())
    for answer in (as_expected, driven_more):
        assert answer.changes is not None
        assert float(answer.changes.market_loss.amount) == pytest.approx(0.1 * float(answer.changes.previous.amount), rel=1e-6)
        assert abs(answer.changes.amounts[Cause.MODEL].amount) <= Decimal("0.05")
    assert as_expected.changes is not None
    assert driven_more.changes is not None
    assert abs(as_expected.changes.driver_loss.amount) < 5  # 365 days are not quite a year
    assert driven_more.changes.driver_loss.amount > 0
    assert driven_more.changes.amounts[Cause.AGE] == as_expected.changes.amounts[Cause.AGE]


def test_the_more_it_was_driven_the_more_the_driver_lost() -> None:
    cars = [
        Car(CAR.vin, "Make", "Model", first_registration=CAR.first_registration, odometer_km=km) for km in range(35_000, 120_000, 5_000)
    ]
    losses = [answer.changes.driver_loss.amount for car in cars if (answer := one(position(car))).changes]
    assert len(losses) == len(cars)
    assert losses == sorted(losses)
    assert losses[0] < 0 < losses[-1]


def test_a_change_of_use_is_the_drivers() -> None:
    car = Car(CAR.vin, "Make", "Model", first_registration=CAR.first_registration, odometer_km=45_000, usage=Usage.RIDE_HAILING)
    answer = one(position(car))
    assert answer.changes is not None
    assert answer.changes.amounts[Cause.USAGE].amount < 0
    assert abs(answer.changes.driver_loss.amount + answer.changes.amounts[Cause.USAGE].amount) < 5


def test_a_previous_value_from_elsewhere_leaves_the_rest_to_the_model() -> None:
    answer = one(position(value=Money(Decimal(500_000), "CNY")))
    assert answer.changes is not None
    assert answer.changes.amounts[Cause.MODEL].amount < -100_000


def test_a_worn_battery_is_the_drivers_and_a_leased_one_nobodys_collateral() -> None:
    car = Car(CAR.vin, "Make", "Model", first_registration=CAR.first_registration, odometer_km=45_000)
    worn = one(position(car, pack=Pack(Decimal(60), "LFP", Decimal("0.80")), soh=Decimal("0.97")))
    leased = one(position(car, pack=Pack(Decimal(60), "LFP", Decimal("0.80"), leased=True)))
    plain = one(position(car))
    assert worn.changes is not None
    assert worn.p50 is not None
    assert leased.p50 is not None
    assert plain.p50 is not None
    assert worn.changes.amounts[Cause.BATTERY].amount < 0
    assert worn.p50 < plain.p50
    assert leased.p50 < plain.p50


def test_bad_positions_are_refused_one_by_one_and_the_others_valued() -> None:
    later = position(day=date(2026, 7, 30))
    unborn = position(day=date(2020, 1, 1))
    foreign = position(value=Money(Decimal(1000), "GBP"))
    unknown = position(Car(CAR.vin, "Nothing", "", first_registration=CAR.first_registration, odometer_km=1))
    answers = revaluing().revalue([later, position(), unborn, foreign, unknown])
    reasons = [answer.error.reason if isinstance(answer, Refused) else answer.appraisal.abstain_reason for answer in answers]
    assert reasons == ["PREVIOUS_IN_FUTURE", "", "PREVIOUS_BEFORE_REGISTRATION", "CURRENCY_UNSUPPORTED", "UNKNOWN_MAKE"]


def test_states_that_do_not_differ_cost_no_valuation() -> None:
    formula = Formula()
    appraising = Appraising(formula, load_policies(), Levels(), lambda: datetime(2026, 6, 30, 12, tzinfo=UTC))
    Revaluing(appraising, Levels(), load_battery_policies()).revalue([position()])
    assert formula.asked == 3  # then, older, and driven further, which is the car as it is


async def stream(*messages: int, fail: bool = False) -> AsyncIterator[int]:
    for message in messages:
        yield message
    if fail:
        raise RuntimeError("gone")


async def test_what_has_arrived_is_gathered_in_order() -> None:
    batches = [batch async for batch in gathered(stream(*range(10)), 4)]
    assert [item for batch in batches for item in batch] == list(range(10))
    assert max(map(len, batches)) <= 4


async def test_a_batch_waits_a_moment_for_what_the_transport_hands_over_one_by_one() -> None:
    async def slowly() -> AsyncIterator[int]:
        for item in range(20):
            await asyncio.sleep(0)  # as grpc.aio: a message takes turns of the event loop to be read
            yield item

    assert [len(batch) async for batch in gathered(slowly(), 8, patience_s=60)] == [8, 8, 4]


async def test_a_message_without_a_successor_is_not_held_up() -> None:
    more = asyncio.Event()

    async def first_alone() -> AsyncIterator[int]:
        yield 1
        await more.wait()
        yield 2

    async with aclosing(gathered(first_alone(), 8)) as batches:
        assert await anext(batches) == [1]
        more.set()
        assert await anext(batches) == [2]


async def test_a_broken_stream_yields_what_came_before_and_then_its_error() -> None:
    batches = gathered(stream(1, 2, fail=True), 4)
    seen: list[int] = []
    while len(seen) < 2:
        seen += await anext(batches)
    assert seen == [1, 2]
    with pytest.raises(RuntimeError, match="gone"):
        await anext(batches)


async def test_a_reader_that_leaves_early_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with aclosing(gathered(stream(*range(1000)), 2)) as batches:
        await anext(batches)
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() - before if not task.done()] == []
