"""The scorecard, on a market of ours with known truth; on real loans where they are there."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.codec import to_json
from carlien_pricing.adapters.models import ModelError, load_scorecard
from carlien_pricing.cli import main
from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.training.loans import read_loans, read_mapping
from carlien_pricing.training.measure import auc, calibration, kolmogorov_smirnov, measures, stability

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

CARD = Scorecard(
    "card-1",
    -2.0,
    (
        ScorecardAttribute("income", False, (1000.0, 2000.0), (), (0.5, 0.0, -0.5), 0.2),
        ScorecardAttribute("job", True, (), (1.0, 2.0), (0.3, -0.3), 0.0),
        ScorecardAttribute("burden", False, (0.5,), (), (-0.2, 0.4), 0.0),
    ),
    (("burden", "amount", "income"),),
)


class TestScoring:
    def test_contributions_add_up(self) -> None:
        facts = CARD.assess({"income": 1500.0, "job": 1.0, "amount": 1000.0})
        assert facts.pd_12m == pytest.approx(1 / (1 + math.exp(2.0 - 0.0 - 0.3 - 0.4)))
        assert (facts.origin, facts.model_version) == ("MODEL", "card-1")
        assert facts.reason_codes == ("RISK_BURDEN", "RISK_JOB", "RISK_INCOME")

    def test_missing_is_a_value_of_its_own(self) -> None:
        assert CARD.contributions({})["income"] == 0.2
        assert CARD.contributions({"job": 9.0})["job"] == 0.0
        assert CARD.contributions({"amount": 5.0, "income": 0.0})["burden"] == 0.0

    def test_an_unknown_feature_is_an_error(self) -> None:
        with pytest.raises(DomainError) as caught:
            CARD.assess({"incme": 1.0})
        assert caught.value.violations[0].field == "borrower.features.incme"

    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
    def test_risk_never_rises_with_income(self, a: float, b: float) -> None:
        low, high = sorted((a, b))
        assert CARD.log_odds({"income": low}) >= CARD.log_odds({"income": high})

    def test_points(self) -> None:
        assert CARD.points(-math.log(20)) == pytest.approx(600)
        assert CARD.points(-math.log(40)) == pytest.approx(640)

    def test_a_model_that_turns_is_not_loaded(self, tmp_path: Path) -> None:
        path = tmp_path / "card.json"
        path.write_text(to_json(CARD), encoding="utf-8")
        assert load_scorecard(path) == CARD
        path.write_text(to_json(CARD).replace("[0.5,0.0,-0.5]", "[0.5,-0.5,0.0]"), encoding="utf-8")
        with pytest.raises(ModelError, match="not monotone"):
            load_scorecard(path)


class TestMeasures:
    """Against scikit-learn and SciPy."""

    @given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=10, max_size=200))
    @settings(max_examples=50)
    def test_auc_and_ks(self, rows: list[tuple[int, bool]]) -> None:
        from scipy.stats import ks_2samp
        from sklearn.metrics import roc_auc_score

        score = np.array([value for value, _ in rows], dtype=float)
        y = np.array([bad for _, bad in rows], dtype=np.int64)
        if 0 < y.sum() < len(y):
            assert auc(score, y) == pytest.approx(roc_auc_score(y, score))
            assert kolmogorov_smirnov(score, y) == pytest.approx(ks_2samp(score[y == 1], score[y == 0], method="asymp").statistic)

    def test_calibration_of_the_truth_is_one(self) -> None:
        generator = np.random.default_rng(1)
        z = generator.normal(-2, 1.5, 200_000)
        y = (generator.random(len(z)) < 1 / (1 + np.exp(-z))).astype(np.int64)
        slope, intercept = calibration(z, y)
        assert slope == pytest.approx(1, abs=0.03)
        assert intercept == pytest.approx(0, abs=0.05)
        assert calibration(2 * z, y)[0] == pytest.approx(0.5, abs=0.02)

    def test_stability(self) -> None:
        generator = np.random.default_rng(1)
        z = generator.normal(size=50_000)
        assert stability(z[:25_000], z[25_000:]) < 0.01
        assert stability(z, z + 1) > 0.25


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """4,000 loans of a known truth: income falling, debt rising, region a code, and noise; 99999999 is missing."""
    folder = tmp_path_factory.mktemp("loans")
    generator = np.random.default_rng(7)
    n = 4000
    income, debt = generator.gamma(4, 500, n), generator.gamma(2, 400, n)
    region = generator.choice(["N", "S", "W"], n)
    noise = generator.normal(size=n)
    truth = -1.2 - income / 1500 + debt / 600 + np.where(region == "S", 0.9, 0.0)
    bad = generator.random(n) < 1 / (1 + np.exp(-truth))
    shown = [("99999999" if generator.random() < 0.05 else f"{value:.2f}") for value in income]
    lines = ["outcome;income;debt;region;noise"]
    lines += [f"{'bad' if bad[i] else 'good'};{shown[i]};{debt[i]:.2f};{region[i]};{noise[i]:.4f}" for i in range(n)]
    loans = folder / "loans.csv"
    loans.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mapping = folder / "mapping.yaml"
    mapping.write_text(
        "files: {delimiter: ';'}\nmissing: [99999999]\nfields:\n  default: {column: outcome, values: {bad: 1, good: 0}}\n", encoding="utf-8"
    )
    return loans, mapping, truth, bad.astype(np.int64)


def test_it_comes_close_to_the_truth(market: tuple[Path, Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    loans, mapping, truth, bad = market
    report_file = tmp_path / "report.json"
    assert main(["evaluate", "--loans", str(loans), "--mapping", str(mapping), "--report", str(report_file), "--folds", "3"]) == 0
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert {"auc", "ks", "brier", "calibration_slope", "calibration_intercept", "monotone", "baselines"} <= set(report)
    assert report["monotone"] is True
    assert 0.9 < report["calibration_slope"] < 1.1
    assert auc(truth, bad) - 0.02 < report["auc"] <= auc(truth, bad) + 0.005
    assert {"lightgbm", "catboost"} <= set(report["baselines"])
    assert report == json.loads(report_file.read_text(encoding="utf-8"))


def test_a_trained_model_serves(market: tuple[Path, Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    loans, mapping, _, _ = market
    card_file = tmp_path / "scorecard.json"
    arguments = ["train", "--loans", str(loans), "--mapping", str(mapping), "--out", str(card_file), "--report", str(tmp_path / "r.json")]
    assert main(arguments) == 0
    card = load_scorecard(card_file)
    rich, poor = ({"income": income, "debt": debt} for income, debt in ((5000.0, 100.0), (500.0, 3000.0)))
    assert card.assess(rich).pd_12m < card.assess(poor).pd_12m
    assert card.assess(poor).reason_codes[0] in {"RISK_DEBT", "RISK_INCOME"}
    first = card_file.read_bytes()
    assert main(arguments) == 0
    assert card_file.read_bytes() == first


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fields: {}", "default"),
        ("fields: {default: {column: nope}}", "no column 'nope'"),
        ("fields: {default: {column: income}}", "must be 0 or 1"),
        ("fields: {default: {column: outcome, values: {bad: 1, good: 0}}}\nratios: {x: [a, b]}", "ratio"),
        ("fields: {default: {column: outcome}}\nextra: 1", "extra"),
        ("[", "mapping"),
    ],
)
def test_mappings_that_do_not_fit(market: tuple[Path, Path, np.ndarray, np.ndarray], tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(text if text.startswith("[") else f"files: {{delimiter: ';'}}\n{text}\n", encoding="utf-8")
    with pytest.raises(DomainError, match=complaint):
        read_loans(market[0], read_mapping(path))


def test_spanish_loans(carlien_data: Path) -> None:
    """Issue 7's number: within 1 % of the better of LightGBM and CatBoost on the same folds, monotone, calibrated."""
    from carlien_pricing.training.evaluate import evaluate

    mapping = read_mapping(Path(__file__).parents[2] / "mappings" / "creditscoring_es.yaml")
    loans = read_loans(carlien_data / "loans" / "creditscoring_es" / "CreditScoring.csv", mapping)
    assert len(loans.y) == 4454
    report = evaluate(loans, mapping["ratios"], seed=1, folds=3, progress=lambda _: None)
    assert report["passed"], {name: report[name] for name in ("auc", "calibration_slope", "monotone")}
    assert measures(np.zeros(len(loans.y)), loans.y)["auc"] == 0.5
