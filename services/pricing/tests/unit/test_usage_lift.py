from datetime import date, timedelta
from pathlib import Path

import pytest

from carlien_pricing.cli import main
from carlien_pricing.training.usage import measure_lift, validation_holds


def test_a_true_effect_is_found_and_none_is_not() -> None:
    none, some = measure_lift(12_000, 0.0, seed=3), measure_lift(12_000, 1.0, seed=3)
    assert not none["found"]
    assert some["found"]
    assert none["auc_lift"] < 0.005
    assert 0 < some["auc_lift"] <= some["truth"]["auc"] - some["without_usage"]["auc"] + 0.005
    assert measure_lift(12_000, 1.0, seed=3) == some


def test_a_validation_ages() -> None:
    day = date(2026, 3, 2)
    assert validation_holds(day, day)
    assert validation_holds(day, day + timedelta(days=92))
    assert not validation_holds(day, day + timedelta(days=93))
    assert not validation_holds(day, day - timedelta(days=1))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "lift.json"
    assert main(["usage-lift", "--loans", "4000", "--effects", "1", "--report", str(report)]) == 0
    assert "no evidence about drivers" in report.read_text(encoding="utf-8")
    assert main(["usage-lift", "--effects", "x"]) == 2
