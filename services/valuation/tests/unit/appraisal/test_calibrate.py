import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.training.calibrate import LEVELS, QuantileMap, calibrated, fit_map


def test_calibration_brings_coverage_to_eighty_in_every_tercile() -> None:
    random = np.random.default_rng(0)
    centre = random.uniform(8, 11, 30_000)
    truth = centre + random.normal(0, 0.05 + 0.15 * (11 - centre) / 3, 30_000)
    raw = np.column_stack([centre - 0.02, centre, centre + 0.02])
    fit, test = slice(0, 15_000), slice(15_000, None)
    maps = tuple(fit_map(raw[fit, index], truth[fit], level) for index, level in enumerate(LEVELS))
    low, _, high = calibrated(raw[test], maps).T  # type: ignore[arg-type]
    inside = (low <= truth[test]) & (truth[test] <= high)
    part = np.searchsorted(np.quantile(centre[test], [1 / 3, 2 / 3]), centre[test])
    for tercile in range(3):
        assert 0.78 < inside[part == tercile].mean() < 0.82


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=160, max_size=200), st.integers(0, 1000), st.sampled_from(LEVELS))
def test_a_map_never_falls(raw: list[float], seed: int, level: float) -> None:
    values = np.array(raw)
    fitted = fit_map(values, np.random.default_rng(seed).normal(-values, 1), level)
    grid = np.linspace(-4, 4, 400)
    assert (np.diff(fitted(grid)) >= -1e-9).all()


def test_quantiles_never_cross() -> None:
    maps = (QuantileMap((0.0,), (0.5,)), QuantileMap((0.0,), (0.0,)), QuantileMap((0.0,), (-0.5,)))
    out = calibrated(np.random.default_rng(1).normal(size=(50, 3)), maps)
    assert (np.diff(out, axis=1) >= 0).all()
