"""Product packs and economics: what each product allows, and what money, work, capital and recovery cost on a date."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import ClassVar

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.credit import StagingRules
from carlien_pricing.domain.ladder import LadderRules
from carlien_pricing.domain.matrix import RiskMatrix
from carlien_pricing.domain.policy import Energy, LawTables, ProductType, Rule, rules_in_force
from carlien_pricing.domain.schedule import RepaymentMethod

_FORBID_UNKNOWN_FIELDS = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curtailment:
    """A share of the original principal that a stock loan repays in this month, sold or not."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    month: int
    share: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductPack:
    """What one product allows. `recoverability[u-1]` = probability of finding and taking the car at usage grade u."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    product: ProductType
    methods: tuple[RepaymentMethod, ...]
    max_balloon_of_projected_p10: Decimal
    curtailment: tuple[Curtailment, ...]
    stock_audit_days: int | None
    battery_value_share: Decimal
    recoverability: tuple[float, ...]
    max_rank: int = 1
    """Our lien's worst rank with which a loan is made; 1: first rank is required."""
    battery_floor_per_kwh: dict[str, Decimal] = field(default_factory=dict)
    """What an own pack fetches by itself (second life, materials) per kWh it still holds, by currency."""
    battery_floor_decline: float = 0.0
    """By how much that falls a year, as a fraction."""
    battery_floor_of_p10: Decimal = Decimal("0.35")
    """It never counts for more than this share of the car's P10: a stated capacity is only a statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePathParameters:
    """Per year: decline as a fraction, volatilities of the logarithm (market: common to all cars; own: this car)."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    annual_decline: float
    market_volatility: float
    own_volatility: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreScale:
    """odds(good:bad) = base_odds * 2 ^ ((score - base_score) / pdo)."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID_UNKNOWN_FIELDS
    base_score: float
    base_odds: float
    pdo: float

    def pd(self, score: float) -> float:
        """Probability of default of a score, within 0.01 % and 99.99 %."""
        log_odds = math.log(self.base_odds) + (score - self.base_score) / self.pdo * math.log(2)
        return 1 / (1 + math.exp(min(max(log_odds, -9.2), 9.2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EconomicsRow(Rule):
    """Assumptions of the price, in force from a date."""

    funding_curve: tuple[tuple[float, float], ...]
    liquidity_add_on: float
    income_fee_kinds: tuple[str, ...]
    opex_upfront_share: float
    opex_monthly_share: float
    tax_rate: float
    hurdle: float
    capital_floor: float
    seasoning: tuple[float, ...]
    market_correlation: float
    recovery_lag_months: int
    liquidation_cost: float
    forced_sale_ratio: float
    unsecured_recovery: float
    value_paths: dict[Energy, ValuePathParameters]
    unforecast_decline_margin: float
    """Added to the annual decline where valuation gives no forecast."""
    annual_mileage_km: dict[str, int]
    """Assumed for a forecast where the caller states none: private, commercial."""
    unknown_borrower_pd: float
    score_scale: ScoreScale
    quote_validity_hours: int
    appraisal_validity_days: int
    min_nominal_rate: Decimal
    step_down_after_months: int = 3
    """So long must what lowers the rate have held."""
    step_down_trust: float = 1.0
    """So far must what a device reports have been trusted."""
    staging: StagingRules = field(default_factory=StagingRules)

    def funding_rate(self, term_months: int) -> float:
        """Funding cost for the term, liquidity included, linear between the curve's points."""
        months, rates = zip(*self.funding_curve, strict=True)
        return float(np.interp(term_months, months, rates)) + self.liquidity_add_on


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """Everything a price rests on besides its inputs. `version` = first 16 hex digits of the SHA-256 of all files."""

    version: str
    law: LawTables
    packs: dict[ProductType, ProductPack]
    economics: tuple[EconomicsRow, ...]
    matrices: tuple[RiskMatrix, ...]
    ladders: tuple[LadderRules, ...]

    def economics_on(self, day: date) -> EconomicsRow:
        found = rules_in_force(self.economics, day)
        if not found:
            raise invalid("quote_date", "RULES_NOT_COVERED", f"no economics are on record for {day.isoformat()}")
        return max(found, key=lambda row: row.effective_from)

    def matrix_on(self, day: date) -> RiskMatrix:
        found = [matrix for matrix in self.matrices if matrix.effective_from <= day]
        if not found:
            raise invalid("quote_date", "RULES_NOT_COVERED", f"no risk matrix is on record for {day.isoformat()}")
        return max(found, key=lambda matrix: matrix.effective_from)

    def ladder_on(self, day: date) -> LadderRules:
        found = rules_in_force(self.ladders, day)
        if not found:
            raise invalid("quote_date", "RULES_NOT_COVERED", f"no margin-call ladder is on record for {day.isoformat()}")
        return max(found, key=lambda row: row.effective_from)


def check_packs(packs: Sequence[ProductPack]) -> None:
    """ValueError for a pack missing, doubled, or whose recoverability rises with a worse usage grade."""
    if sorted(pack.product for pack in packs) != sorted(ProductType):
        raise ValueError("exactly one pack per product is needed")
    for pack in packs:
        if len(pack.recoverability) != 5 or list(pack.recoverability) != sorted(pack.recoverability, reverse=True):
            raise ValueError(f"{pack.product}: recoverability needs 5 falling values")
        if not all(0 < value <= 1 for value in pack.recoverability):
            raise ValueError(f"{pack.product}: recoverability must be a probability")
        if pack.max_rank < 1 or not 0 <= pack.battery_floor_decline < 1 or not 0 <= pack.battery_floor_of_p10 <= 1:
            raise ValueError(f"{pack.product}: a rank from 1, and shares as fractions, are needed")
        if any(price <= 0 for price in pack.battery_floor_per_kwh.values()):
            raise ValueError(f"{pack.product}: battery floor prices must be positive")
        if sum((part.share for part in pack.curtailment), Decimal(0)) >= 1:
            raise ValueError(f"{pack.product}: curtailments must leave something for the end")


def check_economics(rows: Sequence[EconomicsRow]) -> None:
    """ValueError for assumptions out of range."""
    for row in rows:
        if set(row.value_paths) != set(Energy):
            raise ValueError(f"{row.id}: a value path per energy is needed")
        if not 0 <= row.market_correlation < 1 or not 0 < row.hurdle < 1 or not 0 <= row.tax_rate < 1:
            raise ValueError(f"{row.id}: correlation, hurdle and tax must be fractions")
        if set(row.annual_mileage_km) != {"private", "commercial"} or min(row.annual_mileage_km.values()) <= 0:
            raise ValueError(f"{row.id}: annual_mileage_km needs private and commercial")
        if any(not 0 <= p.annual_decline + row.unforecast_decline_margin < 1 for p in row.value_paths.values()):
            raise ValueError(f"{row.id}: a decline, margin included, must be a fraction")
        staging = row.staging
        if not 0 <= staging.increased_past_due_days < staging.impaired_past_due_days:
            raise ValueError(f"{row.id}: a loan is impaired later than its risk has increased")
        if staging.increased_pd_ratio < 1 or staging.increased_pd_by < 0:
            raise ValueError(f"{row.id}: a PD that has risen is at least what it was")
        if not 0 < row.step_down_trust <= 1:
            raise ValueError(f"{row.id}: step_down_trust must be a fraction")
        if not row.seasoning or min(row.seasoning) <= 0:
            raise ValueError(f"{row.id}: seasoning weights must be positive")
        if [point[0] for point in row.funding_curve] != sorted({point[0] for point in row.funding_curve}):
            raise ValueError(f"{row.id}: the funding curve must rise in months")
