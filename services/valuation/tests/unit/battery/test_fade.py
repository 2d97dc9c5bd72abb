from pathlib import Path

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.battery.cells import Cell, parse_cell_mapping, read_cells
from carlien_valuation.battery.evaluate import cases_of, evaluate
from carlien_valuation.battery.fade import baselines, features, observe


def fading(n: int = 60, seed: int = 0) -> tuple[Cell, ...]:
    """Cells that fade by a power of cycles, with a knee in some; the power shows in the life so far."""
    random = np.random.default_rng(seed)
    cells = []
    for i in range(n):
        cycle = np.arange(1.0, random.integers(400, 900))
        loss = 0.16 * (cycle / 600) ** random.uniform(0.5, 1.8)
        cells.append(Cell(f"c{i}", "AB"[i % 2], cycle, 1 - loss + 0.002 * random.standard_normal(len(cycle))))
    return tuple(cells)


def test_what_comes_after_the_origin_changes_nothing() -> None:
    cell = fading(1)[0]
    other = Cell(cell.name, cell.group, cell.cycle, np.where(cell.cycle > 200, 0.1, cell.soh))
    one, two = observe(cell, 200), observe(other, 200)
    assert one == two
    assert one is not None
    assert features(one, 100) == features(observe(cell.until(200), 200) or one, 100)


def test_inputs_do_not_depend_on_the_unit_of_use() -> None:
    cell = fading(1)[0]
    in_km = Cell(cell.name, cell.group, cell.cycle * 400, cell.soh)
    one, two = observe(cell, 200), observe(in_km, 80_000)
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(features(one, 100), features(two, 40_000), rtol=1e-9, atol=1e-9)


def test_baselines_are_exact_on_their_own_curves() -> None:
    cycle = np.arange(1.0, 500.0)
    straight = observe(Cell("a", "", cycle, 1 - 2e-4 * cycle), 300)
    root = observe(Cell("a", "", cycle, 1 - 5e-3 * np.sqrt(cycle)), 300)
    assert straight is not None
    assert root is not None
    assert baselines(straight, 100)["linear"] == pytest.approx(1 - 2e-4 * 400, abs=2e-3)
    assert baselines(root, 100)["sqrt"] == pytest.approx(1 - 5e-3 * np.sqrt(400), abs=2e-3)


def test_cells_left_out_are_forecast_better_than_by_any_baseline_and_covered() -> None:
    report = evaluate(fading(), folds=3, seed=1, say=lambda _: None)["cells_left_out"]["overall"]
    assert report["mae"] < min(report["baselines_mae"].values())
    assert 65 < report["coverage80"] < 95


def test_the_same_seed_gives_the_same_report() -> None:
    cells = fading(24)
    assert evaluate(cells, folds=3, seed=5, say=lambda _: None) == evaluate(cells, folds=3, seed=5, say=lambda _: None)


def test_no_case_asks_beyond_the_record() -> None:
    cells = fading(5)
    cases = cases_of(cells)
    last = np.array([cell.cycle[-1] for cell in cells])
    assert np.all(cases.ahead <= last[cases.cell])


def test_a_file_of_cells_is_read_by_its_mapping(tmp_path: Path) -> None:
    rows = [f"lab,{c};{i};{2.0 - 0.001 * i}" for c in "xy" for i in range(1, 41)] + ["lab,z;1;2.0", "lab,x;bad;1.9", "lab,x;99;-1"]
    path = tmp_path / "cells.csv"
    path.write_text("who;n;q\n" + "\n".join(rows).replace("lab,", "") + "\n", encoding="utf-8")
    mapping = parse_cell_mapping(
        {"files": {"delimiter": ";"}, "fields": {"cell": "who", "cycle": "n", "capacity": "q", "group": {"constant": "lab"}}}
    )
    read = read_cells([path], mapping)
    assert [cell.name for cell in read.cells] == ["x", "y"]
    assert read.too_short == 1
    assert read.rejections.total == 2
    assert read.cells[0].soh[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "document", [{"fields": {"cell": "a", "cycle": "b"}}, {"fields": {"cell": "a", "cycle": "b", "capacity": "c", "x": "d"}}, []]
)
def test_a_mistaken_mapping_is_refused(document: object) -> None:
    with pytest.raises(DomainError) as raised:
        parse_cell_mapping(document)
    assert raised.value.reason == "MAPPING_INVALID"


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(DomainError) as raised:
        evaluate(fading(5), folds=3, seed=1, say=lambda _: None)
    assert raised.value.reason == "CELLS_TOO_FEW"
