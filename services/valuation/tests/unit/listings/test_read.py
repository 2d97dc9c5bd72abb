import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.listings.checks import Listings, check
from carlien_valuation.listings.mapping import load_mapping, parse_mapping
from carlien_valuation.listings.read import Table, expand, read_listings

FIELDS: dict[str, Any] = {
    "make": "make",
    "model": "model",
    "model_year": "year",
    "price": "price",
    "odometer_km": "km",
    "currency": {"constant": "EUR"},
    "as_of": {"constant": "2020-06-30"},
}
HEADER = "make,model,year,price,km"


def table(tmp_path: Path, rows: list[str], fields: dict[str, Any] | None = None, header: str = HEADER, **mapping: object) -> Table:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_listings([path], parse_mapping({"fields": fields or FIELDS, **mapping}))


def good(count: int, **change: str) -> list[str]:
    cells = [
        {"make": "vw", "model": f"m{index % 7}", "year": "2015", "price": str(9000 + 37 * index), "km": str(60_000 + 900 * index), **change}
        for index in range(count)
    ]
    return [",".join(cell.values()) for cell in cells]


def refused(tmp_path: Path, rows: list[str]) -> DomainError:
    with pytest.raises(DomainError) as raised:
        check(table(tmp_path, rows))
    return raised.value


def checked(tmp_path: Path, *bad: str) -> tuple[Table, Listings]:
    read = table(tmp_path, [*good(40), *bad])
    return read, check(read)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("vw,m1,2015,9000", "FIELD_COUNT"),
        ("vw,m1,2015,cheap,60000", "NUMBER_FORMAT"),
        ("vw,m1,2015,,60000", "PRICE_MISSING"),
        ("vw,m1,2015,0,60000", "PRICE_NOT_POSITIVE"),
        ("vw,m1,2015,-5,60000", "PRICE_NOT_POSITIVE"),
        ("vw,m1,2015,9.5,60000", "PRICE_UNIT"),
        ("vw,m1,2060,9000,60000", "FUTURE_REGISTRATION"),
        ("vw,m1,15,9000,60000", "YEAR_IMPLAUSIBLE"),
        ("vw,m1,2015,9000,9", "ODOMETER_TOO_LOW"),
        ("vw,m1,2015,9000,9000000", "ODOMETER_TOO_HIGH"),
        ("vw,m1,2015,9000,-1", "ODOMETER_NEGATIVE"),
        (",,2015,9000,60000", "MODEL_MISSING"),
    ],
)
def test_a_bad_row_is_counted_listed_and_left_out(tmp_path: Path, row: str, reason: str) -> None:
    read, listings = checked(tmp_path, row)
    assert dict(read.rejections.counts) == {reason: 1}
    assert read.rejections.examples[reason][0]["row"] == "a.csv:42"
    assert len(listings.frame) == 40


def test_missing_optional_cells_are_no_fault(tmp_path: Path) -> None:
    read, listings = checked(tmp_path, "vw,m1,2015,9000,")
    assert read.rejections.total == 0
    assert np.isnan(listings.frame["odometer_km"].iloc[-1])


def test_a_file_of_mostly_bad_rows_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, [*good(5), *(["vw,m1,2015,cheap,60000"] * 6)]).reason == "LISTINGS_REJECTED"


def test_a_wrong_odometer_unit_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, good(40, km="9"))
    assert error.reason == "ODOMETER_UNIT"
    assert "万公里" in error.message


def test_a_wrong_price_unit_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, good(40, price="7.5")).reason == "PRICE_UNIT"


def test_several_currencies_are_refused(tmp_path: Path) -> None:
    fields = {**FIELDS, "currency": "currency"}
    rows = [f"{row},{'EUR' if index else 'USD'}" for index, row in enumerate(good(30))]
    with pytest.raises(DomainError, match="several currencies"):
        check(table(tmp_path, rows, fields, f"{HEADER},currency"))


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DomainError) as raised:
        table(tmp_path, good(3), {**FIELDS, "color": "paint"})
    assert raised.value.reason == "MAPPING_COLUMN"
    assert "'paint'" in raised.value.message
    assert "make, model, year" in raised.value.message


def test_positional_columns_delimiter_encoding_and_skipped_lines(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes("exported\n大众;朗逸;2015;5,5;6,2\n".encode("gb18030"))
    mapping = parse_mapping(
        {
            "files": {"encoding": "gb18030", "delimiter": ";", "header": False, "skip_rows": 1, "decimal": ","},
            "fields": {
                "make": 0,
                "model": {"column": 1},
                "model_year": 2,
                "price": {"column": 3, "unit": "万"},
                "odometer_km": {"column": 4, "unit": "万公里"},
            },
        }
    )
    frame = read_listings([path], mapping).frame
    assert frame[["make", "model", "price", "odometer_km"]].to_numpy().tolist() == [["大众", "朗逸", 55_000.0, 62_000.0]]


def test_make_from_the_file_name_globs_filters_and_gzip(tmp_path: Path) -> None:
    for make in ("audi", "bmw"):
        with gzip.open(tmp_path / f"{make}.csv.gz", "wt", encoding="utf-8") as file:
            file.write("model,price,kind\nA,9000,sale\nB,8000,wanted\n")
    mapping = parse_mapping(
        {
            "fields": {"make": {"file_name": r"^(\w+)\."}, "model": "model", "price": "price"},
            "drop": {"kind": ["wanted"]},
        }
    )
    read = read_listings(expand([str(tmp_path / "*.gz")]), mapping)
    assert read.frame["make"].tolist() == ["audi", "bmw"]
    assert (read.rows_read, read.filtered) == (4, 2)


def test_a_date_can_stand_for_the_market_date(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "make": "make",
        "price": "price",
        "as_of": {"constant": "2017-10-01"},
        "first_registration": {"column": "reg", "format": "%Y年%m月", "values": {"未上牌": "@as_of"}},
    }
    read = table(tmp_path, ["x,5000,2012年10月", "x,5000,未上牌"], fields, "make,price,reg")
    assert check(read).frame["age_years"].round(1).tolist() == [5.0, 0.0]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"fields": {"price": "p"}}, "fields"),
        ({"fields": {"make": "m"}}, "fields"),
        ({"fields": {"make": "m", "price": {"column": "p", "unit": "furlong"}}}, "fields.price.unit"),
        ({"fields": {"make": {"column": "m", "extract": "("}, "price": "p"}}, "fields.make.extract"),
        ({"fields": {"make": "m", "price": "p", "wheels": "w"}}, "fields"),
    ],
)
def test_a_bad_mapping_names_the_field(document: dict[str, object], field: str) -> None:
    with pytest.raises(DomainError) as raised:
        parse_mapping(document)
    assert field in {violation.field for violation in raised.value.violations}


def test_shipped_mappings_are_valid() -> None:
    folder = Path(__file__).parents[3] / "mappings"
    for name in ("uk100k", "second_cars_info_2017"):
        assert load_mapping(folder / f"{name}.yaml").fields["price"].kind == "number"


def test_no_file_and_an_empty_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="no file matches"):
        expand([str(tmp_path / "*.csv")])
    with pytest.raises(DomainError, match="no rows"):
        table(tmp_path, [])
