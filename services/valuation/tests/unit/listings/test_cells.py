from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_valuation.listings.cells import CellError, day, number, translated
from carlien_valuation.listings.mapping import MISSING, parse_mapping


def field(**spec: object):  # type: ignore[no-untyped-def]
    return parse_mapping({"fields": {"make": "m", "price": {"column": "p", **spec}}}).fields["price"]


def date_field(**spec: object):  # type: ignore[no-untyped-def]
    return parse_mapping({"fields": {"make": "m", "price": "p", "first_registration": {"column": "d", **spec}}}).fields[
        "first_registration"
    ]


@pytest.mark.parametrize(
    ("cell", "spec", "decimal", "value"),
    [
        ("12500", {}, ".", 12500),
        ("£12,500", {}, ".", 12500),
        ("12.500 €", {}, ",", 12500),
        ("12 500,50", {}, ",", 12500.5),
        ("1'250'000 Fr.", {}, ".", 1_250_000),
        ("12,34,567", {}, ".", 1_234_567),
        ("9.00万公里", {"unit": "万公里"}, ".", 90_000),
        ("50.89万", {"unit": "万"}, ".", 508_900),
        ("５０．８９万", {"unit": "万"}, ".", 508_900),
        ("62,000 miles", {"unit": "miles"}, ".", 62_000 * 1.609344),
        ("5.2 Lakh", {"units": {"lakh": 1e5, "crore": 1e7}}, ".", 520_000),
        ("1.1 Crore", {"units": {"lakh": 1e5, "crore": 1e7}}, ".", 11_000_000),
        ("1.1", {"scale": 1000}, ".", 1100),
        ("-5", {}, ".", -5),
    ],
)
def test_numbers(cell: str, spec: dict[str, object], decimal: str, value: float) -> None:
    assert number(cell, field(**spec), decimal) == pytest.approx(value)


@pytest.mark.parametrize(("cell", "decimal"), [("暂无", "."), ("", "."), ("5,5", "."), ("12.500.000", "."), ("12,500,000", ",")])
def test_numbers_that_are_none(cell: str, decimal: str) -> None:
    with pytest.raises(CellError) as raised:
        number(cell, field(), decimal)
    assert raised.value.reason == "NUMBER_FORMAT"


@given(st.integers(0, 10**9))
def test_any_grouping_reads_the_same(value: int) -> None:
    for text, decimal in (
        (f"{value:,}", "."),
        (f"{value:,}".replace(",", "."), ","),
        (f"{value:,}".replace(",", " "), "."),
        (str(value), "."),
    ):
        assert number(text, field(), decimal) == value


@pytest.mark.parametrize(
    ("cell", "spec", "expected"),
    [
        ("2006年8月", {"format": "%Y年%m月"}, (date(2006, 8, 15), 2)),
        ("2006年8月", {}, (date(2006, 8, 15), 2)),
        ("2017", {}, (date(2017, 7, 1), 3)),
        ("2017.0", {}, (date(2017, 7, 1), 3)),
        ("2020-06-01", {}, (date(2020, 6, 1), 1)),
        ("2020-06-01T10:20:30Z", {}, (date(2020, 6, 1), 1)),
        ("31.12.2019", {}, (date(2019, 12, 31), 1)),
        ("03/2018", {}, (date(2018, 3, 15), 2)),
        ("Mar-18", {"format": "%b-%y"}, (date(2018, 3, 15), 2)),
    ],
)
def test_dates(cell: str, spec: dict[str, object], expected: tuple[date, int]) -> None:
    assert day(cell, date_field(**spec)) == expected


@pytest.mark.parametrize("cell", ["soon", "2020-13", "0207"])
def test_dates_that_are_none(cell: str) -> None:
    with pytest.raises(CellError) as raised:
        day(cell, date_field())
    assert raised.value.reason == "DATE_FORMAT"


def test_values_come_before_missing_and_extract() -> None:
    mapped = field(values={"n/a": "5", "-": None, True: "1"}, extract=r"(\d+)k")
    assert translated("N/A", mapped, MISSING) == "5"
    assert translated("-", mapped, MISSING) is None
    assert translated("Yes", mapped, MISSING) == "1"
    assert translated("about 20k km", mapped, MISSING) == "20"
    assert translated("about twenty", mapped, MISSING) is None
