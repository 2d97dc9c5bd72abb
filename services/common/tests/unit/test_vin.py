import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.domain.vin import ALPHABET, CHECK_POSITION, check_digit, parse_vin

characters = st.sampled_from(sorted(ALPHABET))
seventeen = st.text(characters, min_size=17, max_size=17)


def refused(text: str) -> str:
    with pytest.raises(DomainError) as caught:
        parse_vin(text, "vehicle.vin")
    assert caught.value.kind is ErrorKind.INVALID
    assert [violation.field for violation in caught.value.violations] == ["vehicle.vin"]
    assert caught.value.reason == caught.value.violations[0].reason
    return caught.value.reason


@pytest.mark.parametrize("text", ["1M8GDM9AXKP042788", "WDBEA30D3HA391172"])
def test_golden_values_are_valid(text: str) -> None:
    assert parse_vin(text).warnings == ()


def test_the_sample_of_a_public_gb32960_parser_is_not() -> None:
    assert refused("LSVAU2A37K2100001") == "VIN_CHECK_DIGIT"
    assert check_digit("LSVAU2A37K2100001") == "5"


def test_one_character_repeated_is_a_dummy_although_its_check_digit_fits() -> None:
    assert check_digit("1" * 17) == "1"
    assert refused("1" * 17) == "VIN_DUMMY"
    assert refused("0" * 17) == "VIN_DUMMY"
    assert refused("L" * 17) == "VIN_DUMMY"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "VIN_LENGTH"),
        ("1M8GDM9AXKP04278", "VIN_LENGTH"),
        ("1M8GDM9AXKP0427888", "VIN_LENGTH"),
        ("1M8GDM9AXKP04278O", "VIN_CHARACTER"),
        ("IM8GDM9AXKP042788", "VIN_CHARACTER"),
        ("1M8GDM9AXKP04278Q", "VIN_CHARACTER"),
        ("1M8GDM9AXKP04278-", "VIN_CHARACTER"),
        ("1M8GDM9AXKP04278ß", "VIN_CHARACTER"),
        ("1M8GDM9AXKP04278８", "VIN_CHARACTER"),
        ("\0" * 17, "VIN_CHARACTER"),
    ],
)
def test_each_fault_has_its_reason(text: str, reason: str) -> None:
    assert refused(text) == reason


def test_lower_case_and_blanks_around_are_taken() -> None:
    assert parse_vin(" 1m8gdm9axkp042788\n").value == "1M8GDM9AXKP042788"


def test_the_parts() -> None:
    vin = parse_vin("1M8GDM9AXKP042788")
    assert (vin.wmi, vin.vds, vin.vis) == ("1M8", "GDM9AX", "KP042788")


@given(seventeen)
def test_a_right_check_digit_is_always_taken(text: str) -> None:
    right = text[:CHECK_POSITION] + check_digit(text) + text[CHECK_POSITION + 1 :]
    if len(set(right)) > 1:
        assert parse_vin(right).warnings == ()


@given(seventeen, characters)
def test_a_wrong_check_digit_refuses_the_strict_and_warns_of_the_others(text: str, character: str) -> None:
    wrong = text[:CHECK_POSITION] + character + text[CHECK_POSITION + 1 :]
    if character == check_digit(text) or len(set(wrong)) == 1:
        return
    if wrong[0] in "L12345":
        assert refused(wrong) == "VIN_CHECK_DIGIT"
    else:
        assert parse_vin(wrong).warnings == ("VIN_CHECK_DIGIT",)


@given(seventeen, st.integers(0, 16), characters)
def test_one_changed_digit_is_noticed(text: str, place: int, character: str) -> None:
    """The weights are units mod 11, so a changed value always shows (letters that share a value don't)."""
    from carlien_common.domain.vin import _VALUES

    if place == CHECK_POSITION or _VALUES[text[place]] == _VALUES[character]:
        return
    assert check_digit(text) != check_digit(text[:place] + character + text[place + 1 :])


@given(st.text())
def test_any_text_is_a_vin_or_bad_input(text: str) -> None:
    try:
        vin = parse_vin(text)
    except DomainError:
        return
    assert len(vin.value) == 17
