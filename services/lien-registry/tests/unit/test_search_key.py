import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_lien_registry.domain.search_key import LENGTH, search_key


@pytest.mark.parametrize(("serial", "key"), [("1M8GDM9AXKP042788", "042788"), ("AB12CD", "081260"), ("XLYZ99", "014299")])
def test_golden_values(serial: str, key: str) -> None:
    assert search_key(serial) == key


@given(st.text(max_size=40))
def test_a_key_is_six_digits_whatever_comes(serial: str) -> None:
    key = search_key(serial)
    assert len(key) == LENGTH
    assert set(key) <= set("0123456789")


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=6, max_size=17))
def test_case_and_punctuation_do_not_count(serial: str) -> None:
    assert search_key(serial.lower()) == search_key("-".join(serial)) == search_key(serial)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "I"), ("1", "L"), ("2", "Z"), ("4", "H"), ("4", "Y"), ("5", "S"), ("6", "G"), ("8", "B"), ("0", "O")]
)
def test_look_alikes_are_one(one: str, other: str) -> None:
    assert search_key(f"LSV12{one}") == search_key(f"LSV12{other}")
