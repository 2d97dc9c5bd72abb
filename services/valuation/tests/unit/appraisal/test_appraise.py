"""The use case with a made-up model: waterfalls, policies, warnings, abstentions."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_common.domain.clock import fixed
from carlien_common.domain.errors import DomainError
from carlien_valuation.adapters.policy_file import load_policies
from carlien_valuation.domain.appraisal import FACTORS, Confidence, PriceType, confidence, of_units, scale_of, waterfall
from carlien_valuation.domain.car import Car, ConditionScores, Usage, grade_of
from carlien_valuation.service.appraise import Appraising, NoIndex, Request
from carlien_valuation.service.batching import Batcher
from carlien_valuation.service.ports import IndexReading, Point, Spread, Support

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
CAR = Car("LSVNV2182E2100001", "大众", "朗逸", "2015款 1.6L", date(2016, 3, 15), 60_000)
EVERY = tuple(PriceType)


@dataclass
class MadeUp:
    """A model whose values are a formula."""

    version: str = "v1"
    currency: str = "CNY"
    price_kind: str = "ask_retail"
    data_cutoff: date = date(2026, 6, 30)
    synthetic: bool = False
    knows_age: bool = True
    condition: bool = True
    usage: bool = True
    region: bool = True
    cold_start: Spread | None = None
    max_age_years: float = 15.0
    max_odometer_km: float = 300_000.0
    sample: Support = field(default_factory=lambda: Support(80, unknown_make=False, unknown_model=False))

    def values(self, points: Sequence[Point]) -> np.ndarray:
        rows = []
        for point in points:
            age = 0.0 if math.isnan(point.age_years) else point.age_years
            log = 11.7 - 0.13 * age - 2e-6 * (point.odometer_km or 15_000 * age)
            log -= 0.05 * ((point.car.grade or 2) - 2) if point.condition and self.condition else 0
            log -= 0.2 if point.usage and self.usage and point.car.usage is not Usage.PRIVATE else 0
            log += 0.02 if point.region and self.region and point.car.region_code == "110000" else 0
            rows.append([log - 0.12, log, log + 0.11])
        result: np.ndarray = np.exp(np.array(rows))
        return result

    def support(self, cars: Sequence[Car]) -> list[Support]:
        return [self.sample for _ in cars]

    def typical_odometer(self, age_years: float) -> float:
        return 0.0 if math.isnan(age_years) else 12_345.6 * age_years


class Halved:
    """An index that says the market has halved."""

    def read(self, car: Car, cutoff: date, day: date) -> IndexReading:
        return IndexReading("2026-07", 50.0, 0.5)


def appraising(model: MadeUp, index: object = None) -> Appraising:
    return Appraising(model, load_policies(), index or NoIndex(), fixed(NOW))  # type: ignore[arg-type]


def one(model: MadeUp, car: Car = CAR, types: tuple[PriceType, ...] = EVERY, index: object = None, **change: object):  # type: ignore[no-untyped-def]
    return appraising(model, index).appraise([Request(car, types, NOW.date(), **change)])[0]  # type: ignore[arg-type]


def codes(appraisal: object) -> set[str]:
    return {remark.code for remark in appraisal.warnings}  # type: ignore[attr-defined]


cars = st.builds(
    Car,
    vin=st.just("V"),
    make=st.just("m"),
    model=st.just("n"),
    trim=st.text(max_size=5),
    first_registration=st.dates(date(2008, 1, 1), date(2026, 6, 30)),
    odometer_km=st.none() | st.integers(0, 900_000),
    region_code=st.sampled_from(["", "110000"]),
    usage=st.sampled_from(Usage),
    transfer_count=st.none() | st.integers(0, 9),
    grade=st.none() | st.integers(1, 5),
    options=st.sampled_from([(), ("roof",)]),
)


@settings(max_examples=300, deadline=None)
@given(cars, st.booleans(), st.booleans(), st.booleans())
def test_every_waterfall_sums_to_the_cent(car: Car, condition: bool, usage: bool, region: bool) -> None:
    appraisal = one(MadeUp(condition=condition, usage=usage, region=region), car, index=Halved())
    for estimate in appraisal.estimates:
        assert [step.factor for step in estimate.waterfall] == list(FACTORS)
        assert sum((step.amount.amount for step in estimate.waterfall), Decimal(0)) == estimate.p50.amount
        assert estimate.p50.amount == estimate.p50.quantized().amount
        assert Decimal(0) < estimate.p10.amount <= estimate.p50.amount <= estimate.p90.amount
        assert estimate.fsd > 0


@given(st.dictionaries(st.sampled_from(FACTORS), st.floats(0.001, 1e7), min_size=1))
def test_a_waterfall_of_any_levels_sums_exactly(levels: dict[str, float]) -> None:
    for currency, unit in (("JPY", 1), ("CNY", Decimal("0.01"))):
        steps, total = waterfall(levels, scale_of(currency))
        assert sum(amount for _, amount in steps) == total
        assert of_units(total, currency).amount == total * unit


@settings(max_examples=200, deadline=None)
@given(cars, st.integers(1, 4))
def test_policy_keeps_grades_and_accidents_in_order_where_the_model_has_no_condition(car: Car, grade: int) -> None:
    model = MadeUp(condition=False)
    better, worse = (one(model, replace(car, grade=value)).estimates[0].p50.amount for value in (grade, grade + 1))
    assert worse <= better


def test_markets_are_ordered_and_forced_sale_is_the_least_certain() -> None:
    appraisal = one(MadeUp())
    values = {estimate.price_type: estimate for estimate in appraisal.estimates}
    assert values[PriceType.FORCED_SALE].p50 < values[PriceType.TRADE_IN].p50 < values[PriceType.WHOLESALE].p50
    assert values[PriceType.WHOLESALE].p50 < values[PriceType.PRIVATE].p50 < values[PriceType.DEALER_RETAIL].p50
    assert max(appraisal.estimates, key=lambda estimate: estimate.fsd).price_type is PriceType.FORCED_SALE
    assert "PRICE_TYPES_FROM_POLICY" in codes(appraisal)


def test_what_the_data_cannot_tell_comes_from_policy_and_says_so() -> None:
    car = replace(CAR, grade=4, usage=Usage.RIDE_HAILING, transfer_count=2, region_code="110000", options=("roof",))
    known, unknown = one(MadeUp(), car), one(MadeUp(condition=False, usage=False, region=False), car)
    assert "ADJUSTMENT_FROM_POLICY" not in codes(known)
    assert {"ADJUSTMENT_FROM_POLICY", "REGION_NOT_VALUED", "OPTIONS_NOT_VALUED"} <= codes(unknown)
    policy = load_policies()[0]
    plain = one(MadeUp(condition=False, usage=False, region=False)).estimates[0].p50.amount
    expected = float(plain) * policy.grades[4] * policy.usages[Usage.RIDE_HAILING] * policy.transfer**2
    assert float(unknown.estimates[0].p50.amount) == pytest.approx(expected, rel=1e-4)


def test_the_index_moves_the_value_and_is_named() -> None:
    before, after = one(MadeUp()), one(MadeUp(), index=Halved())
    assert after.estimates[0].p50.amount == pytest.approx(before.estimates[0].p50.amount / 2, abs=Decimal("0.01"))
    assert (after.index_vintage, after.index_level) == ("2026-07", 50.0)
    moved = next(step for step in after.estimates[0].waterfall if step.factor == "market_index")
    assert moved.amount.amount == pytest.approx(-after.estimates[0].p50.amount, abs=Decimal("0.02"))


def test_an_unknown_make_and_a_missing_age_are_abstained_from() -> None:
    for model, car, reason in (
        (MadeUp(sample=Support(0, unknown_make=True, unknown_model=False)), CAR, "UNKNOWN_MAKE"),
        (MadeUp(sample=Support(0, unknown_make=False, unknown_model=True)), CAR, "UNKNOWN_MODEL"),
        (MadeUp(), replace(CAR, first_registration=None), "AGE_MISSING"),
    ):
        appraisal = one(model, car)
        assert (appraisal.abstained, appraisal.abstain_reason, appraisal.estimates) == (True, reason, ())


def test_an_unknown_model_gets_a_value_with_the_measured_interval_and_low_confidence() -> None:
    known = one(MadeUp()).estimates[0]
    cold = one(MadeUp(cold_start=Spread(-0.5, 0.4), sample=Support(0, unknown_make=False, unknown_model=True)))
    assert "UNKNOWN_MODEL" in codes(cold)
    estimate = cold.estimates[0]
    assert (estimate.p50, estimate.confidence) == (known.p50, Confidence.LOW)
    assert estimate.p10 < known.p10
    assert estimate.p90 > known.p90


def test_warnings_name_what_lies_beyond_the_data() -> None:
    car = replace(CAR, first_registration=date(2008, 1, 1), odometer_km=500_000, warnings=("VIN_CHECK_DIGIT",))
    assert {"AGE_BEYOND_DATA", "ODOMETER_BEYOND_DATA", "VIN_CHECK_DIGIT"} <= codes(one(MadeUp(), car))
    assert {"ODOMETER_MISSING", "SYNTHETIC_MODEL"} <= codes(one(MadeUp(synthetic=True), replace(CAR, odometer_km=None)))


def test_values_only_leave_the_waterfall_out_and_the_value_alone() -> None:
    full, short = one(MadeUp()), one(MadeUp(), waterfall=False)
    assert [estimate.p50 for estimate in short.estimates] == [estimate.p50 for estimate in full.estimates]
    assert short.estimates[0].waterfall == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price_types": ()}, "PRICE_TYPE_MISSING"),
        ({"price_types": (PriceType.PRIVATE, PriceType.PRIVATE)}, "PRICE_TYPE_REPEATED"),
        ({"currency": "USD"}, "CURRENCY_UNSUPPORTED"),
        ({"valuation_date": date(2026, 8, 1)}, "VALUATION_DATE_FUTURE"),
        ({"valuation_date": date(2015, 8, 1)}, "REGISTRATION_FUTURE"),
        ({"car": replace(CAR, new_price=Decimal(1), new_price_currency="USD")}, "CURRENCY_UNSUPPORTED"),
    ],
)
def test_requests_that_make_no_sense_are_refused(change: dict[str, object], reason: str) -> None:
    request = replace(Request(CAR, EVERY, NOW.date()), **change)  # type: ignore[arg-type]
    with pytest.raises(DomainError) as raised:
        appraising(MadeUp()).check(request)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("scores", "grade"),
    [((4, 4, 4, 4, 4, 4), 1), ((3, 3, 3, 3, 3, 4), 2), ((1, 1, 1, 1, 1, 4), 3), ((0, 0, 0, 0, 0, 4), 4), ((4, 4, 4, 4, 4, 1), 5)],
)
def test_sub_scores_amount_to_a_grade(scores: tuple[int, ...], grade: int) -> None:
    assert grade_of(ConditionScores(*scores)) == grade


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6), st.integers(0, 5))
def test_a_better_sub_score_never_gives_a_worse_grade(scores: list[int], place: int) -> None:
    better = list(scores)
    better[place] = min(4, better[place] + 1)
    assert grade_of(ConditionScores(*better)) <= grade_of(ConditionScores(*scores))


def test_confidence_needs_cars_and_a_narrow_interval() -> None:
    assert confidence(100, 0.3, unknown=False) is Confidence.HIGH
    assert confidence(20, 0.3, unknown=False) is Confidence.MEDIUM
    assert confidence(5, 0.3, unknown=False) is Confidence.LOW
    assert confidence(100, 0.9, unknown=False) is Confidence.LOW
    assert confidence(100, 0.3, unknown=True) is Confidence.LOW


async def test_requests_that_wait_are_computed_together_and_errors_reach_every_waiter() -> None:
    sizes: list[int] = []

    def compute(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if 13 in items:
            raise ValueError("thirteen")
        return [item * 2 for item in items]

    batcher = Batcher[int, int](compute, max_batch=8, max_waiting=20)
    waiting = [asyncio.ensure_future(batcher.submit(item)) for item in range(10)]
    await asyncio.sleep(0)
    worker = asyncio.create_task(batcher.run())
    assert await asyncio.gather(*waiting) == [item * 2 for item in range(10)]
    assert sizes == [8, 2]
    with pytest.raises(ValueError, match="thirteen"):
        await batcher.submit(13)
    assert await batcher.submit(4) == 8
    worker.cancel()


async def test_more_than_may_wait_are_refused() -> None:
    batcher = Batcher[int, int](lambda items: list(items), max_batch=8, max_waiting=2)
    waiting = [asyncio.ensure_future(batcher.submit(item)) for item in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(DomainError, match="waiting"):
        await waiting[2]
    for task in waiting:
        task.cancel()
