from pathlib import Path

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.series.panel import NEW
from carlien_valuation.series.read import PanelMapping, parse_panel_mapping, read_panel


def mapping(**section: object) -> PanelMapping:
    return parse_panel_mapping({
        "panel": {"new_model_year": 32000, **section},
        "fields": {
            "make": "make", "model": "model", "model_year": "year", "fuel_type": "fuel", "price": "price",
            "as_of": {"column": "month", "format": "%Y-%m"}, "currency": {"constant": "BRL"},
        },
    })  # fmt: skip


def written(tmp_path: Path, rows: str) -> Path:
    path = tmp_path / "panel.csv"
    path.write_text("month,make,model,year,fuel,price\n" + rows, encoding="utf-8")
    return path


def test_rows_become_series_with_gaps_and_new_cars_marked(tmp_path: Path) -> None:
    used_car = "2020-01,A,X 1.0,2018,Flex,100\n2020-03,A,X 1.0,2018,Flex,90\n2020-03,A,X 1.0,2018,Flex,94\n"
    path = written(tmp_path, used_car + "2020-01,A,X 1.0,32000,Flex,150\n")
    read = read_panel([path], mapping())
    assert read.panel.log_price.shape == (2, 3)
    assert set(read.panel.model_year.tolist()) == {2018, NEW}
    used = read.panel.log_price[read.panel.model_year == 2018][0]
    np.testing.assert_allclose(np.exp(used[[0, 2]]), [100, 92])
    assert np.isnan(used[1])
    assert read.duplicates == 1


def test_bad_rows_are_counted_with_their_reason(tmp_path: Path) -> None:
    bad = "2020-02,A,X,2018,F,-5\n2020-02,A,X,2018,F,\nnever,A,X,2018,F,7\n"
    path = written(tmp_path, "2020-01,A,X,2018,F,100\n" + bad + "2020-02,A,X,2018,F,99\n" * 4)
    assert dict(read_panel([path], mapping()).rejections.counts) == {"PRICE_NOT_POSITIVE": 1, "PRICE_MISSING": 1, "DATE_FORMAT": 1}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("2020-01,A,X,2018,F,-1\n" * 3, "PANEL_UNUSABLE"),
        ("2020-01,A,X,2018,F,1\n2020-01,A,Y,2018,F,1\n", "PANEL_ONE_MONTH"),
        ("", "LISTINGS_EMPTY"),
    ],
)
def test_a_file_that_makes_no_panel_is_refused(tmp_path: Path, rows: str, reason: str) -> None:
    with pytest.raises(DomainError) as raised:
        read_panel([written(tmp_path, rows)], mapping())
    assert raised.value.reason == reason


@pytest.mark.parametrize("section", [{"score": {"max_age": 3}}, {"new_model_year": "x"}, {"other": 1}])
def test_a_mistake_in_the_panel_section_is_named(section: dict[str, object]) -> None:
    with pytest.raises(DomainError) as raised:
        mapping(**section)
    assert raised.value.reason == "MAPPING_INVALID"
    assert raised.value.violations[0].field.startswith("panel")


def test_a_mapping_without_a_month_is_refused() -> None:
    with pytest.raises(DomainError) as raised:
        parse_panel_mapping({"fields": {"make": "make", "price": "price"}})
    assert raised.value.violations[0].field == "fields.as_of"
