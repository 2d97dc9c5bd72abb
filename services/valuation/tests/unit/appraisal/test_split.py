import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_valuation.training.split import MILEAGE_BAND, drop_duplicates, fingerprints, folds, split

cars = st.lists(st.tuples(st.sampled_from("ab"), st.integers(2014, 2016), st.integers(0, 30_000)), min_size=8, max_size=120)


def frame(rows: list[tuple[str, int, int]], days: list[int] | None = None) -> pd.DataFrame:
    data = pd.DataFrame(rows, columns=["model", "year", "odometer_km"])
    return data.assign(
        source=[f"f:{index}" for index in range(len(rows))],
        make="m",
        trim="",
        as_of=days or 18_000,
        odometer_km=data["odometer_km"].astype(float),
    )


def relisted(data: pd.DataFrame, one: int, other: int) -> bool:
    same = all(data[name].iloc[one] == data[name].iloc[other] for name in ("model", "year"))
    low, high = sorted(float(data["odometer_km"].iloc[row]) + 1 for row in (one, other))
    return same and high <= low * (1 + MILEAGE_BAND) * (1 - 1e-12)


@settings(max_examples=60, deadline=None)
@given(cars, st.integers(0, 5))
def test_no_relisting_is_on_both_sides(rows: list[tuple[str, int, int]], seed: int) -> None:
    data = frame(rows)
    parts = split(data, "group", seed)
    assert sorted([*parts.train, *parts.test]) == list(range(len(data)))
    assert not any(relisted(data, one, other) for one in parts.train for other in parts.test)
    numbers = folds(fingerprints(data), 3, seed)
    assert not any(numbers[one] != numbers[other] for one in range(len(data)) for other in range(one) if relisted(data, one, other))


def test_a_split_by_time_tests_the_latest_and_trains_on_no_earlier_listing_of_a_test_car() -> None:
    rows = [("a", 2015, 1000 * index) for index in range(100)]
    days = [18_000 + 3 * index for index in range(100)]
    data = frame([*rows, rows[-1]], [*days, 18_000])
    parts = split(data, "auto", 1)
    assert parts.kind == "time"
    assert data["as_of"].iloc[parts.train].max() < data["as_of"].iloc[parts.test].min()
    assert 100 not in parts.train


def test_dates_that_hardly_spread_are_split_by_group() -> None:
    assert (
        split(frame([("a", 2015, 1000 * index) for index in range(50)], [18_000 + index % 20 for index in range(50)]), "auto", 1).kind
        == "group"
    )


def test_duplicates_are_equal_in_all_but_their_place() -> None:
    data = frame([("a", 2015, 5), ("a", 2015, 5), ("a", 2015, 6)])
    kept, removed = drop_duplicates(data)
    assert (len(kept), removed) == (2, 1)


def test_folds_are_even() -> None:
    numbers = folds(np.arange(1000), 5, 0)
    assert np.bincount(numbers).tolist() == [200] * 5
