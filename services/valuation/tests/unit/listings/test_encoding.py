"""What an exported file's bytes are taken for, in the scripts listings come in."""

from pathlib import Path

import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.listings.checks import check
from carlien_valuation.listings.encoding import decode
from carlien_valuation.listings.mapping import parse_mapping
from carlien_valuation.listings.read import read_listings

CYRILLIC = "марка;модель;год;цена, руб.;пробег\nЛада;Гранта 1.6 МТ;2018;450 000;62 000\nУАЗ;Патриот;2016;690 000;98 000\n"
WESTERN = "Marke;Modell;Preis\nCitroën;C3 Attraction;9.500\nSkoda;Octavia Kombi, Anhängerkupplung;12.900\nŠkoda;Fabia für Anfänger;7.000\n"
CHINESE = "品牌,车型,价格\n大众,朗逸 1.6L 自动舒适版,5.5\n雪佛兰,科鲁兹 个人一手车,4.98\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CYRILLIC, "cp1251"),
        (CYRILLIC, "utf-8"),
        (CYRILLIC, "utf-16"),
        (WESTERN, "cp1252"),
        (WESTERN.replace("Š", "S"), "latin-1"),
        (WESTERN, "utf-8-sig"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-8"),
        ("make,price\nvw,5000\n", "ascii"),
    ],
)
def test_the_encoding_is_found_out(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "cars.csv"
    path.write_bytes(text.encode(encoding))
    assert decode(path, "auto") == text


def test_bytes_that_are_not_what_the_mapping_says_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cars.csv"
    path.write_bytes(CHINESE.encode("gb18030"))
    with pytest.raises(DomainError) as raised:
        decode(path, "utf-8")
    assert raised.value.reason == "LISTINGS_ENCODING"
    with pytest.raises(DomainError) as raised:
        decode(path, "klingon")
    assert raised.value.reason == "MAPPING_ENCODING"


def test_cyrillic_listings_need_only_a_mapping(tmp_path: Path) -> None:
    rows = [
        f"{make};{model} {1.4 + index % 3 / 5:.1f} л;{2010 + index % 9};{450_000 + 5_000 * index};{40 + index} тыс. км;"
        f"{'бензин' if index % 2 else 'дизель'};{'битый' if index % 10 == 0 else 'нет'}"
        for index in range(60)
        for make, model in [(("Лада", "Гранта"), ("УАЗ", "Патриот"))[index % 2]]
    ]
    bad = ["Лада;Гранта;2014;договорная;50 тыс. км;бензин;нет", "Лада;Гранта;2014;400000"]
    path = tmp_path / "объявления.csv"
    path.write_bytes(("выгружено 01.06.2021\n" + "\n".join([*rows, *bad]) + "\n").encode("cp1251"))
    table = read_listings(
        [path],
        parse_mapping(
            {
                "files": {"encoding": "cp1251", "delimiter": ";", "header": False, "skip_rows": 1},
                "fields": {
                    "make": 0,
                    "model": {"column": 1, "extract": r"^(\S+)"},
                    "trim": 1,
                    "model_year": 2,
                    "price": 3,
                    "odometer_km": {"column": 4, "extract": r"(\d+) тыс", "unit": "thousand_km"},
                    "fuel_type": 5,
                    "accident": {"column": 6, "values": {"битый": "major", "нет": "no"}},
                    "currency": {"constant": "RUB"},
                    "as_of": {"constant": "2021-06-01"},
                },
            }
        ),
    )
    frame = check(table).frame
    assert dict(table.rejections.counts) == {"NUMBER_FORMAT": 1, "FIELD_COUNT": 1}
    assert frame.iloc[0][["make", "model", "trim", "odometer_km", "accident"]].tolist() == [
        "Лада",
        "Гранта",
        "Гранта 1.4 л",
        40_000.0,
        "major",
    ]
    assert len(frame) == 60
