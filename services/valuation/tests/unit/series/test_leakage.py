"""Nothing after the origin may change a forecast, an interval or the choice of the champion."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carlien_valuation.series.backtest import Backtest
from carlien_valuation.series.features import features, training_pairs
from carlien_valuation.series.forecast import Method
from carlien_valuation.series.panel import Panel


def disturbed(panel: Panel, after: int, seed: int) -> Panel:
    log_price = panel.log_price.copy()
    later = log_price[:, after + 1 :]
    random = np.random.default_rng(seed)
    later += random.standard_normal(later.shape)
    later[random.random(later.shape) < 0.3] = np.nan
    return Panel(log_price, panel.first_month, panel.make, panel.family, panel.code, panel.fuel, panel.model_year)


@pytest.mark.parametrize("origin", [8, 13])
def test_the_future_changes_neither_forecast_nor_interval_nor_champion(
    methods: tuple[Method, ...], origin: int, simulated: Callable[..., Panel]
) -> None:
    panel = simulated()
    answers = []
    for version in (panel, disturbed(panel, origin, seed=1)):
        backtest = Backtest(version, methods, longest=6)
        intervals = [backtest.interval(method, origin, 6) for method in methods]
        answers.append((backtest.champion(origin, 6).name, [(i.p10, i.p50, i.p90) for i in intervals]))
    (champion, before), (champion_after, after) = answers
    assert champion == champion_after
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@given(column=st.integers(1, 18), seed=st.integers(0, 1000))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_features_of_a_month_stay_when_later_months_change(column: int, seed: int, simulated: Callable[..., Panel]) -> None:
    panel = simulated()
    np.testing.assert_array_equal(features(panel, column), features(disturbed(panel, column, seed), column))


def test_training_targets_end_within_the_panel(simulated: Callable[..., Panel]) -> None:
    panel = simulated(months=10)
    pairs = training_pairs(panel, longest=6, seed=0)
    assert pairs is not None
    assert np.max(pairs.anchor + pairs.k) == 9


def test_a_disturbed_past_does_change_the_forecast(methods: tuple[Method, ...], simulated: Callable[..., Panel]) -> None:
    """The test above would also pass for a method that ignores its data."""
    panel = simulated()
    other = disturbed(panel, 5, seed=2)
    for method in methods:
        one = method.fit(panel.until(panel.first_month + 13), 6).forecast(6).log_p50
        two = method.fit(other.until(panel.first_month + 13), 6).forecast(6).log_p50
        assert not np.array_equal(one, two), method.name
