"""From a file of sales to a report, recalibrated intervals, promotion and rollback, on the small model."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from carlien_common.domain.errors import DomainError
from carlien_valuation.adapters.stack_appraiser import StackAppraiser
from carlien_valuation.calibration.canonical import canonical, sha256
from carlien_valuation.calibration.model_store import ModelStore
from carlien_valuation.calibration.run import Load, Task, calibrate
from carlien_valuation.calibration.sales_file import load_outcome_mapping, parse_outcome_mapping, read_sales
from carlien_valuation.calibration.shifts import read_shifts
from carlien_valuation.cli import main
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.simulation.market import MAPPING
from carlien_valuation.training.store import load_model, read_card

NOW = datetime(2028, 7, 1, tzinfo=UTC)
MakeSales = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def load(model_directory: Path) -> Load:
    """As the command loads, but what models have in common is compiled once: recalibration changes no weights."""
    model = load_model(model_directory)

    def loaded(directory: Path) -> StackAppraiser:
        return StackAppraiser(dataclasses.replace(model, card=read_card(directory)))

    return loaded


def task(model: Path, sales: tuple[Path, Path], **changes: Any) -> Task:
    base: dict[str, Any] = {
        "model": model, "challengers": (), "first": None, "last": date(2028, 6, 30), "sales": (str(sales[0]),), "mapping": sales[1],
        "region": "all", "policy": None, "out": None,
    }  # fmt: skip
    return Task(**{**base, **changes})


@pytest.fixture(scope="module")
def calibrated(
    model_directory: Path, make_sales: MakeSales, load: Load, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """The small model judged by sales 15 % below its market, and recalibrated by them."""
    out = tmp_path_factory.mktemp("recalibrated") / "model"
    done = calibrate(task(model_directory, make_sales(level=0.85), out=out), load, lambda: NOW)
    assert done.sha256 == sha256(canonical(done.report))
    assert done.recalibrated == read_card(out)["model_version"]
    return done.report, out


def test_a_market_that_fell_is_seen_and_the_recalibrated_model_is_right_about_it(
    calibrated: tuple[dict[str, Any], Path], model_directory: Path, make_sales: MakeSales, load: Load
) -> None:
    report, out = calibrated
    assert (report["light"], report["lights"]["below_p50"], report["verdict"]) == ("RED", "RED", "RECALIBRATE")
    assert report["measures"]["median_error"] > 0.05
    assert {"age_years", "odometer_km", "price", "make"} == set(report["drift"])
    assert any(segment["segment"].startswith("make:") for segment in report["segments"])
    shift = read_shifts(out)[PriceType.DEALER_RETAIL]
    assert -0.2 < shift.p50 < -0.05
    again = calibrate(task(out, make_sales(level=0.85)), load, lambda: NOW)
    assert abs(again.report["measures"]["median_error"]) < 0.01
    assert 0.75 < again.report["measures"]["coverage80"] < 0.85
    assert again.report["verdict"] == "KEEP"
    assert read_shifts(model_directory) == {}


def test_the_champion_stays_when_the_challenger_is_worse_and_goes_when_it_is_better(
    calibrated: tuple[dict[str, Any], Path], model_directory: Path, make_sales: MakeSales, load: Load
) -> None:
    _, better = calibrated
    sales = make_sales(level=0.85)
    (verdict,) = calibrate(task(model_directory, sales, challengers=(better,)), load, lambda: NOW).report["challengers"]
    assert verdict["promoted"]
    report = calibrate(task(better, sales, challengers=(model_directory,)), load, lambda: NOW).report
    (verdict,) = report["challengers"]
    assert (verdict["promoted"], report["verdict"]) == (False, "KEEP")
    assert "MAPE_WORSE" in verdict["reasons"]


def test_only_cars_sold_after_the_cutoff_judge(model_directory: Path, make_sales: MakeSales, load: Load) -> None:
    sales = make_sales(rows=300)
    report = calibrate(task(model_directory, sales, first=date(2026, 6, 1)), load, lambda: NOW).report
    assert report["sales"] + sum(report["excluded"].values()) == report["outcomes"]
    with pytest.raises(DomainError) as raised:
        calibrate(task(model_directory, sales, first=date(2030, 1, 1), last=date(2030, 2, 1)), load, lambda: NOW)
    assert raised.value.reason == "NO_SALES"


def test_promotion_is_refused_until_judged_and_rollback_leads_back(
    calibrated: tuple[dict[str, Any], Path], model_directory: Path, tmp_path: Path
) -> None:
    report, recalibrated = calibrated
    store = ModelStore(tmp_path / "models")
    first = store.promote(model_directory, None, now=NOW)
    assert (store.current, first.previous) == (first.version, "")
    with pytest.raises(DomainError) as raised:
        store.promote(recalibrated, None, now=NOW)
    assert raised.value.reason == "NOT_JUDGED"
    with pytest.raises(DomainError) as raised:
        store.promote(recalibrated, {**report, "model_version": "another"}, now=NOW)
    assert raised.value.reason == "REPORT_OF_ANOTHER_MODEL"
    second = store.promote(recalibrated, report, now=NOW)
    assert store.current == second.version == read_card(recalibrated)["model_version"]
    assert second.report_sha256 == sha256(canonical(report))
    back = store.rollback(now=NOW, reason="dealers complain")
    assert store.current == back.version == first.version
    with pytest.raises(DomainError) as raised:
        store.rollback(now=NOW, reason="once more")
    assert raised.value.reason == "NOTHING_TO_ROLL_BACK_TO"
    assert [entry.action for entry in store.history()] == ["promote", "promote", "rollback"]
    assert not list((tmp_path / "models").glob(".*partial"))


def test_a_bad_model_never_replaces_a_good_one(model_directory: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    good = store.promote(model_directory, None, now=NOW)
    for spoilt in ("encoder.json", "model.json"):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(model_directory, bad)
        (bad / spoilt).write_text("{}")
        with pytest.raises(DomainError) as raised:
            store.promote(bad, None, now=NOW, reason="trust me")
        assert raised.value.reason in {"MODEL_CORRUPT", "MODEL_FORMAT"}
        assert store.current == good.version
    worse = {"model_version": good.version, "challengers": [{"model_version": "w", "promoted": False, "reasons": ["MAPE_WORSE"]}]}
    other = tmp_path / "other"
    shutil.copytree(model_directory, other)
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card, "model_version": "w"}))
    with pytest.raises(DomainError) as raised:
        store.promote(other, worse, now=NOW)
    assert raised.value.reason == "MODEL_WORSE"
    assert store.current == good.version
    assert [path.name for path in store.directories()] == [good.version]


def test_a_sale_is_read_with_its_vin_reference_and_market(tmp_path: Path) -> None:
    document = yaml.safe_load(MAPPING)
    document["fields"] = {name: document["fields"][name] for name in ("make", "model", "price", "currency", "as_of", "first_registration")}
    document["outcomes"] = {"source": "A", "price_type": {"column": "kind", "values": {"拍卖": "FORCED_SALE"}}, "vin": "vin"}
    mapping, sold = tmp_path / "m.yaml", tmp_path / "s.csv"
    mapping.write_text(yaml.safe_dump(document, allow_unicode=True))
    rows = ["listed,make,model,registered,price,kind,vin", "2026-09-01,Fiat,Uno,2020-01-01,50000,拍卖,1M8GDM9AXKP042788",
            "2026-09-01,Fiat,Uno,2020-01-01,51000,wholesale,", "2026-09-01,Fiat,Uno,2020-01-01,52000,gift,",
            "2026-09-01,Fiat,Uno,2020-01-01,52000,private,123"]  # fmt: skip
    sold.write_text("\n".join(rows) + "\n")
    sales = read_sales([sold], load_outcome_mapping(mapping))
    assert [(one.vin, one.price_type) for one in sales.outcomes] == [
        ("1M8GDM9AXKP042788", PriceType.FORCED_SALE), ("", PriceType.WHOLESALE),
    ]  # fmt: skip
    assert sales.rejected == {"PRICE_TYPE_UNKNOWN": 1, "VIN_LENGTH": 1}
    assert sales.outcomes[0].reference != sales.outcomes[1].reference
    assert read_sales([sold], load_outcome_mapping(mapping)).outcomes[1].reference == sales.outcomes[1].reference


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({}, "outcomes"),
        ({"source": "A", "price_type": "GIFT"}, "outcomes.price_type"),
        ({"source": "", "price_type": "PRIVATE"}, "outcomes.source"),
    ],
)
def test_a_mapping_without_what_makes_sales_is_refused(section: dict[str, Any], where: str) -> None:
    with pytest.raises(DomainError) as raised:
        parse_outcome_mapping({**yaml.safe_load(MAPPING), "outcomes": section})
    assert where in {violation.field for violation in raised.value.violations}


def test_the_command_line_reports_promotes_and_lists(
    model_directory: Path, make_sales: MakeSales, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sold, mapping = make_sales(level=0.7, rows=300)
    report, store = tmp_path / "r.json", str(tmp_path / "models")
    arguments = ["calibrate", "--model", str(model_directory), "--sales", str(sold), "--mapping", str(mapping), "--report", str(report)]
    assert main([*arguments, "--to", "2028-06-30"]) == 1
    assert json.loads(report.read_text())["light"] == "RED"
    assert main(["models", "promote", "--store", store, "--model", str(model_directory)]) == 0
    capsys.readouterr()
    assert main(["models", "list", "--store", store, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [model["current"] for model in listed["models"]] == [True]
    assert main(["models", "rollback", "--store", store, "--reason", "why not"]) == 2
    assert main(["calibrate", "--model", str(model_directory), "--sales", str(sold)]) == 2
