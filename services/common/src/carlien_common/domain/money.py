"""Amounts of money: exact decimals with an ISO 4217 currency, never a float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from carlien_common.domain.currencies import MINOR_UNITS
from carlien_common.domain.errors import invalid

ROUNDING: Final = ROUND_HALF_UP
"""四舍五入, the rule of Chinese bookkeeping and of every amount we show; pass another one to quantized() where a law says so."""

MINOR_UNIT: Final = {currency: Decimal(1).scaleb(-decimals) for currency, decimals in MINOR_UNITS.items()}
"""The smallest amount of a currency: 0.01 for CNY, 1 for JPY."""


def require_currency(code: str, field: str = "currency_code") -> str:
    """The code itself, or INVALID with CURRENCY_UNKNOWN."""
    if code not in MINOR_UNITS:
        raise invalid(field, "CURRENCY_UNKNOWN", f"{code!r} isn't a currency of ISO 4217.")
    return code


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` in major units of `currency`. Intermediate results may have more decimals than the currency: quantized() rounds.

    Amounts of different currencies don't mix: that is a programming error (ValueError), not bad input.
    """

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError("Money takes a Decimal: a float has lost the cents already.")
        if not self.amount.is_finite():
            raise invalid("amount", "AMOUNT_INVALID", "An amount is a finite number.")
        require_currency(self.currency, "currency_code")

    @property
    def minor_unit(self) -> Decimal:
        """The smallest amount there is: 0.01 for CNY, 1 for JPY."""
        return MINOR_UNIT[self.currency]

    def quantized(self, rounding: str = ROUNDING) -> Money:
        """Rounded to the currency's minor unit, half up unless said otherwise."""
        return Money(self.amount.quantize(self.minor_unit, rounding), self.currency)

    def require_positive(self, field: str) -> Money:
        """Itself, or INVALID with AMOUNT_NOT_POSITIVE on `field`."""
        if self.amount <= 0:
            raise invalid(field, "AMOUNT_NOT_POSITIVE", "The amount must be greater than zero.")
        return self

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __mul__(self, factor: Decimal | int) -> Money:
        return Money(self.amount * factor, self.currency)

    __rmul__ = __mul__

    def __truediv__(self, other: Money) -> Decimal:
        """The ratio of two amounts, for example a loan to its collateral."""
        return self.amount / self._same(other)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount >= self._same(other)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def _same(self, other: Money) -> Decimal:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} don't mix.")
        return other.amount


def zero(currency: str) -> Money:
    """Nothing, in that currency."""
    return Money(Decimal(0), currency)
