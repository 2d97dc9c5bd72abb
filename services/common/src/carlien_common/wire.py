"""Wire types to domain types and back. Whatever is wrong is INVALID and names the field."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money as MoneyMessage

from carlien_common.domain.currencies import MINOR_UNITS
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.domain.money import MINOR_UNIT, ROUNDING, Money, require_currency

_NANO: Final = Decimal("1e-9")
_BILLION: Final = 1_000_000_000
_MAX_UNITS: Final = 2**63 - 1
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, the range google.protobuf.Timestamp documents.
_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)


def missing(field: str) -> DomainError:
    """The error of a field that must be there."""
    return invalid(field, "FIELD_MISSING", f"{field} is required.")


def _present(message: Message | None, field: str) -> None:
    # An unset submessage reads as an empty one, and an empty one says nothing either.
    if message is None or message.ByteSize() == 0:
        raise missing(field)


def money_from_proto(message: MoneyMessage | None, field: str) -> Money:
    """google.type.Money: |nanos| < 10^9, units and nanos don't disagree in sign, no more decimals than the currency has.

    INVALID with FIELD_MISSING, CURRENCY_UNKNOWN, AMOUNT_INVALID (range, signs) or AMOUNT_PRECISION.
    """
    _present(message, field)
    assert message is not None  # noqa: S101 - _present has seen to it
    currency = require_currency(message.currency_code, f"{field}.currency_code")
    units, nanos = message.units, message.nanos
    if abs(nanos) >= _BILLION or (units > 0 > nanos) or (units < 0 < nanos):
        raise invalid(field, "AMOUNT_INVALID", "nanos must lie within ±999,999,999 and have the sign of units.")
    if nanos % 10 ** (9 - MINOR_UNITS[currency]):
        raise invalid(field, "AMOUNT_PRECISION", f"{currency} has {MINOR_UNITS[currency]} decimals.")
    amount = Decimal(units) + Decimal(nanos) * _NANO if nanos else Decimal(units)
    return Money(amount.quantize(MINOR_UNIT[currency]), currency)


def money_to_proto(money: Money) -> MoneyMessage:
    """Rounded half up to the minor unit first: no amount leaves with fractions of a cent."""
    # Before rounding: a Decimal of more than 28 digits can't even be rounded.
    if abs(money.amount) > _MAX_UNITS:
        raise invalid("amount", "AMOUNT_INVALID", "The amount is beyond what the wire can carry.")
    amount = money.amount.quantize(money.minor_unit, ROUNDING)
    units = int(amount)
    return MoneyMessage(currency_code=money.currency, units=units, nanos=int((amount - units) * _BILLION))


def date_from_proto(message: Date | None, field: str) -> dt.date:
    """A full calendar date (no zero year, month or day). INVALID with FIELD_MISSING or DATE_INVALID."""
    _present(message, field)
    assert message is not None  # noqa: S101 - _present has seen to it
    try:
        return dt.date(message.year, message.month, message.day)
    except ValueError:
        text = f"{message.year:04d}-{message.month:02d}-{message.day:02d}"
        raise invalid(field, "DATE_INVALID", f"{text} isn't a date.") from None


def date_to_proto(date: dt.date) -> Date:
    """A calendar date."""
    return Date(year=date.year, month=date.month, day=date.day)


def instant_from_proto(message: Timestamp | None, field: str) -> dt.datetime:
    """Aware, UTC, cut to microseconds. INVALID with FIELD_MISSING (the epoch itself counts as unset) or INSTANT_INVALID."""
    _present(message, field)
    assert message is not None  # noqa: S101 - _present has seen to it
    if message.seconds not in _SECONDS or not 0 <= message.nanos < _BILLION:
        raise invalid(field, "INSTANT_INVALID", "The timestamp lies outside the years 1 to 9999, or its nanos outside a second.")
    return _EPOCH + dt.timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def instant_to_proto(instant: dt.datetime) -> Timestamp:
    """From an aware time of any zone."""
    if instant.tzinfo is None:
        raise ValueError("A time without a zone isn't an instant.")
    since = instant - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)
