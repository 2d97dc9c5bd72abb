"""The served trees are LightGBM's own, whatever the features hold."""

import lightgbm as lgb
import numpy as np
import pytest

from carlien_valuation.training.forest import Forest, forest_of
from carlien_valuation.training.states import StateForest


def fitted(matrix: np.ndarray, target: np.ndarray, seed: int, leaves: int = 31) -> lgb.Booster:
    params = {"num_leaves": leaves, "min_data_in_leaf": 3, "min_data_per_group": 3, "verbosity": -1, "seed": seed, "num_threads": 1}
    return lgb.train(params, lgb.Dataset(matrix, target, categorical_feature=[3, 4]), 30)


def table(rows: int, seed: int) -> np.ndarray:
    """Two numbers with gaps, one without, a small and a large set of categories."""
    random = np.random.default_rng(seed)
    matrix = np.column_stack([
        random.normal(size=rows), random.exponential(size=rows).round(1), random.normal(size=rows) * 1e5, random.integers(0, 5, rows),
        random.integers(0, 300, rows),
    ])  # fmt: skip
    matrix[random.random(rows) < 0.2, 0] = np.nan
    matrix[random.random(rows) < 0.1, 1] = np.nan
    return matrix.astype(np.float32)


@pytest.mark.parametrize("rows", [1, 7, 64, 333])
def test_a_forest_answers_what_its_boosters_answer_on_average(rows: int) -> None:
    matrix = table(2000, 1)
    target = np.nan_to_num(matrix[:, 0]) + np.sin(matrix[:, 4]) + matrix[:, 3] ** 2 + matrix[:, 2] / 1e5
    boosters = [fitted(matrix, target, seed, leaves) for seed, leaves in ((1, 31), (2, 64))]
    forest = forest_of(boosters)
    asked = table(rows, 2)
    asked[rows // 2, 2] = np.nan  # never missing in training
    asked[0, 4] = 9999  # a category beyond all that were seen
    assert forest.trees == 60
    np.testing.assert_allclose(forest.predict(asked), np.mean([one.predict(asked) for one in boosters], axis=0), rtol=1e-12)


def test_it_comes_back_from_arrays_and_ignores_columns_it_was_not_made_for() -> None:
    matrix = table(500, 3)
    booster = fitted(matrix, matrix[:, 2] / 1e5, 4)
    forest = forest_of([booster], skipped_columns=2)
    again = Forest.of_arrays("centre_", forest.arrays("centre_"))
    wider = np.column_stack([np.full((500, 2), 7.0), matrix]).astype(np.float32)
    np.testing.assert_allclose(again.predict(wider), booster.predict(matrix), rtol=1e-12)
    assert len(again.predict(wider[:0])) == 0


def test_a_booster_that_never_splits_is_a_constant() -> None:
    matrix = table(100, 5)
    forest = forest_of([fitted(matrix, np.full(100, 3.0), 1)])
    assert forest.predict(matrix) == pytest.approx(np.full(100, 3.0))


def test_trees_of_more_leaves_than_a_word_has_bits_are_refused() -> None:
    matrix = table(5000, 6)
    with pytest.raises(ValueError, match="leaves"):
        forest_of([fitted(matrix, matrix[:, 2] + matrix[:, 4], 1, leaves=255)])


def test_states_of_few_descriptions_are_answered_as_cars_of_their_own() -> None:
    matrix = table(2000, 7)
    target = np.nan_to_num(matrix[:, 0]) * 3 + matrix[:, 1] + np.sin(matrix[:, 4]) + matrix[:, 3] ** 2
    forest = forest_of([fitted(matrix, target, seed, leaves) for seed, leaves in ((1, 31), (2, 64))])
    descriptions, random = table(90, 8), np.random.default_rng(9)
    rows = random.integers(0, 90, 1500)
    guarded = table(1500, 10)[:, :2]
    whole = descriptions[rows]
    whole[:, :2] = guarded
    states = StateForest.of(forest, 2)
    np.testing.assert_array_equal(states.predict(descriptions, guarded, rows), forest.predict(whole))
    np.testing.assert_array_equal(states.predict(descriptions, descriptions[:, :2], None), forest.predict(descriptions))
    assert len(states.predict(descriptions, guarded[:0], rows[:0])) == 0
