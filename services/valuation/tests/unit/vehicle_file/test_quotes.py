import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.domain.quotes import PRIOR_BIAS, PRIOR_SCATTER, Quote, Skill, fuse, learn

UNKNOWN = learn([])
SKILL = st.builds(Skill, bias=st.floats(-0.2, 0.2), scatter=st.floats(0.02, 0.3), bias_error=st.floats(0.0, 0.1), sales=st.integers(0, 99))
QUOTES = st.lists(st.tuples(st.floats(9, 13), st.floats(0, 6), SKILL), min_size=1, max_size=8).map(
    lambda rows: [Quote(str(place), value, months, skill) for place, (value, months, skill) in enumerate(rows)]
)


def test_an_unknown_source_is_as_good_as_the_prior_says() -> None:
    assert (UNKNOWN.bias, UNKNOWN.scatter, UNKNOWN.sales) == (0.0, PRIOR_SCATTER, 0)
    assert UNKNOWN.bias_error == pytest.approx(PRIOR_BIAS)


def test_bias_and_scatter_are_learned_and_few_sales_say_little() -> None:
    random = np.random.default_rng(3)
    many = learn(list(random.normal(0.15, 0.05, 400)))
    few = learn([0.15, 0.16])
    assert many.bias == pytest.approx(0.15, abs=0.01)
    assert many.scatter == pytest.approx(0.05, abs=0.01)
    assert many.bias_error < 0.01
    assert 0 < few.bias < 0.12
    assert few.scatter > many.scatter


def test_a_source_that_quotes_high_is_corrected_and_the_surer_one_counts_more() -> None:
    sure, loose = Skill(0.10, 0.03, 0.01, 100), Skill(0.0, 0.15, 0.05, 2)
    fused = fuse([Quote("a", math.log(110_000), 0, sure), Quote("b", math.log(104_000), 0, loose)])
    assert math.exp(fused.log_value) == pytest.approx(99_700, rel=0.01)
    assert fused.weights[0] > 0.9


@settings(deadline=None)
@given(quotes=QUOTES)
def test_a_fused_value_lies_among_the_quotes_and_its_weights_sum_to_one(quotes: list[Quote]) -> None:
    fused = fuse(quotes)
    kept = [quote.adjusted for quote, outlier in zip(quotes, fused.outliers, strict=True) if not outlier]
    assert min(kept) - 1e-9 <= fused.log_value <= max(kept) + 1e-9
    assert sum(fused.weights) == pytest.approx(1)
    assert fused.deviation > 0
    assert all(weight == 0 for weight, outlier in zip(fused.weights, fused.outliers, strict=True) if outlier)
    assert len(kept) >= min(len(quotes), 2)


@settings(deadline=None)
@given(quotes=QUOTES, factor=st.floats(0.5, 3))
def test_prices_in_another_unit_give_the_same_value_in_that_unit(quotes: list[Quote], factor: float) -> None:
    moved = fuse([Quote(quote.quote_id, quote.log_value + math.log(factor), quote.months_ago, quote.skill) for quote in quotes])
    before = fuse(quotes)
    if before.outliers == moved.outliers:  # a quote just at the limit may fall to either side by rounding
        assert moved.log_value == pytest.approx(before.log_value + math.log(factor), abs=1e-6)
        assert moved.deviation == pytest.approx(before.deviation, rel=1e-6)


@settings(deadline=None)
@given(price=st.floats(20_000, 400_000), n=st.integers(2, 6), factor=st.sampled_from([0.1, 0.3, 3.0, 10.0]))
def test_a_slip_of_the_pen_among_agreeing_quotes_is_an_outlier(price: float, n: int, factor: float) -> None:
    quotes = [Quote(str(place), math.log(price * (1 + 0.02 * place)), 1, UNKNOWN) for place in range(n)]
    fused = fuse([*quotes, Quote("slip", math.log(price * factor), 1, UNKNOWN)])
    assert fused.outliers == (*[False] * n, True)
    assert fused.log_value == pytest.approx(fuse(quotes).log_value)


def test_two_that_contradict_each_other_are_said_to_and_none_is_preferred() -> None:
    fused = fuse([Quote("a", math.log(50_000), 0, UNKNOWN), Quote("b", math.log(150_000), 0, UNKNOWN)])
    assert fused.disagree
    assert fused.outliers == (False, False)
    near = fuse([Quote("a", math.log(50_000), 0, UNKNOWN), Quote("b", math.log(52_000), 0, UNKNOWN)])
    assert not near.disagree
    assert near.deviation < fused.deviation


def test_an_old_quote_counts_less() -> None:
    fused = fuse([Quote("new", math.log(50_000), 0, UNKNOWN), Quote("old", math.log(60_000), 24, UNKNOWN)])
    assert fused.weights[0] > 0.5
