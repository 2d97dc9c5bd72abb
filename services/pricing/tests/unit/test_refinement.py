"""What a sum of points can't say: found where it is there, left alone where it isn't, held to its directions, taken apart exactly."""

import numpy as np
import numpy.typing as npt
import pytest

from carlien_pricing.adapters.codec import from_json, to_json
from carlien_pricing.domain.scorecard import Scorecard
from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.measure import auc
from carlien_pricing.training.refinement import fit_borrower_model, log_odds
from carlien_pricing.training.tables import scorecard_log_odds

Array = npt.NDArray[np.float64]
ATTRIBUTES = (
    Attribute("debt", False, "rising", {}),
    Attribute("left", False, "auto", {}),
    Attribute("right", False, "auto", {}),
    Attribute("branch", True, "auto", {"a": 1.0, "b": 2.0}),
)


def market(n: int, together: float) -> tuple[Array, npt.NDArray[np.int64]]:
    """`together`: how much two attributes say only beside each other. A tenth of one is missing."""
    generator = np.random.default_rng(5)
    debt, left, right = generator.gamma(2, 1, n), generator.normal(size=n), generator.normal(size=n)
    branch = generator.integers(1, 3, n).astype(np.float64)
    truth = -2 + 0.5 * debt + 0.4 * (branch == 2) + together * left * right
    y = (generator.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    left[generator.random(n) < 0.1] = np.nan
    return np.column_stack([debt, left, right, branch]), y


@pytest.fixture(scope="module")
def refined() -> tuple[Scorecard, Array, npt.NDArray[np.int64]]:
    x, y = market(3000, 1.0)
    return fit_borrower_model(ATTRIBUTES, x, y), x, y


def test_it_is_found_where_it_is_there_and_only_there(refined: tuple[Scorecard, Array, npt.NDArray[np.int64]]) -> None:
    card, _, _ = refined
    x, y = market(3000, 1.0)
    fresh = np.random.default_rng(6).permutation(len(y))[:1500]
    assert card.refinement is not None
    assert set(card.refinement.turning) <= {"left", "right"}
    points = scorecard_log_odds(card, ATTRIBUTES, x[fresh])
    assert auc(log_odds(card, ATTRIBUTES, x[fresh]), y[fresh]) > auc(points, y[fresh]) + 0.05
    additive = market(3000, 0.0)
    assert fit_borrower_model(ATTRIBUTES, *additive).refinement is None


def features(row: Array) -> dict[str, float]:
    return {attribute.name: float(value) for attribute, value in zip(ATTRIBUTES, row, strict=True) if not np.isnan(value)}


def test_one_borrower_and_many_are_the_same_arithmetic(refined: tuple[Scorecard, Array, npt.NDArray[np.int64]]) -> None:
    card, x, _ = refined
    served = from_json(Scorecard, to_json(card))
    many = log_odds(card, ATTRIBUTES, x[:200])
    for row, expected in zip(x[:200], many, strict=True):
        found = served.contributions(features(row))
        assert served.intercept + sum(found.values()) == pytest.approx(expected, abs=1e-9)


def test_what_is_declared_to_raise_risk_raises_it_for_everybody(refined: tuple[Scorecard, Array, npt.NDArray[np.int64]]) -> None:
    card, x, _ = refined
    for row in x[:40]:
        pds = [card.assess({**features(row), "debt": debt}).pd_12m for debt in np.linspace(0, 8, 30)]
        assert pds == sorted(pds)


def test_reasons_name_attributes(refined: tuple[Scorecard, Array, npt.NDArray[np.int64]]) -> None:
    card, x, _ = refined
    names = {f"RISK_{attribute.name.upper()}" for attribute in ATTRIBUTES}
    for row in x[:50]:
        assert set(card.assess(features(row)).reason_codes) <= names
