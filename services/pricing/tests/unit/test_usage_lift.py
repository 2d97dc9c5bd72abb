from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carlien_pricing.adapters.models import ModelError, load_usage_model
from carlien_pricing.cli import main
from carlien_pricing.domain.quote import BorrowerFacts
from carlien_pricing.training.usage import USAGE_FEATURES, measure_lift

DAY = date(2026, 3, 2)


def test_a_true_effect_is_found_and_none_is_not() -> None:
    (none, _), (some, model) = measure_lift(12_000, 0.0, 3, DAY), measure_lift(12_000, 1.0, 3, DAY)
    assert not none["found"]
    assert some["found"]
    assert none["auc_lift"] < 0.005
    assert 0 < some["auc_lift"] <= some["truth"]["auc"] - some["without_usage"]["auc"] + 0.005
    assert measure_lift(12_000, 1.0, 3, DAY) == (some, model)
    assert model.validation.auc_with - model.validation.auc_without == pytest.approx(some["auc_lift"])


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("usage") / "usage-model.json"
    report = out.with_name("lift.json")
    arguments = ["usage-lift", "--loans", "6000", "--effects", "1", "--report", str(report), "--out", str(out)]
    assert main(arguments) == 0
    assert "no evidence about drivers" in report.read_text(encoding="utf-8")
    return out


def test_the_command_refuses_what_is_no_number() -> None:
    assert main(["usage-lift", "--effects", "x"]) == 2


FEATURES = st.dictionaries(st.sampled_from(USAGE_FEATURES), st.floats(0, 300))


@given(features=FEATURES, pd=st.floats(0.001, 0.5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_not_knowing_is_never_cheaper(model_file: Path, features: dict[str, float], pd: float) -> None:
    model = load_usage_model(model_file)
    today = model.validation.validated_on
    borrower = BorrowerFacts(pd, "SCORE")
    known, unknown = model.apply(borrower, features, today), model.apply(borrower, {}, today)
    assert unknown.pd_12m >= known.pd_12m
    assert unknown.pd_12m >= model.apply(borrower, None, today).pd_12m == pd
    assert known.usage_model == model.version


def test_it_is_off_once_its_validation_is_older_than_a_quarter(model_file: Path) -> None:
    model = load_usage_model(model_file)
    day, borrower = model.validation.validated_on, BorrowerFacts(0.02, "MODEL")
    for used in (day, day + timedelta(days=92)):
        assert model.apply(borrower, {}, used).pd_12m > 0.02
    for unused in (day + timedelta(days=93), day - timedelta(days=1)):
        outdated = model.apply(borrower, {}, unused)
        assert (outdated.pd_12m, outdated.usage_model_outdated, outdated.usage_log_odds) == (0.02, True, 0.0)


def test_a_pd_the_lender_states_is_used_as_given(model_file: Path) -> None:
    model = load_usage_model(model_file)
    borrower = BorrowerFacts(0.02, "LENDER")
    assert model.apply(borrower, {}, model.validation.validated_on) == borrower


def test_usage_is_neutral_on_average(model_file: Path) -> None:
    model = load_usage_model(model_file)
    assert {attribute.name for attribute in model.attributes} <= set(USAGE_FEATURES)
    for attribute in model.attributes:
        assert min(attribute.log_odds) < 0 < max(attribute.log_odds)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"model\.json"):
        load_usage_model(path)
