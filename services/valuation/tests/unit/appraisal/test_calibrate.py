import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.training.calibrate import LEVELS, QuantileMap, calibrated, fit_group_offsets, fit_map, moved
from carlien_valuation.training.stack import gain_of_averaging


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


def test_a_make_that_strays_less_gets_a_narrower_interval_and_a_rare_one_none_of_its_own() -> None:
    random = np.random.default_rng(2)
    make = random.choice(4, 20_000, p=[0.001, 0.599, 0.398, 0.002])
    truth = random.normal(0, np.array([0.1, 0.1, 0.05, 0.1])[make])
    quantiles = np.tile([-0.1, 0.0, 0.1], (20_000, 1))
    fit, test = slice(0, 10_000), slice(10_000, None)
    offsets = fit_group_offsets(quantiles[fit], truth[fit], make[fit], 4)
    low, middle, high = moved(quantiles[test], offsets[make[test]]).T
    inside = (low <= truth[test]) & (truth[test] <= high)
    for one in (1, 2):
        assert 0.78 < inside[make[test] == one].mean() < 0.82
    assert not offsets[[0, 3]].any()
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_witnesses_tell_what_averaging_gains() -> None:
    random = np.random.default_rng(3)
    truth = random.normal(size=500)
    alike, apart = random.normal(size=500), random.normal(size=(5, 500))
    assert gain_of_averaging(truth + np.tile(alike, (5, 1)), truth) == pytest.approx(1.0)
    assert 0.4 < gain_of_averaging(truth + apart, truth) < 0.5  # independent errors of five: a factor of the root of a fifth
    assert gain_of_averaging(np.zeros((5, 0)), np.zeros(0)) == 1.0
