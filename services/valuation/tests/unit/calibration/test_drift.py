import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.domain.calibration import Light
from carlien_valuation.domain.drift import (
    CategoryReference,
    NumberReference,
    category_drift,
    category_reference,
    number_drift,
    number_reference,
    training_reference,
)


def test_the_index_is_the_textbook_one() -> None:
    """Two bins, 50/50 in training, 60/40 now: 0.1 x ln(1.2) + (-0.1) x ln(0.8) = 0.0405."""
    found = number_drift(NumberReference((0.0,), (0.5, 0.5)), 1_000_000, np.repeat([-1.0, 1.0], [600_000, 400_000]))
    assert found is not None
    assert found.psi == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8), rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(30, 3000), seed=st.integers(0, 10_000))
def test_the_same_population_is_never_red(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference = number_reference(random.gamma(2, 3, 5000))
    assert reference is not None
    found = number_drift(reference, 5000, random.gamma(2, 3, n))
    assert found is not None
    # Chance alone makes yellow now and then where sales are few; red needs a shift.
    assert found.light is not Light.RED or (n < 100 and found.psi < 3 * found.chance)


def test_another_population_is_red_and_too_few_cars_say_nothing() -> None:
    random = np.random.default_rng(1)
    reference = number_reference(random.gamma(2, 3, 5000))
    assert reference is not None
    moved = number_drift(reference, 5000, random.gamma(2, 3, 500) + 4)
    assert moved is not None
    assert moved.light is Light.RED
    assert number_drift(reference, 5000, np.ones(20)) is None
    assert number_drift(reference, 5000, np.full(500, np.nan)) is None


def test_makes_that_were_never_seen_are_a_bin_of_their_own() -> None:
    reference = category_reference(["audi"] * 500 + ["bmw"] * 500)
    assert reference is not None
    same = category_drift(reference, 1000, ["audi", "bmw"] * 100)
    other = category_drift(reference, 1000, ["byd"] * 200)
    assert same is not None
    assert other is not None
    assert same.light is Light.GREEN
    assert other.light is Light.RED
    assert np.isfinite(other.psi)


def test_ties_make_fewer_bins_and_what_does_not_vary_has_no_reference() -> None:
    reference = number_reference(np.repeat([1.0, 2.0, 3.0], 100))
    assert reference is not None
    assert sum(reference.shares) == pytest.approx(1.0)
    assert number_reference(np.ones(100)) is None
    document = training_reference({"age_years": np.ones(100), "odometer_km": np.arange(100.0)}, ["a"] * 100)
    assert set(document) == {"odometer_km"}
    assert isinstance(CategoryReference({"a": 1.0}).shares, dict)
