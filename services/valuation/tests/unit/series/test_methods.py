from collections.abc import Callable

import numpy as np
import pytest

from carlien_valuation.series.ageing import age_steps, declining_balance
from carlien_valuation.series.backtest import Backtest
from carlien_valuation.series.baselines import AgeStep, MarketTrend, Persistence, StaticPerMake, Structural
from carlien_valuation.series.forecast import Method
from carlien_valuation.series.learned import Ridge, huber_ridge
from carlien_valuation.series.market import drift_weight, level_uncertainty, monthly_trend
from carlien_valuation.series.panel import NEW, Panel, month_number, parse_month


def snapshots(gap: int = 24, dates: int = 2, step: float = -0.08, drift: float = 0.0) -> Panel:
    """Exact ageing by `step` a year and market drift a month, seen every `gap` months; model years 2005..2020."""
    models, years = 30, np.arange(2005, 2021)
    code, year = np.repeat(np.arange(models), len(years)), np.tile(years, models)
    width = gap * (dates - 1) + 1
    log_price = np.full((len(code), width), np.nan)
    for date in range(0, width, gap):
        age = 2021 + date / 12 - year
        log_price[:, date] = 11 + 0.05 * code + step * age + drift * date
    return Panel(log_price, month_number(2021, 1), code % 3, code, code, code * 0, year)


def test_an_exact_cross_section_is_aged_exactly() -> None:
    panel = snapshots(dates=2)
    known = panel.until(panel.first_month)
    for method in (AgeStep(), StaticPerMake(), Structural()):
        forecast = method.fit(known, 24).forecast(24).log_p50
        np.testing.assert_allclose(forecast[panel.age_years(0) <= 10], panel.log_price[panel.age_years(0) <= 10, 24], atol=1e-9)


def test_steps_take_a_fraction_of_a_year() -> None:
    panel = snapshots(dates=1)
    steps = age_steps(panel, 0)
    assert steps is not None
    np.testing.assert_allclose(steps.change(np.array([2015, NEW]), 18), [-0.12, 0.0], atol=1e-12)


def test_structural_believes_a_drift_more_the_longer_it_was_seen() -> None:
    one, three = snapshots(dates=2, drift=0.01), snapshots(dates=4, drift=0.01)
    rates = []
    for panel in (one, three):
        curve = Structural().fit(panel, 24)
        ageing = AgeStep().fit(panel, 24).forecast(24).log_p50
        rates.append(float(np.median(curve.forecast(24).log_p50 - ageing)) / 24)
    assert 0 < rates[0] < rates[1] < 0.01
    assert rates[0] == pytest.approx(0.01 * drift_weight(24, 0.015), rel=1e-6)


def test_market_trend_is_the_median_of_monthly_medians(simulated: Callable[..., Panel]) -> None:
    panel = simulated()
    used = panel.change[~panel.is_new]
    assert monthly_trend(panel) == pytest.approx(float(np.median(np.median(used, axis=0))))
    forecast = MarketTrend().fit(panel, 6).forecast(6)
    assert forecast.fallback == ""


def test_declining_balance_of_a_make_with_one_model_year_is_the_markets() -> None:
    panel = snapshots(dates=1)
    lone = Panel(
        np.append(panel.log_price, [[9.0]], axis=0), panel.first_month, np.append(panel.make, 7), np.append(panel.family, 99),
        np.append(panel.code, 99), np.append(panel.fuel, 0), np.append(panel.model_year, 2015),
    )  # fmt: skip
    assert declining_balance(lone, 0, 10)[-1] == pytest.approx(-0.08)


def test_learned_methods_fall_back_where_one_month_is_all_they_could_learn_from(methods: tuple[Method, ...]) -> None:
    panel = snapshots(dates=3)
    for method in methods:
        fallback = method.fit(panel.until(panel.first_month + 24), 24).forecast(24).fallback
        assert (fallback != "") == (method.name in {"market_trend", "ridge", "lightgbm", "lstm", "blend"}), method.name


def test_the_incumbent_of_a_sparse_panel_is_structural(methods: tuple[Method, ...]) -> None:
    backtest = Backtest(snapshots(dates=2), methods, 24)
    assert backtest.champion(0, 24).name == "structural"


def test_a_challenger_that_clearly_beats_the_incumbent_becomes_champion(
    methods: tuple[Method, ...], simulated: Callable[..., Panel]
) -> None:
    still = simulated(months=16)
    frozen = np.repeat(still.log_price[:, :1], 16, axis=1) + 0.02 * np.random.default_rng(3).standard_normal((still.n_series, 1))
    random_walk = frozen + 0.0 * still.log_price
    random_walk[:, 6:] = random_walk[:, 5:6]  # prices moved once and then stood still
    panel = Panel(random_walk, still.first_month, still.make, still.family, still.code, still.fuel, still.model_year)
    backtest = Backtest(panel, tuple(m for m in methods if m.name in {"persistence", "structural", "blend"}), 3)
    assert backtest.champion(13, 3).name == "persistence"


def test_intervals_widen_with_the_horizon_and_cover(methods: tuple[Method, ...], simulated: Callable[..., Panel]) -> None:
    panel = simulated(months=24, models=60)
    backtest = Backtest(panel, methods, 6)
    trend = next(method for method in methods if method.name == "market_trend")
    near, far = backtest.interval(trend, 15, 2), backtest.interval(trend, 15, 6)
    assert np.all(far.p90 - far.p10 > near.p90 - near.p10)
    actual = panel.log_price[:, 21]
    assert 0.6 < np.mean((far.p10 <= actual) & (actual <= far.p90)) <= 0.98


def test_level_uncertainty_shrinks_with_history_and_grows_with_horizon() -> None:
    short, long = snapshots(dates=2), snapshots(dates=6)
    assert level_uncertainty(long, 24) < level_uncertainty(short, 24)
    assert level_uncertainty(long, 12) < level_uncertainty(long, 24)


def test_ridge_finds_what_a_make_does_beyond_its_market(simulated: Callable[..., Panel]) -> None:
    panel = simulated(months=24, models=60, noise=0.002)
    known = panel.until(panel.first_month + 17)
    candidates: tuple[Method, ...] = (Ridge(), MarketTrend(), Persistence())
    errors = {m.name: np.mean(np.abs(m.fit(known, 6).forecast(6).log_p50 - panel.log_price[:, 23])) for m in candidates}
    assert errors["ridge"] < 0.8 * errors["market_trend"] < errors["persistence"]


def test_huber_ridge_shrugs_off_outliers() -> None:
    random = np.random.default_rng(0)
    x = np.column_stack([random.standard_normal(500), np.ones(500)])
    y = x @ np.array([2.0, 1.0]) + 0.1 * random.standard_normal(500)
    y[:25] += 100
    np.testing.assert_allclose(huber_ridge(x, y, np.ones(500), 0.0), [2.0, 1.0], atol=0.15)


def test_a_panel_before_its_first_month_is_refused(simulated: Callable[..., Panel]) -> None:
    with pytest.raises(ValueError, match="no data up to 2019-12"):
        simulated().until(parse_month("2019-12"))


@pytest.mark.parametrize("text", ["2020-13", "20-01", "x", "2020"])
def test_a_month_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no month"):
        parse_month(text)
