import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from carlien_valuation.domain.calibration import (
    Judged,
    Light,
    Shift,
    at_most,
    compare,
    conformal_shift,
    cross_fitted,
    measures,
    share_test,
    share_tests,
    worst,
    zone,
)


def judged(n: int, *, noise: float = 0.12, half: float = 0.12 * 1.2816, bias: float = 0.0, seed: int = 0) -> Judged:
    """Prices around 100,000 and a model whose P50 is off by `bias` and whose interval is +-`half` in logs."""
    random = np.random.default_rng(seed)
    price = np.exp(math.log(100_000) + random.normal(0, noise, n))
    p50 = np.full(n, 100_000 * math.exp(bias))
    return Judged(price, p50 * math.exp(-half), p50, p50 * math.exp(half))


@pytest.mark.parametrize(
    ("exceptions", "cumulative", "light"),
    [(0, 0.0811, "GREEN"), (4, 0.8922, "GREEN"), (5, 0.9588, "YELLOW"), (9, 0.9997, "YELLOW"), (10, 0.9999, "RED")],
)
def test_the_zones_are_those_of_the_basel_table_for_250_days_at_99_percent(exceptions: int, cumulative: float, light: str) -> None:
    """Basel Committee 1996, Supervisory framework for the use of backtesting, table 2."""
    probability = at_most(exceptions, 250, 0.01)
    assert probability == pytest.approx(cumulative, abs=6e-5)
    assert zone(probability) is Light(light)


@settings(deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1), p=st.floats(0.001, 0.999))
def test_the_binomial_is_scipys(n: int, share: float, p: float) -> None:
    k = round(share * n)
    assert at_most(k, n, p) == pytest.approx(float(binom.cdf(k, n, p)), abs=1e-9)


def test_a_right_model_is_green_and_wrong_ones_are_red() -> None:
    assert {test.light for test in share_tests(judged(2000)).values()} == {Light.GREEN}
    narrow = share_tests(judged(2000, half=0.08))
    assert narrow["outside"].light is Light.RED
    assert narrow["below_p50"].light is Light.GREEN
    high = share_tests(judged(2000, bias=0.1))
    assert high["below_p50"].light is Light.RED
    assert high["below_p10"].light is Light.RED


def test_an_interval_that_holds_too_often_is_yellow_at_worst_and_few_sales_test_nothing() -> None:
    assert share_tests(judged(2000, half=0.4))["outside"].light is Light.YELLOW
    assert worst([test.light for test in share_tests(judged(20)).values()]) is Light.UNTESTED


def test_what_does_not_matter_stays_green_however_many_sales_there_are() -> None:
    """79 % of 100,000 prices inside: not 80 by any test, but within what is tolerated."""
    assert share_test(21_000, 100_000, 0.2, 0.02).light is Light.GREEN
    assert share_test(21_000, 100_000, 0.2, 0.0).light is Light.RED


@settings(max_examples=40, deadline=None)
@given(half=st.floats(0.02, 0.5), bias=st.floats(-0.2, 0.2), seed=st.integers(0, 50))
def test_a_recalibrated_interval_holds_on_sales_it_was_not_made_from(half: float, bias: float, seed: int) -> None:
    wrong = judged(1500, half=half, bias=bias, seed=seed)
    after = measures(cross_fitted(wrong, median=True))
    assert 0.76 < after["coverage80"] < 0.84
    assert abs(after["median_error"]) < 0.015


@settings(deadline=None)
@given(half=st.floats(0.01, 0.5), bias=st.floats(-0.3, 0.3), n=st.integers(100, 400), seed=st.integers(0, 50))
def test_shifted_quantiles_stay_in_order_and_shift_by_what_they_say(half: float, bias: float, n: int, seed: int) -> None:
    before = judged(n, half=half, bias=bias, seed=seed)
    shift = conformal_shift(before, median=True)
    after = before.shifted(shift)
    assert (after.p10 <= after.p50).all()
    assert (after.p50 <= after.p90).all()
    assert np.allclose(after.p50, before.p50 * math.exp(shift.p50))
    assert before.shifted(Shift()).p10 == pytest.approx(before.p10)
    assert (after.price < after.p10).mean() <= 0.1 + 1 / n


def test_a_worse_challenger_is_refused_and_an_equal_one_is_not() -> None:
    champion = judged(500)
    assert compare(champion, champion).promoted
    assert compare(champion, judged(500, bias=0.08)).reasons == ("MAPE_WORSE", "COVERAGE_WORSE")
    assert compare(judged(500, half=0.06), judged(500)).promoted
    assert compare(judged(50), judged(50)).reasons == ("TOO_FEW_SALES",)
