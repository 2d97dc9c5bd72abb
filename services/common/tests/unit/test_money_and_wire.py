import datetime as dt
from decimal import ROUND_DOWN, Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money as MoneyMessage
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.currencies import MINOR_UNITS
from carlien_common.domain.errors import DomainError, ErrorKind
from carlien_common.domain.money import Money, zero
from carlien_common.wire import (
    date_from_proto,
    date_to_proto,
    instant_from_proto,
    instant_to_proto,
    money_from_proto,
    money_to_proto,
)

currencies = st.sampled_from(sorted(MINOR_UNITS))


@st.composite
def amounts(draw: st.DrawFn) -> Money:
    currency = draw(currencies)
    minor = draw(st.integers(-(10**17), 10**17))
    return Money(Decimal(minor).scaleb(-MINOR_UNITS[currency]), currency)


def reason(error: pytest.ExceptionInfo[DomainError]) -> tuple[str, str]:
    assert error.value.kind is ErrorKind.INVALID
    return error.value.violations[0].field, error.value.reason


def test_rounding_is_half_up_unless_said_otherwise() -> None:
    assert Money(Decimal("0.125"), "CNY").quantized().amount == Decimal("0.13")
    assert Money(Decimal("0.125"), "CNY").quantized(ROUND_DOWN).amount == Decimal("0.12")
    assert Money(Decimal("-0.125"), "CNY").quantized().amount == Decimal("-0.13")
    assert Money(Decimal("1.5"), "JPY").quantized().amount == Decimal(2)
    assert Money(Decimal("1.2345"), "KWD").quantized().amount == Decimal("1.235")


def test_arithmetic_is_exact_and_currencies_do_not_mix() -> None:
    a, b = Money(Decimal("0.10"), "CNY"), Money(Decimal("0.20"), "CNY")
    assert (a + b).amount == Decimal("0.30")
    assert (a - b).amount == Decimal("-0.10")
    assert (3 * a) == Money(Decimal("0.30"), "CNY")
    assert a / b == Decimal("0.5")
    assert a < b <= b < Money(Decimal(1), "CNY")
    assert sum([a, b], zero("CNY")) == Money(Decimal("0.30"), "CNY")
    for operation in (lambda: a + zero("USD"), lambda: a < zero("USD"), lambda: a / zero("USD")):
        with pytest.raises(ValueError, match="mix"):
            operation()


def test_no_floats_no_nonsense() -> None:
    with pytest.raises(TypeError):
        Money(0.1, "CNY")  # type: ignore[arg-type]
    with pytest.raises(DomainError) as caught:
        Money(Decimal("NaN"), "CNY")
    assert reason(caught)[1] == "AMOUNT_INVALID"
    for code in ("XXX", "cny", "", "RMB", "XAU"):
        with pytest.raises(DomainError) as caught:
            Money(Decimal(1), code)
        assert reason(caught)[1] == "CURRENCY_UNKNOWN"


@pytest.mark.parametrize("amount", ["0", "-0.01"])
def test_a_positive_amount_is_asked_for(amount: str) -> None:
    with pytest.raises(DomainError) as caught:
        Money(Decimal(amount), "CNY").require_positive("secured_amount")
    assert reason(caught) == ("secured_amount", "AMOUNT_NOT_POSITIVE")


@given(amounts(), amounts())
def test_addition_commutes_and_subtraction_undoes_it(a: Money, b: Money) -> None:
    b = Money(b.amount, a.currency)
    assert a + b == b + a
    assert a + b - b == a


@given(amounts())
def test_every_amount_survives_the_wire(money: Money) -> None:
    message = money_to_proto(money)
    assert message.units * message.nanos >= 0
    if money.amount == 0:
        # All of a zero but its currency is unset on the wire; it is still there.
        assert message.currency_code == money.currency
    assert money_from_proto(MoneyMessage.FromString(message.SerializeToString()), "m") == money


@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=6), currencies)
def test_rounding_moves_at_most_half_a_minor_unit(amount: Decimal, currency: str) -> None:
    money = Money(amount, currency)
    assert abs(money.quantized().amount - amount) * 2 <= money.minor_unit
    assert money.quantized().quantized() == money.quantized()


@pytest.mark.parametrize(
    ("message", "field", "expected"),
    [
        (None, "amount", "FIELD_MISSING"),
        (MoneyMessage(), "amount", "FIELD_MISSING"),
        (MoneyMessage(units=1), "amount.currency_code", "CURRENCY_UNKNOWN"),
        (MoneyMessage(units=1, currency_code="XYZ"), "amount.currency_code", "CURRENCY_UNKNOWN"),
        (MoneyMessage(units=1, nanos=-1, currency_code="CNY"), "amount", "AMOUNT_INVALID"),
        (MoneyMessage(units=-1, nanos=1, currency_code="CNY"), "amount", "AMOUNT_INVALID"),
        (MoneyMessage(nanos=1_000_000_000, currency_code="CNY"), "amount", "AMOUNT_INVALID"),
        (MoneyMessage(nanos=-1_000_000_000, currency_code="CNY"), "amount", "AMOUNT_INVALID"),
        (MoneyMessage(nanos=5_000_000, currency_code="CNY"), "amount", "AMOUNT_PRECISION"),
        (MoneyMessage(nanos=10_000_000, currency_code="JPY"), "amount", "AMOUNT_PRECISION"),
    ],
)
def test_bad_money_names_its_field(message: MoneyMessage | None, field: str, expected: str) -> None:
    with pytest.raises(DomainError) as caught:
        money_from_proto(message, "amount")
    assert reason(caught) == (field, expected)


def test_money_beyond_the_wire_is_refused() -> None:
    assert money_to_proto(Money(Decimal(2**63 - 1), "JPY")).units == 2**63 - 1
    for amount in (Decimal(2**63), Decimal("1e27"), Decimal("1e40")):
        with pytest.raises(DomainError) as caught:
            money_to_proto(Money(amount, "CNY"))
        assert caught.value.reason == "AMOUNT_INVALID"


@given(st.dates())
def test_every_date_survives_the_wire(date: dt.date) -> None:
    assert date_from_proto(date_to_proto(date), "d") == date


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, "FIELD_MISSING"),
        (Date(), "FIELD_MISSING"),
        (Date(year=2026, month=2, day=29), "DATE_INVALID"),
        (Date(year=2026, month=13, day=1), "DATE_INVALID"),
        (Date(year=2026, month=1), "DATE_INVALID"),
        (Date(month=1, day=1), "DATE_INVALID"),
        (Date(year=10000, month=1, day=1), "DATE_INVALID"),
        (Date(year=2026, month=-1, day=1), "DATE_INVALID"),
    ],
)
def test_a_bad_date_names_its_field(message: Date | None, expected: str) -> None:
    with pytest.raises(DomainError) as caught:
        date_from_proto(message, "delivery_date")
    assert reason(caught) == ("delivery_date", expected)


@given(st.datetimes(timezones=st.timezones()))
def test_every_instant_survives_the_wire(moment: dt.datetime) -> None:
    try:
        utc = moment.astimezone(dt.UTC)
    except OverflowError:
        return
    message = instant_to_proto(utc)
    if message.ByteSize():
        assert instant_from_proto(message, "t") == utc


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, "FIELD_MISSING"),
        (Timestamp(), "FIELD_MISSING"),
        (Timestamp(seconds=253_402_300_800), "INSTANT_INVALID"),
        (Timestamp(seconds=-62_135_596_801), "INSTANT_INVALID"),
        (Timestamp(seconds=1, nanos=-1), "INSTANT_INVALID"),
        (Timestamp(seconds=1, nanos=1_000_000_000), "INSTANT_INVALID"),
    ],
)
def test_a_bad_instant_names_its_field(message: Timestamp | None, expected: str) -> None:
    with pytest.raises(DomainError) as caught:
        instant_from_proto(message, "expires_at")
    assert reason(caught) == ("expires_at", expected)


def test_a_time_without_a_zone_is_no_instant() -> None:
    with pytest.raises(ValueError, match="zone"):
        instant_to_proto(dt.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
