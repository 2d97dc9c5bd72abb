"""Law and policy as dated tables: rows with a first and last day in force and a source; look-ups name the row they found.

The rows are data files (`carlien_pricing/policies`). Structure is checked when they are loaded, sense (`check_*`) right after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar, TypeVar

from carlien_common.domain.errors import invalid


class LenderType(StrEnum):
    """Kind of lender: it decides which rules apply."""

    LICENSED = "LICENSED"
    MICRO_LOAN = "MICRO_LOAN"
    PRIVATE = "PRIVATE"
    FACILITATION = "FACILITATION"
    OTHER_FINANCIAL = "OTHER_FINANCIAL"


class ProductType(StrEnum):
    """Which product pack applies."""

    DEALER_STOCK = "DEALER_STOCK"
    OWNER = "OWNER"
    NEV = "NEV"


class LoanPurpose(StrEnum):
    """Statutory LTV and tenor limits hold for loans that buy the car."""

    OPERATING = "OPERATING"
    PURCHASE_PRIVATE_USE = "PURCHASE_PRIVATE_USE"
    PURCHASE_COMMERCIAL_USE = "PURCHASE_COMMERCIAL_USE"


class Energy(StrEnum):
    """ICE: combustion (hybrids without a plug too). NEV: 新能源汽车: battery electric, plug-in hybrid, fuel cell."""

    ICE = "ICE"
    NEV = "NEV"


class CarAge(StrEnum):
    """New: never registered. Used: registered before."""

    NEW = "NEW"
    USED = "USED"


class RateBasis(StrEnum):
    """Which annualised rate a cap is compared with."""

    IRR = "IRR"
    SIMPLE = "SIMPLE"


class Authority(StrEnum):
    """LAW binds everybody; HOUSE is this lender's own, stricter policy."""

    LAW = "LAW"
    HOUSE = "HOUSE"


_FORBID_UNKNOWN_FIELDS = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What every row has. `effective_to` is the last day in force; none = still in force.

    `evidence`: F read in the primary source, S secondary source, K background knowledge still to be verified.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    id: str
    effective_from: date
    effective_to: date | None = None
    source: str
    evidence: str
    authority: Authority = Authority.LAW

    def in_force(self, on: date) -> bool:
        return self.effective_from <= on and (self.effective_to is None or on <= self.effective_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class LprRow(Rule):
    """The one-year loan prime rate from its publication to the next."""

    rate: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LprTable:
    """`verified_until`: last day the table was compared with the publisher; later answers carry the last rate forward."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    verified_until: date
    rows: tuple[LprRow, ...]

    def on(self, day: date) -> LprRow:
        for row in self.rows:
            if row.in_force(day):
                return row
        raise _not_covered("LPR", day)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCapRule(Rule):
    """A cap on the annualised all-in cost: a fixed limit or a multiple of the one-year LPR on the contract's date."""

    lender_types: tuple[LenderType, ...]
    limit: Decimal | None = None
    lpr_multiple: Decimal | None = None
    basis: RateBasis = RateBasis.IRR
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvRule(Rule):
    """Highest loan to value. Empty selectors mean any."""

    limit: Decimal
    purposes: tuple[LoanPurpose, ...] = ()
    energies: tuple[Energy, ...] = ()
    ages: tuple[CarAge, ...] = ()
    products: tuple[ProductType, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenorRule(Rule):
    """Longest term, extensions included."""

    max_months: int
    purposes: tuple[LoanPurpose, ...] = ()
    ages: tuple[CarAge, ...] = ()
    products: tuple[ProductType, ...] = ()
    lender_types: tuple[LenderType, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultInterestRule(Rule):
    """Cap on the rate after default: a multiple of the contract rate, of the LPR, or fixed."""

    lender_types: tuple[LenderType, ...]
    contract_multiple: Decimal | None = None
    lpr_multiple: Decimal | None = None
    limit: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRule(Rule):
    """Up-front fees over principal. `forbidden_kinds` may not be charged at all."""

    lender_types: tuple[LenderType, ...] = ()
    max_upfront_share: Decimal | None = None
    forbidden_kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpfrontInterestRule(Rule):
    """Interest withheld from what is paid out is not principal: the loan is what was received."""

    fee_kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawTables:
    """All dated rules of law and house."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    lpr: LprTable
    rate_caps: tuple[RateCapRule, ...]
    ltv_limits: tuple[LtvRule, ...]
    tenor_limits: tuple[TenorRule, ...]
    default_interest: tuple[DefaultInterestRule, ...]
    fee_limits: tuple[FeeRule, ...]
    upfront_interest: tuple[UpfrontInterestRule, ...]


R = TypeVar("R", bound=Rule)


def rules_in_force(rows: Iterable[R], on: date) -> list[R]:
    """Rows in force on the day, in table order."""
    return [row for row in rows if row.in_force(on)]


def _not_covered(table: str, day: date) -> Exception:
    return invalid("quote_date", "RULES_NOT_COVERED", f"the {table} table has no row for {day.isoformat()}")


def _check_gapless(name: str, rows: Sequence[Rule]) -> None:
    for earlier, later in pairwise(rows):
        if earlier.effective_to is None or (later.effective_from - earlier.effective_to).days != 1:
            raise ValueError(f"{name}: {later.id} must begin the day after {earlier.id} ends")


def check_law_tables(tables: LawTables) -> None:
    """ValueError for rows that make no sense: no source, ends before it begins, a gap in the LPR, both or neither limit."""
    groups: dict[str, Sequence[Rule]] = {
        "lpr": tables.lpr.rows,
        "rate_caps": tables.rate_caps,
        "ltv_limits": tables.ltv_limits,
        "tenor_limits": tables.tenor_limits,
        "default_interest": tables.default_interest,
        "fee_limits": tables.fee_limits,
        "upfront_interest": tables.upfront_interest,
    }
    for name, rows in groups.items():
        seen: set[str] = set()
        for row in rows:
            if not row.source.strip():
                raise ValueError(f"{name}: {row.id} names no source")
            if row.effective_to is not None and row.effective_to < row.effective_from:
                raise ValueError(f"{name}: {row.id} ends before it begins")
            if row.id in seen:
                raise ValueError(f"{name}: {row.id} occurs twice")
            seen.add(row.id)
    _check_gapless("lpr", tables.lpr.rows)
    for cap in tables.rate_caps:
        if (cap.limit is None) == (cap.lpr_multiple is None):
            raise ValueError(f"rate_caps: {cap.id} needs exactly one of limit and lpr_multiple")
    for limit in tables.default_interest:
        if sum(x is not None for x in (limit.limit, limit.lpr_multiple, limit.contract_multiple)) != 1:
            raise ValueError(f"default_interest: {limit.id} needs exactly one limit")
    for lender in LenderType:
        if not any(lender in cap.lender_types and cap.effective_to is None for cap in tables.rate_caps):
            raise ValueError(f"rate_caps: {lender} has no open-ended cap")
