"""Batteries and forced sales in an appraisal, on a model in closed form."""

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_common.domain.money import Money
from carlien_valuation.adapters.battery_policy_file import load_battery_policies
from carlien_valuation.adapters.liquidation_policy_file import load_liquidation_policies
from carlien_valuation.adapters.policy_file import load_policies
from carlien_valuation.adapters.residual_policy_file import load_residual_policies
from carlien_valuation.domain.appraisal import Appraisal, Estimate, PriceType
from carlien_valuation.domain.battery import Pack, Use
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.domain.confidence import Confidence
from carlien_valuation.domain.liquidation import in_force, liquidate
from carlien_valuation.domain.revaluation import Cause
from carlien_valuation.domain.usage_profile import UsageProfile
from carlien_valuation.service.appraise import Appraising, NoIndex, Request
from carlien_valuation.service.finish import Finishing
from carlien_valuation.service.ports import Point, Spread, Support
from carlien_valuation.service.remark import Recorded, Remarked, Remarking
from carlien_valuation.service.residual import NoTrend, ResidualRequest, Residuals
from carlien_valuation.service.revalue import Revaluing

NOW = date(2026, 6, 30)
COSTS = in_force(load_liquidation_policies(), NOW)
CAR = Car("1M8GDM9AXKP042788", "Make", "Model", first_registration=NOW - timedelta(days=1096), odometer_km=45_000)
PACK = Pack(Decimal(60), "LFP", Decimal("0.90"))
EVERY = tuple(PriceType)


class Formula:
    """12 % a year, 2 % per 10,000 km."""

    version, currency, price_kind, data_cutoff, synthetic = "m1", "CNY", "sold_retail", NOW, False
    knows_age, condition, usage, region = True, False, False, False
    cold_start: Spread | None = None
    max_age_years, max_odometer_km = 20.0, 400_000.0

    def values(self, points: Sequence[Point]) -> np.ndarray:
        value = [
            200_000 * math.exp(-0.12 * p.age_years - 2e-6 * (15_000 * p.age_years if p.odometer_km is None else p.odometer_km))
            for p in points
        ]
        return np.outer(value, np.exp([-0.1, 0.0, 0.1]))

    def support(self, cars: Sequence[Car]) -> list[Support]:
        return [Support(100, unknown_make=False, unknown_model=False) for _ in cars]

    def typical_odometer(self, age_years: float) -> float:
        return 15_000 * age_years


FINISHING = Finishing(load_battery_policies(), load_liquidation_policies(), Formula().typical_odometer)
APPRAISING = Appraising(Formula(), load_policies(), NoIndex(), lambda: datetime(2026, 6, 30, 12, tzinfo=UTC), finishing=FINISHING)


def appraised(pack: Pack | None, car: Car = CAR, kinds: tuple[PriceType, ...] = EVERY, *, waterfall: bool = True) -> Appraisal:
    request = Request(car, kinds, NOW, waterfall=waterfall, pack=pack)
    APPRAISING.check(request)
    return APPRAISING.appraise([request])[0]


def retail(pack: Pack | None, car: Car = CAR) -> Estimate:
    return appraised(pack, car, (PriceType.DEALER_RETAIL,)).estimates[0]


PACKS = st.builds(
    Pack,
    capacity_kwh=st.decimals("5", "150", places=1),
    chemistry=st.sampled_from(["LFP", "NMC", "nca", "LMO"]),
    soh=st.none() | st.decimals("0.2", "1.1", places=3),
    leased=st.booleans(),
)


@settings(deadline=None)
@given(pack=PACKS, age=st.integers(0, 5000), km=st.integers(0, 400_000))
def test_car_and_pack_and_every_waterfall_sum_to_the_cent(pack: Pack, age: int, km: int) -> None:
    car = dataclasses.replace(CAR, first_registration=NOW - timedelta(days=age), odometer_km=km)
    for estimate in appraised(pack, car).estimates:
        assert sum((step.amount.amount for step in estimate.waterfall), Decimal(0)) == estimate.p50.amount
        assert [step.factor for step in estimate.waterfall][-1] == "battery"
        assert estimate.battery is not None
        assert estimate.battery.car + estimate.battery.pack == estimate.p50
        assert Decimal(0) < estimate.p10.amount <= estimate.p50.amount <= estimate.p90.amount
        health = estimate.battery.health
        assert health.low <= health.median <= health.high
        if pack.leased:
            assert estimate.battery.pack.amount == 0


@settings(deadline=None)
@given(pack=PACKS, age=st.integers(0, 5000), km=st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)))
def test_a_car_driven_further_is_never_worth_more_whatever_its_battery(pack: Pack, age: int, km: tuple[int, int]) -> None:
    car = dataclasses.replace(CAR, first_registration=NOW - timedelta(days=age))
    less, more = (retail(pack, dataclasses.replace(car, odometer_km=one)).p50.amount for one in sorted(km))
    assert more <= less


@settings(deadline=None)
@given(capacity=st.decimals("5", "150", places=1), soh=st.tuples(st.decimals("0.2", "1", places=3), st.decimals("0.2", "1", places=3)))
def test_a_worse_battery_is_never_worth_more(capacity: Decimal, soh: tuple[Decimal, Decimal]) -> None:
    worse, better = (retail(Pack(capacity, "NMC", one)).p50.amount for one in sorted(soh))
    assert worse <= better


def test_a_usual_pack_leaves_the_market_value_and_a_leased_one_takes_itself_out() -> None:
    bare, usual, leased = retail(None), retail(dataclasses.replace(PACK, soh=None)), retail(dataclasses.replace(PACK, leased=True))
    assert (usual.p10, usual.p50, usual.p90) == (bare.p10, bare.p50, bare.p90)
    assert usual.battery is not None
    assert not usual.battery.health.measured
    assert leased.p50.amount < bare.p50.amount - 10_000
    assert leased.battery is not None
    assert leased.p50 == leased.battery.car


def test_a_measured_state_widens_the_interval_by_its_own() -> None:
    bare, measured = retail(None), retail(PACK)
    assert measured.p50.amount - measured.p10.amount > bare.p50.amount - bare.p10.amount
    assert measured.battery is not None
    assert measured.battery.state.use is Use.FIRST_LIFE
    assert measured.battery.health.high - measured.battery.health.low == Decimal("0.04")


def test_what_cannot_be_valued_is_said_and_what_cannot_be_is_refused() -> None:
    for pack in (Pack(Decimal(0), "LFP", Decimal("0.9")), Pack(Decimal(60), "zebra", Decimal("0.9"))):
        answer = appraised(pack)
        assert "BATTERY_NOT_VALUED" in {remark.code for remark in answer.warnings}
        assert answer.estimates[0].battery is None
        assert answer.estimates[0].p50 == appraised(None).estimates[0].p50
    with pytest.raises(DomainError) as raised:
        APPRAISING.check(Request(CAR, EVERY, NOW, pack=Pack(Decimal(2000), "LFP", Decimal(3))))
    assert {violation.reason for violation in raised.value.violations} == {"BATTERY_CAPACITY_RANGE", "BATTERY_SOH_RANGE"}


def test_values_only_leave_the_waterfall_out_but_not_the_battery() -> None:
    full, bare = appraised(PACK), appraised(PACK, waterfall=False)
    assert [estimate.p50 for estimate in bare.estimates] == [estimate.p50 for estimate in full.estimates]
    assert all(not estimate.waterfall and estimate.battery for estimate in bare.estimates)


async def test_a_residual_tells_the_battery_month_by_month_and_month_0_is_the_appraisal() -> None:
    async def appraise(requests: Sequence[Request]) -> list[Appraisal]:
        return APPRAISING.appraise(requests)

    residuals = Residuals(appraise, load_residual_policies(), NoTrend(), FINISHING)
    points = (await residuals.forecast(ResidualRequest(CAR, 60, 40_000, PriceType.WHOLESALE, NOW, pack=PACK))).points
    (now,) = appraised(PACK, kinds=(PriceType.WHOLESALE,)).estimates
    assert (points[0].p10, points[0].p50, points[0].p90) == (now.p10, now.p50, now.p90)
    states = [point.battery for point in points if point.battery]
    assert len(states) == 61
    health = [state.p50.soh for state in states]
    assert health == sorted(health, reverse=True)
    for state in states:
        assert state.p10.soh <= state.p50.soh <= state.p90.soh
        options = [value for value in (state.p50.first_life, state.p50.second_life, state.p50.recycling) if value is not None]
        assert state.p50.best == max(options)
    # Driven harder, the same pack fades faster, and the car with it.
    gentle = (await residuals.forecast(ResidualRequest(CAR, 60, 5_000, PriceType.WHOLESALE, NOW, pack=PACK))).points
    assert gentle[60].battery is not None
    assert states[60].p50.soh < gentle[60].battery.p50.soh
    assert points[60].p50 < gentle[60].p50


@settings(deadline=None)
@given(price=st.decimals("1", "900000", places=2), share=st.floats(0.3, 1.0), level=st.sampled_from(Confidence))
def test_proceeds_sum_to_the_cent_and_fall_with_the_price(price: Decimal, share: float, level: Confidence) -> None:
    p50 = Money(price, "CNY")
    p10 = Money(price * Decimal(repr(share)), "CNY").quantized()
    found = liquidate(p50, p10, level, COSTS)
    assert found.price + found.towing + found.storage + found.auction_fee + found.time_to_sell == found.net
    assert found.net < p50
    assert found.net_p10 <= found.net
    assert all(cost.amount <= 0 for cost in (found.towing, found.storage, found.auction_fee, found.time_to_sell))


def test_proceeds_are_those_of_the_table() -> None:
    """100,000 sold in 30 days: 800 towing, 900 storage, 5,000 fee, and 8 % a year on 95,000 for 30 days: 95,000 x (1 - 1.08^(-30/365))."""
    found = liquidate(Money(Decimal(100_000), "CNY"), Money(Decimal(80_000), "CNY"), Confidence.HIGH, COSTS)
    assert [cost.amount for cost in (found.towing, found.storage, found.auction_fee)] == [Decimal(-800), Decimal(-900), Decimal(-5000)]
    waiting = Decimal(repr(round(95_000 * (1 - 1.08 ** (-30 / 365)), 2)))
    assert found.time_to_sell.amount == -waiting
    assert found.net.amount == 100_000 - 800 - 900 - 5_000 - waiting
    slower = liquidate(found.price, found.price, Confidence.LOW, COSTS)
    assert slower.net < found.net


def test_only_a_forced_sale_states_proceeds() -> None:
    for estimate in appraised(None).estimates:
        assert (estimate.liquidation is not None) == (estimate.price_type is PriceType.FORCED_SALE)
    assert "PROCEEDS_FROM_POLICY" in {remark.code for remark in appraised(None).warnings}
    assert "PROCEEDS_FROM_POLICY" not in {remark.code for remark in appraised(None, kinds=(PriceType.WHOLESALE,)).warnings}


REMARKING = Remarking(APPRAISING, Revaluing(APPRAISING, NoIndex(), load_battery_policies()))


def recorded(pack: Pack | None) -> Recorded:
    answer = appraised(pack)
    return Recorded("a1", CAR, pack, NOW, {one.price_type: one.p50 for one in answer.estimates}, answer.index_level)


def remarked(pack: Pack | None, **known: object) -> Remarked | str:
    profile = UsageProfile(CAR.vin, datetime(2026, 6, 30, tzinfo=UTC), 0.9, **known)  # type: ignore[arg-type]
    return REMARKING.remark([(recorded(pack), profile)], NOW)[0]


@pytest.mark.parametrize("pack", [None, PACK, dataclasses.replace(PACK, soh=None), dataclasses.replace(PACK, leased=True)])
def test_a_re_mark_explains_the_difference_of_the_two_appraisals_to_the_cent(pack: Pack | None) -> None:
    answer = remarked(pack, odometer_km=80_000)
    assert isinstance(answer, Remarked)
    old, new = recorded(pack).values[PriceType.WHOLESALE], answer.appraisal.estimates[EVERY.index(PriceType.WHOLESALE)].p50
    assert (answer.changes.previous, answer.changes.current) == (old, new)
    assert answer.cause == "MILEAGE"
    assert abs(answer.changes.amounts[Cause.MODEL].amount) <= Decimal("0.03")
    assert answer.changes.driver_loss.amount > 0
    assert answer.changes.market_loss.amount == 0


def test_a_battery_that_aged_is_a_cause_of_its_own() -> None:
    for before in (PACK, dataclasses.replace(PACK, soh=None)):
        answer = remarked(before, soh=Decimal("0.80"))
        assert isinstance(answer, Remarked)
        assert answer.cause == "BATTERY"
        assert answer.changes.amounts[Cause.BATTERY].amount < -1_000
        assert abs(answer.changes.amounts[Cause.MODEL].amount) <= Decimal("0.03")


def test_use_goes_before_distance_and_what_does_not_matter_makes_nothing() -> None:
    answer = remarked(None, usage=Usage.RIDE_HAILING, odometer_km=200_000)
    assert isinstance(answer, Remarked)
    assert answer.cause == "USAGE"
    assert remarked(None, odometer_km=45_900) == "immaterial"
    assert remarked(None, odometer_km=10_000) == "immaterial"
    assert remarked(PACK, soh=Decimal("0.905")) == "immaterial"
