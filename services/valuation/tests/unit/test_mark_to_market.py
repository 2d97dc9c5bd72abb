import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.domain.mark_to_market import Cars, learn_shift


def market(n: int, seed: int) -> tuple[Cars, np.ndarray, np.ndarray]:
    """Cars, their true shift and a noisy observation of it."""
    random = np.random.default_rng(seed)
    make = random.integers(0, 8, n)
    cars = Cars(random.normal(11, 0.6, n), random.uniform(1, 10, n), make, make * 10 + random.integers(0, 4, n), random.integers(0, 2, n))
    shift = 0.25 + 0.1 * (cars.log_value - 11) + 0.02 * cars.age_years + 0.04 * random.standard_normal(8)[make]
    return cars, shift, shift + 0.05 * random.standard_normal(n)


def test_a_sample_recovers_a_shift_that_bends_with_price_age_and_make() -> None:
    cars, truth, seen = market(2000, 1)
    rows = np.arange(200)
    mean, deviation = learn_shift(cars.take(rows), seen[rows]).at(cars.take(slice(200, None)))
    error = np.abs(mean - truth[200:])
    assert error.mean() < 0.4 * np.abs(truth[200:] - np.median(seen[rows])).mean()
    assert 0.7 < np.mean(error < 1.2816 * deviation) <= 1.0


@given(shift=st.floats(-1, 1), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_moving_every_price_by_a_factor_moves_the_answer_by_it(shift: float, seed: int) -> None:
    cars, _, seen = market(120, seed)
    rows = np.arange(60)
    before = learn_shift(cars.take(rows), seen[rows]).at(cars)[0]
    after = learn_shift(cars.take(rows), seen[rows] + shift).at(cars)[0]
    np.testing.assert_allclose(after - before, shift, atol=1e-7)


def test_wrong_prices_in_the_sample_hardly_matter() -> None:
    cars, _, seen = market(400, 2)
    wrong = seen.copy()
    wrong[:10] += np.log(10)
    rows = np.arange(200)
    clean = learn_shift(cars.take(rows), seen[rows]).at(cars)[0]
    dirty = learn_shift(cars.take(rows), wrong[rows]).at(cars)[0]
    assert np.median(np.abs(clean - dirty)) < 0.02


def test_a_handful_of_prices_moves_the_common_level_only() -> None:
    cars, _, _ = market(50, 3)
    mean, _ = learn_shift(cars.take(np.arange(6)), np.full(6, 0.3)).at(cars)
    np.testing.assert_allclose(mean, 0.3, atol=1e-6)


def test_too_few_prices_are_refused() -> None:
    cars, _, seen = market(4, 4)
    with pytest.raises(ValueError, match="too few"):
        learn_shift(cars, seen)
