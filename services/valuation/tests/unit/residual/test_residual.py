import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_valuation.adapters.published_index import PublishedIndex
from carlien_valuation.adapters.residual_policy_file import load_residual_policies
from carlien_valuation.domain.appraisal import Appraisal, Confidence, Estimate, PriceType, money, units
from carlien_valuation.domain.car import Car
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, Publication
from carlien_valuation.domain.residual import Trend, doubt, in_force, trend
from carlien_valuation.service.appraise import Request
from carlien_valuation.service.residual import NoTrend, ResidualForecast, ResidualRequest, Residuals

TODAY = date(2026, 6, 30)
POLICIES = load_residual_policies()
POLICY = in_force(POLICIES, TODAY)
CAR = Car("1M8GDM9AXKP042788", "Make", "Model", first_registration=date(2023, 6, 30), odometer_km=60_000)


async def appraise(requests: Sequence[Request]) -> list[Appraisal]:
    """12 % a year, 2 % per 10,000 km, +-10 %; knows no make called Nothing."""
    answers = []
    for request in requests:
        car = request.car
        age = (request.valuation_date - (car.first_registration or TODAY)).days / 365.25
        value = 200_000 * math.exp(-0.12 * age - 2e-6 * (car.odometer_km or 15_000 * age))
        low, middle, high = (units(value * math.exp(x), 100) for x in (-0.1, 0.0, 0.1))
        estimate = Estimate(request.price_types[0], "CNY", low, middle, high, (), 100, 0.08, Confidence.HIGH)
        reason = "UNKNOWN_MAKE" if car.make == "Nothing" else ""
        estimates = () if reason else (estimate,)
        answers.append(
            Appraisal(
                car.vin, estimates, reason, (), "m1", TODAY, "model:2026-06-30", 100.0, datetime(2026, 6, 30, tzinfo=UTC), TODAY, 45_000
            )
        )
    return answers


def publication(*levels: float, segment: str = "all", region: str = "CN", error: float = 0.002) -> Publication:
    months = [date(2026 - (len(levels) - 1 - i + 6) // 12, (6 - (len(levels) - 1 - i) - 1) % 12 + 1, 1) for i in range(len(levels))]
    points = tuple(IndexPoint(month, level, error, 100) for month, level in zip(months, levels, strict=True))
    return Publication(IndexKey(segment, region), months[-1], months[0], points, "hash", datetime(2026, 7, 1, tzinfo=UTC))


def index(*publications: Publication) -> PublishedIndex:
    made = PublishedIndex("CN")
    made.update(publications)
    return made


async def forecast(annual_km: int = 15_000, months: int = 60, car: Car = CAR, market: PublishedIndex | None = None) -> ResidualForecast:
    request = ResidualRequest(car, months, annual_km, PriceType.WHOLESALE, TODAY)
    return await Residuals(appraise, POLICIES, market or NoTrend()).forecast(request)


async def test_month_0_is_the_appraisal_itself() -> None:
    (now,) = await appraise([Request(CAR, (PriceType.WHOLESALE,), TODAY)])
    point = (await forecast()).points[0]
    assert (point.p10, point.p50, point.p90) == (now.estimates[0].p10, now.estimates[0].p50, now.estimates[0].p90)
    assert (point.month, point.day, point.odometer_km) == (0, TODAY, 60_000)


async def test_a_year_ahead_is_the_car_a_year_older_and_driven_further() -> None:
    point = (await forecast(annual_km=20_000)).points[12]
    assert point.odometer_km == 80_000
    assert point.day == date(2027, 6, 30)
    expected = 200_000 * math.exp(-0.12 * 4 - 2e-6 * 80_000)
    assert float(point.p50.amount) == pytest.approx(expected, rel=1e-3)


@given(slow=st.integers(0, 100_000), more=st.integers(0, 200_000), months=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
async def test_more_driving_never_makes_a_car_worth_more(slow: int, more: int, months: int) -> None:
    near, far = await forecast(slow, months), await forecast(slow + more, months)
    for one, other in zip(near.points, far.points, strict=True):
        assert other.p50 <= one.p50
        assert other.p10 <= one.p10
        assert other.p90 <= one.p90


async def test_quantiles_are_in_order_and_widen_month_by_month() -> None:
    points = (await forecast()).points
    assert len(points) == 61
    assert all(p.p10 <= p.p50 <= p.p90 for p in points)
    widths = [float(p.p90.amount / p.p10.amount) for p in points]
    assert widths == sorted(widths)


async def test_the_market_trend_lifts_the_curve_by_what_the_index_supports() -> None:
    rising = index(publication(*(100 * 1.005**i for i in range(37))))
    flat, lifted = await forecast(), await forecast(market=rising)
    assert 0 < lifted.market.per_month < math.log(1.005)
    ratio = float(lifted.points[24].p50.amount / flat.points[24].p50.amount)
    assert ratio == pytest.approx(math.exp(24 * lifted.market.per_month), rel=1e-5)
    assert lifted.points[0].p50 == flat.points[0].p50


async def test_a_car_that_cannot_be_valued_is_not_forecast() -> None:
    answer = await forecast(car=Car("1M8GDM9AXKP042788", "Nothing", "", first_registration=CAR.first_registration))
    assert answer.points == ()
    assert answer.now.abstain_reason == "UNKNOWN_MAKE"


async def test_an_unknown_odometer_stays_unknown() -> None:
    answer = await forecast(car=Car("1M8GDM9AXKP042788", "Make", "Model", first_registration=CAR.first_registration))
    assert {point.odometer_km for point in answer.points} == {0}


@pytest.mark.parametrize(("months", "km", "reasons"), [(0, -1, {"HORIZON_RANGE", "ANNUAL_MILEAGE_RANGE"}), (61, 0, {"HORIZON_RANGE"})])
async def test_what_is_out_of_range_is_named(months: int, km: int, reasons: set[str]) -> None:
    with pytest.raises(DomainError) as raised:
        await forecast(km, months)
    assert {violation.reason for violation in raised.value.violations} == reasons


def test_a_longer_steadier_index_is_believed_more() -> None:
    short, long = (trend(publication(*(100 * 1.004**i for i in range(n))), TODAY, POLICY) for n in (7, 37))
    assert 0 < short.per_month < long.per_month < math.log(1.004)
    noisy = trend(publication(*(100 * 1.004**i for i in range(37)), error=0.1), TODAY, POLICY)
    assert noisy.weight < long.weight


def test_no_index_or_one_month_supports_no_trend() -> None:
    assert trend(None, TODAY, POLICY) == Trend()
    assert trend(publication(100.0), TODAY, POLICY) == Trend()
    assert trend(publication(100.0, 110.0), date(2020, 1, 1), POLICY) == Trend()


def test_doubt_grows_with_the_horizon_and_shrinks_with_knowledge() -> None:
    horizons = [doubt(month, Trend(), POLICY) for month in range(61)]
    assert horizons[0] == 0
    assert horizons == sorted(horizons)
    assert doubt(60, Trend(0.0, 0.8), POLICY) < horizons[60]
    assert 0.025 < doubt(6, Trend(0.0, 1.0), POLICY) < 0.06


def test_a_value_moves_with_the_index_of_its_make_else_of_the_market() -> None:
    market = index(publication(100.0, 104.0), publication(100.0, 90.0, segment="make:make"), publication(50.0, 99.0, region="other"))
    own = market.read(CAR, date(2026, 5, 20), TODAY)
    assert (own.vintage, own.level) == ("2026-06", 90.0)
    assert own.ratio == pytest.approx(0.9)
    assert market.read(Car("", "Another", ""), date(2026, 5, 20), TODAY).ratio == pytest.approx(1.04)
    assert PublishedIndex("CN").read(CAR, date(2026, 5, 20), TODAY).vintage == "model:2026-05-20"


def test_an_index_that_starts_after_the_models_cutoff_does_not_move_values() -> None:
    reading = index(publication(100.0, 104.0)).read(CAR, date(2020, 1, 1), TODAY)
    assert reading.ratio == 1.0
    assert reading.level == 104.0


def test_amounts_are_whole_cents() -> None:
    assert money(1234.56789, "CNY").amount == Decimal("1234.57")
