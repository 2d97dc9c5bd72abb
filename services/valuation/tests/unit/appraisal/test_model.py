"""The trained model itself: its guarantees on thousands of random cars, its files, its honesty."""

import itertools
import json
import shutil
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.adapters.stack_appraiser import StackAppraiser, load_appraiser
from carlien_valuation.cli import main
from carlien_valuation.domain.car import Car, Usage
from carlien_valuation.service.ports import Point
from carlien_valuation.training.store import load_model


@pytest.fixture(scope="module")
def appraiser(model_directory: Path) -> StackAppraiser:
    return load_appraiser(model_directory)


def random_points(appraiser: StackAppraiser, count: int, seed: int) -> list[Point]:
    random = np.random.default_rng(seed)
    models = [key.split("\0") for key in appraiser.model.stack.encoder.target.tables[1]]
    points = []
    for _ in range(count):
        make, model = models[random.integers(len(models))]
        car = Car(
            "",
            make,
            model,
            f"{random.integers(2012, 2026)}款 {random.choice(['1.6L', '2.0T', '纯电', ''])} 自动舒适版",
            usage=random.choice(list(Usage)),
            transfer_count=int(random.integers(0, 5)),
            color=random.choice(["白", "黑", "紫"]),
            region_code=random.choice(["110000", "999999", ""]),
            new_price=Decimal(int(random.integers(40_000, 900_000))) if random.random() < 0.7 else None,
            grade=int(random.integers(1, 6)) if random.random() < 0.7 else None,
        )
        day = appraiser.data_cutoff - timedelta(days=int(random.integers(0, 700)))
        points.append(Point(car, day, float(random.uniform(0, 18)), float(random.integers(0, 400_000)) if random.random() < 0.9 else None))
    return points


def changed(points: list[Point], **change: Any) -> list[Point]:
    return [point._replace(**change) for point in points]


def test_value_never_rises_with_odometer(appraiser: StackAppraiser) -> None:
    points = [point for point in random_points(appraiser, 2500, 1) if point.odometer_km is not None]
    before = appraiser.values(points)
    for more in (1, 100, 10_000, 150_000):
        after = appraiser.values([Point(p.car, p.market_date, p.age_years, p.odometer_km + more) for p in points])  # type: ignore[operator]
        assert (after <= before * (1 + 1e-5)).all()


def test_value_never_rises_with_age_at_the_same_market_date(appraiser: StackAppraiser) -> None:
    points = random_points(appraiser, 2500, 2)
    before = appraiser.values(points)
    for years in (1 / 365, 0.1, 1.0, 7.0):
        after = appraiser.values([Point(p.car, p.market_date, p.age_years + years, p.odometer_km) for p in points])
        assert (after <= before * (1 + 1e-5)).all()


def test_a_worse_grade_is_never_worth_more_and_an_accident_car_least(appraiser: StackAppraiser) -> None:
    points = random_points(appraiser, 1500, 3)
    assert appraiser.condition

    def graded(grade: int) -> np.ndarray:
        return appraiser.values(
            [
                Point(
                    Car("", p.car.make, p.car.model, p.car.trim, usage=p.car.usage, new_price=p.car.new_price, grade=grade),
                    p.market_date,
                    p.age_years,
                    p.odometer_km,
                )
                for p in points
            ]
        )

    values = [graded(grade) for grade in (1, 2, 3, 4, 5)]
    for better, worse in itertools.pairwise(values):
        assert (worse <= better * (1 + 1e-5)).all()


def test_quantiles_are_ordered_and_positive(appraiser: StackAppraiser) -> None:
    low, middle, high = appraiser.values(random_points(appraiser, 2000, 4)).T
    assert (low > 0).all()
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_it_beats_the_depreciation_line_and_says_it_is_synthetic(model_directory: Path) -> None:
    card = json.loads((model_directory / "model.json").read_text())
    assert card["out_of_fold"]["mape"] < card["depreciation_baseline"]["mape"]
    assert card["data"]["synthetic"]
    assert 76 < card["out_of_fold"]["coverage80"] < 84
    text = (model_directory / "MODEL.md").read_text()
    assert "simulated" in text
    assert (model_directory / "errors.png").stat().st_size > 1000


def test_one_car_is_valued_alike_alone_and_in_a_batch(appraiser: StackAppraiser) -> None:
    points = random_points(appraiser, 70, 5)
    together = appraiser.values(points)
    alone = np.concatenate([appraiser.values([point]) for point in points])
    np.testing.assert_allclose(alone, together, rtol=1e-4)


def test_support_tells_unknown_makes_from_unknown_models(appraiser: StackAppraiser) -> None:
    known, new_model, new_make = appraiser.support([Car("", "大众", "朗逸"), Car("", "大众", "无此车"), Car("", "Trabant", "601")])
    assert known.sample_size > 50
    assert (known.unknown_make, known.unknown_model) == (False, False)
    assert (new_model.unknown_make, new_model.unknown_model) == (False, True)
    assert new_make.unknown_make


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "trees.npz").write_bytes(b"tree"), "MODEL_CORRUPT"),
        (lambda path: (path / "encoder.json").unlink(), "MODEL_CORRUPT"),
        (lambda path: (path / "model.json").write_text("{"), "MODEL_CORRUPT"),
        (lambda path: (path / "model.json").write_text('{"format": 1}'), "MODEL_FORMAT"),
        (lambda path: (path / "model.json").unlink(), "MODEL_NOT_FOUND"),
    ],
)
def test_a_damaged_or_older_directory_is_refused(model_directory: Path, tmp_path: Path, damage: object, reason: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_directory, copy)
    damage(copy)  # type: ignore[operator]
    with pytest.raises(DomainError) as raised:
        load_model(copy)
    assert raised.value.reason == reason


def test_predict_answers_every_row(
    model_directory: Path, sample: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, first, *_ = sample[0].read_text(encoding="utf-8").splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))

    def row(**change: str) -> str:
        return ",".join({**cells, **change}.values())

    file = tmp_path / "new.csv"
    file.write_text(
        "\n".join(
            [header, row(), row(price=""), row(make="Trabant"), row(model="新车"), row(odometer_km="ten"), row(registered="2031-01-01")]
        ),
        encoding="utf-8",
    )
    out = tmp_path / "out.csv"
    assert main(["predict", "--model", str(model_directory), "--listings", str(file), "--mapping", str(sample[1]), "--out", str(out)]) == 0
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert [(line[0], line[4], line[5]) for line in lines[1:]] == [
        ("new.csv:2", "false", ""),
        ("new.csv:3", "false", ""),
        ("new.csv:4", "true", "UNKNOWN_MAKE"),
        ("new.csv:5", "false", "UNKNOWN_MODEL"),
        ("new.csv:6", "true", "NUMBER_FORMAT"),
        ("new.csv:7", "true", "FUTURE_REGISTRATION"),
    ]
    low, middle, high = map(float, lines[1][1:4])
    assert low < middle < high
    cold_low, _, cold_high = map(float, lines[4][1:4])
    assert cold_high / cold_low > high / low


def test_training_is_reproducible_from_its_seed(sample: tuple[Path, Path]) -> None:
    from carlien_valuation.listings.checks import check
    from carlien_valuation.listings.mapping import load_mapping
    from carlien_valuation.listings.read import read_listings
    from carlien_valuation.training.columns import cars_of
    from carlien_valuation.training.stack import Effort, fit_stack

    frame = check(read_listings([sample[0]], load_mapping(sample[1]))).frame.iloc[:300].reset_index(drop=True)
    cars, log_price = cars_of(frame), np.log(frame["price"].to_numpy(float))
    effort = Effort(folds=2, epochs=0.1, tuned=False)
    one, other = (fit_stack(frame, cars, log_price, seed=7, effort=effort).stack.log_quantiles(cars) for _ in range(2))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_the_cutoff_is_the_last_listing(appraiser: StackAppraiser) -> None:
    assert date(2026, 6, 20) < appraiser.data_cutoff <= date(2026, 6, 30)


def test_served_networks_answer_as_the_compiled_ones(model_directory: Path) -> None:
    import tensorflow as tf

    from carlien_valuation.training.net import NetInputs
    from carlien_valuation.training.saved import SavedNetwork

    loaded = tf.saved_model.load(str(model_directory / "network"))
    (_, free), (_, codes) = (tuple(spec.shape) for spec in loaded.tower.input_signature)
    random = np.random.default_rng(3)
    inputs = NetInputs(
        random.random((500, loaded.head.input_signature[0].shape[1]), np.float32),
        (50 * random.normal(size=(40, free))).astype(np.float32),
        np.column_stack([random.integers(0, table.shape[0], 40) for table in loaded.nets[0].embeddings]).astype(np.int32),
        random.integers(0, 40, 500),
    )
    assert codes == inputs.codes.shape[1]
    compiled = loaded.head(inputs.guarded, tf.gather(loaded.tower(inputs.free, inputs.codes), inputs.rows))
    np.testing.assert_allclose(SavedNetwork(model_directory / "network").predict(inputs), compiled, rtol=1e-4, atol=1e-4)
