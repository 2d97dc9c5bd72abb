import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.domain.market_index import Index, Prices, age_basis, hedonic, nowcast, repeat_price

MONTHS = 24
AGE = np.array([-0.12, 0.03, 0.02, 0.01, 0.0])


def listings(seed: int, n: int = 4000, newer_later: float = 0.0) -> tuple[Prices, np.ndarray]:
    """Cars of 40 models and the log index they were priced with; `newer_later` makes the mix change over time."""
    random = np.random.default_rng(seed)
    truth = np.cumsum(np.concatenate([[0.0], random.normal(0.002, 0.02, MONTHS - 1)]))
    month = random.integers(0, MONTHS, n)
    model = random.integers(0, 40, n)
    age = np.clip(random.uniform(0.5, 12, n) - newer_later * month, 0.1, None)
    use = random.normal(0, 0.4, n)
    level = random.normal(11, 0.5, 40)
    log_price = level[model] + age_basis(age) @ AGE - 0.05 * use + truth[month] + random.normal(0, 0.08, n)
    return Prices(log_price, month + 100, model, age, use), truth


def panel(seed: int, cars: int = 300) -> tuple[Prices, np.ndarray, np.ndarray]:
    """The same cars at every month, ageing."""
    random = np.random.default_rng(seed)
    truth = np.cumsum(np.concatenate([[0.0], random.normal(0.0, 0.02, MONTHS - 1)]))
    item, month = np.repeat(np.arange(cars), MONTHS), np.tile(np.arange(MONTHS), cars)
    age = random.uniform(0.5, 8, cars)[item] + month / 12
    log_price = random.normal(11, 0.5, cars)[item] + age_basis(age) @ AGE + truth[month] + random.normal(0, 0.02, len(item))
    return Prices(log_price, month + 100, item % 30, age, np.zeros(len(item))), item, truth


def off(index: Index, truth: np.ndarray) -> np.ndarray:
    """How many standard errors each month's log level is from the truth, base month left out."""
    assert index.level[0] == pytest.approx(100)
    return np.asarray((np.log(index.level / 100) - truth)[1:] / index.standard_error[1:])


@pytest.mark.parametrize("newer_later", [0.0, 0.2])
def test_hedonic_recovers_the_index_also_when_the_mix_gets_younger(newer_later: float) -> None:
    errors = []
    for seed in range(6):
        prices, truth = listings(seed, newer_later=newer_later)
        index = hedonic(prices)
        assert index is not None
        errors.append(off(index, truth))
    assert np.mean(np.abs(np.concatenate(errors)) < 2) > 0.85
    assert np.max(np.abs(np.concatenate(errors))) < 5


def test_a_mean_price_would_not_have_recovered_it() -> None:
    prices, truth = listings(0, newer_later=0.2)
    means = np.array([prices.log_price[prices.month == 100 + month].mean() for month in range(MONTHS)])
    index = hedonic(prices)
    assert index is not None
    assert np.abs(np.log(index.level / 100) - truth).max() < 0.3 * np.abs(means - means[0] - truth).max()


def test_repeat_price_recovers_the_index_given_the_age_profile() -> None:
    prices, item, truth = panel(1)
    index = repeat_price(prices, item, tuple(AGE))
    assert index is not None
    assert np.abs(np.log(index.level / 100) - truth).max() < 0.01
    assert np.mean(np.abs(off(index, truth)) < 2.5) > 0.8


def test_repeat_price_without_ageing_taken_out_falls_behind() -> None:
    prices, item, truth = panel(1)
    index = repeat_price(prices, item, (0.0,) * 5)
    assert index is not None
    assert (np.log(index.level / 100) - truth)[-1] < -0.1


@given(factor=st.floats(0.01, 100), base=st.integers(100, 123))
@settings(max_examples=15, deadline=None)
def test_currency_does_not_matter_and_the_base_month_is_100(factor: float, base: int) -> None:
    prices, _ = listings(3, n=600)
    other = Prices(prices.log_price + np.log(factor), prices.month, prices.model, prices.age_years, prices.log_use)
    one, two = hedonic(prices, base), hedonic(other, base)
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one.level, two.level, rtol=1e-6)
    assert one.at(base) == pytest.approx(100)


def test_wrong_prices_hardly_move_it() -> None:
    prices, truth = listings(4)
    wrong = prices.log_price.copy()
    wrong[::50] += np.log(10)
    index = hedonic(Prices(wrong, prices.month, prices.model, prices.age_years, prices.log_use))
    assert index is not None
    assert np.abs(np.log(index.level / 100) - truth).max() < 0.05


def test_thin_months_have_no_level_of_their_own() -> None:
    prices, _ = listings(5, n=2000)
    keep = (prices.month != 110) | (np.cumsum(prices.month == 110) <= 3)
    thin = prices.take(keep)
    index = hedonic(thin)
    assert index is not None
    assert 110 not in index.month
    assert index.at(110) == index.at(109)
    with pytest.raises(KeyError):
        index.at(99)


def test_one_month_makes_no_index() -> None:
    prices, item, _ = panel(2, cars=10)
    first = prices.month == 100
    only = prices.take(first)
    assert hedonic(only) is None
    assert repeat_price(only, item[first], tuple(AGE)) is None


def test_nowcast_moves_further_the_more_prices_say_so() -> None:
    random = np.random.default_rng(0)
    ratios = -0.05 + 0.08 * random.standard_normal(500)
    few, many = nowcast(120, ratios[:5], 1, 0.01), nowcast(120, ratios, 1, 0.01)
    assert 120 > few.level > many.level > 120 * np.exp(-0.06)
    assert few.standard_error > many.standard_error
    assert nowcast(120, np.array([]), 4, 0.01).level == 120
    assert nowcast(120, np.array([]), 4, 0.01).standard_error == pytest.approx(0.02)
