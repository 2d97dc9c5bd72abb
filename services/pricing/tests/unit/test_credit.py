"""Golden values of the reference, and creditriskengine's published PSI bands are not re-stated here."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_pricing.domain.collateral import Z90, Recovery, forecast_path, lognormal_put, loss_given_default, value_path
from carlien_pricing.domain.credit import (
    StagingRules,
    cumulative_pd,
    expected_credit_loss,
    ifrs9_stages,
    irb_capital,
    marginal_pd,
    population_stability_index,
)
from carlien_pricing.domain.normal import normal_cdf
from carlien_pricing.domain.raroc import Deal, Economics, LoanShape, RiskInputs
from carlien_pricing.domain.schedule import RepaymentMethod
from carlien_pricing.domain.simulation import simulate_losses


@pytest.mark.parametrize(("pd", "lgd", "printed"), [(0.02, 0.45, "0.046389"), (0.05, 0.35, "0.041325"), (0.01, 0.25, "0.020343")])
def test_irb_capital_golden(pd: float, lgd: float, printed: str) -> None:
    assert f"{irb_capital(pd, lgd):.6f}" == printed


def test_psi_golden() -> None:
    assert f"{population_stability_index([0.2] * 5, [0.10, 0.15, 0.20, 0.25, 0.30]):.6f}" == "0.135403"


def test_normal_cdf_against_the_standard_library() -> None:
    x = np.linspace(-8, 8, 2001)
    exact = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    assert np.allclose(normal_cdf(x), exact, rtol=3e-7, atol=1e-300)


@given(st.floats(0.0001, 0.9), st.integers(1, 60))
def test_pd_curve_reaches_the_twelve_month_pd_and_rises(pd: float, months: int) -> None:
    curve = cumulative_pd(pd, [0.5, 1.0, 1.5, 1.0], max(months, 12))
    assert curve[11] == pytest.approx(pd, rel=1e-9)
    assert (np.diff(curve) > 0).all()
    assert marginal_pd(curve).sum() == pytest.approx(curve[-1])


def test_ecl_is_the_sum_of_its_parts() -> None:
    marginal, lgd, exposure = np.full(24, 0.002), np.full(24, 0.4), np.full(24, 1000.0)
    allowance = expected_credit_loss(marginal, lgd, exposure, 0.01, stage=1)
    assert allowance.twelve_month == pytest.approx(sum(0.8 / 1.01**m for m in range(1, 13)))
    assert allowance.lifetime == pytest.approx(sum(0.8 / 1.01**m for m in range(1, 25)))
    assert allowance.booked == allowance.twelve_month


@pytest.mark.parametrize(
    ("days", "now", "then", "stage"),
    [
        (0, 0.02, 0.02, 1), (30, 0.02, 0.02, 1), (31, 0.02, 0.02, 2), (0, 0.05, 0.02, 2), (90, 0.02, 0.02, 2), (91, 0.02, 0.02, 3),
        (0, 0.004, 0.001, 1), (0, 0.02, math.nan, 2), (math.nan, 0.02, 0.02, 2), (91, 0.02, math.nan, 3),
    ],
)  # fmt: skip
def test_ifrs9_stages(days: float, now: float, then: float, stage: int) -> None:
    assert ifrs9_stages(np.array([days]), np.array([now]), np.array([then]), StagingRules()) == [stage]


def test_put_against_numerical_integration() -> None:
    z = np.linspace(-9, 9, 200_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    for median, sigma, strike in [(100.0, 0.3, 80.0), (100.0, 0.1, 120.0), (50.0, 0.6, 50.0)]:
        exact = float((np.maximum(strike - median * np.exp(sigma * z), 0) * density).sum() * (z[1] - z[0]))
        ours = lognormal_put(np.array([median]), np.array([sigma]), np.array([strike]))[0]
        assert ours == pytest.approx(exact, rel=1e-5)


RECOVERY = Recovery(5, 0.08, 0.9, 0.92, 0.1)


def example(pd: float = 0.03, p10: float = 80_000.0) -> tuple[LoanShape, RiskInputs, Economics]:
    shape = LoanShape(70_000.0, 24, RepaymentMethod.EQUAL_PAYMENT, 0.0, 0, 0.0, 0.0)
    path = value_path(100_000.0, p10, 0.15, 0.1, 0.08, 30)
    return shape, RiskInputs(pd, cumulative_pd(pd, [1.0], 24), path, RECOVERY), Economics(0.03, 700.0, 15.0, 0.25, 0.15, 0.04)


def test_loss_rises_with_prior_claims_and_falls_with_recoverability() -> None:
    _, risk, _ = example()
    exposure = np.full(24, 70_000.0)
    base = loss_given_default(risk.path, RECOVERY, exposure, 0.1)
    behind = loss_given_default(risk.path, Recovery(5, 0.08, 0.9, 0.92, 0.1, prior_claims=30_000.0), exposure, 0.1)
    lost = loss_given_default(risk.path, Recovery(5, 0.08, 0.9, 0.6, 0.1), exposure, 0.1)
    assert (behind > base).all()
    assert (lost > base).all()
    assert (base <= exposure).all()


def test_the_solved_rate_earns_exactly_the_hurdle() -> None:
    shape, risk, costs = example()
    rate = Deal(shape, risk, costs).rate_for_hurdle()
    assert rate is not None
    assert Deal(shape, risk, costs).profitability(rate).raroc == pytest.approx(costs.hurdle, abs=1e-6)


@given(st.floats(0.001, 0.2), st.floats(0.001, 0.2), st.floats(40_000.0, 99_000.0), st.floats(40_000.0, 99_000.0))
def test_worse_risk_is_never_cheaper(pd_a: float, pd_b: float, p10_a: float, p10_b: float) -> None:
    rates = []
    for pd, p10 in ((min(pd_a, pd_b), max(p10_a, p10_b)), (max(pd_a, pd_b), min(p10_a, p10_b))):
        rate = Deal(*example(pd, p10)).rate_for_hurdle()
        assert rate is not None
        rates.append(rate)
    assert rates[0] <= rates[1] + 1e-7


class TestSimulation:
    def test_without_correlation_it_meets_the_closed_form(self) -> None:
        shape, risk, costs = example()
        found = Deal(shape, risk, costs).profitability(0.1)
        losses = simulate_losses(risk.path, RECOVERY, risk.cumulative_pd, found.exposure, 0.1, market_correlation=0.0)
        loss = loss_given_default(risk.path, RECOVERY, found.exposure, 0.1)
        months = np.arange(1, 25)
        closed = float((marginal_pd(risk.cumulative_pd) * loss * (1 + 0.1 / 12) ** -months).sum())
        assert losses.expected_loss == pytest.approx(closed, rel=0.02)

    def test_dependence_raises_the_loss_and_the_tail_lies_beyond_the_mean(self) -> None:
        shape, risk, costs = example()
        found = Deal(shape, risk, costs).profitability(0.1)
        arguments = (risk.path, RECOVERY, risk.cumulative_pd, found.exposure, 0.1)
        alone, together = simulate_losses(*arguments, 0.0), simulate_losses(*arguments, 0.15)
        assert together.expected_loss > alone.expected_loss
        assert together.expected_shortfall_99 >= together.percentile_99 >= 0
        assert together.expected_shortfall_99 > together.expected_loss

    def test_the_same_inputs_give_the_same_bits(self) -> None:
        shape, risk, costs = example()
        found = Deal(shape, risk, costs).profitability(0.1)
        arguments = (risk.path, RECOVERY, risk.cumulative_pd, found.exposure, 0.1, 0.1)
        first, second = simulate_losses(*arguments), simulate_losses(*arguments)
        assert first.expected_loss == second.expected_loss
        assert (first.shortfall_probability == second.shortfall_probability).all()


class TestForecastPath:
    AHEAD = np.array([0.0, 12.0, 24.0])
    P50 = np.array([90.0, 80.0, 70.0])
    P10 = np.array([80.0, 65.0, 50.0])

    def test_it_follows_the_forecast_from_the_appraised_value(self) -> None:
        path = forecast_path(100.0, 90.0, self.AHEAD, self.P50, self.P10, 0.05, 0.12, 36)
        assert path.median[0] == pytest.approx(100)
        assert path.median[24] == pytest.approx(100 * 70 / 90)
        assert path.median[36] == pytest.approx(path.median[24] * 0.88)
        assert path.deviation()[24] == pytest.approx(math.log(70 / 50) / Z90)
        assert path.deviation()[36] > path.deviation()[24]
        assert path.percentile_10()[24] == pytest.approx(100 * 50 / 90)

    def test_a_forecast_narrower_than_the_appraisal_does_not_narrow_it(self) -> None:
        path = forecast_path(100.0, 70.0, self.AHEAD, self.P50, self.P50 * 0.999, 0.05, 0.12, 24)
        assert (np.diff(path.deviation()) >= 0).all()
        assert path.deviation()[0] == pytest.approx(math.log(100 / 70) / Z90)
