"""What docs/residual-forecast.md claims of the FIPE snapshots, on the data themselves."""

from pathlib import Path
from typing import Any

import pytest

from carlien_valuation.series.evaluate import Question, evaluate_panel
from carlien_valuation.series.panel import parse_month
from carlien_valuation.series.read import load_panel_mapping, read_panel

MAPPING = Path(__file__).parents[3] / "mappings" / "fipe_snapshots_2017_2022.yaml"


@pytest.fixture(scope="module")
def results(carlien_data: Path) -> dict[tuple[str, int], Any]:
    mapping = load_panel_mapping(MAPPING)
    panel = read_panel([carlien_data / "used_cars" / "fipe_snapshots" / "fipe_snapshots_2017_2022.csv.gz"], mapping).panel
    origins = tuple(parse_month(month) for month in ("2017-10", "2018-05", "2020-05"))
    report = evaluate_panel(panel, mapping, Question(origins, (7, 24, 48), seeds=(1,), mark_draws=3), lambda _: None)
    return {(result["origin"], result["horizon_months"]): result for result in report["results"]}


@pytest.mark.parametrize("case", [("2017-10", 7), ("2018-05", 24), ("2018-05", 48), ("2020-05", 24)])
def test_the_champion_beats_the_static_curve_at_every_origin(results: dict[tuple[str, int], Any], case: tuple[str, int]) -> None:
    methods = results[case]["methods"]
    assert methods["champion"]["mape"] < 0.93 * methods["static_per_make"]["mape"]
    assert methods["champion"]["pinball"] < methods["static_per_make"]["pinball"]
    assert methods["champion"]["n"] > 8000


@pytest.mark.parametrize(("case", "most"), [(("2018-05", 24), 6.0), (("2020-05", 24), 9.0)])
def test_200_current_prices_re_level_a_price_guide(results: dict[tuple[str, int], Any], case: tuple[str, int], most: float) -> None:
    marked = results[case]["mark_to_market"]
    assert marked["mape_worst_draw"] < most
    assert 77 < marked["coverage80"] < 86
