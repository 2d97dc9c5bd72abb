"""What a quote is: its inputs, complete and serialisable, and its answer."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from carlien_pricing.domain.calendar import DayCount
from carlien_pricing.domain.cost import AnnualisedCost
from carlien_pricing.domain.legality import CapAnswer
from carlien_pricing.domain.matrix import Axis, Cell, MarketFacts, UsageFacts
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType
from carlien_pricing.domain.schedule import Instalment, RepaymentMethod


class ReasonCode(StrEnum):
    """Why a loan is declined, or what the reader of an offer should know."""

    VALUE_ABSTAINED = "VALUE_ABSTAINED"
    VALUE_STALE = "VALUE_STALE"
    LIEN_AHEAD = "LIEN_AHEAD"
    LTV_ABOVE_LIMIT = "LTV_ABOVE_LIMIT"
    LTV_ABOVE_CELL = "LTV_ABOVE_CELL"
    TERM_ABOVE_LIMIT = "TERM_ABOVE_LIMIT"
    TERM_ABOVE_CELL = "TERM_ABOVE_CELL"
    CELL_NOT_LENT = "CELL_NOT_LENT"
    METHOD_NOT_IN_PRODUCT = "METHOD_NOT_IN_PRODUCT"
    BALLOON_ABOVE_VALUE = "BALLOON_ABOVE_VALUE"
    FEE_NOT_ALLOWED = "FEE_NOT_ALLOWED"
    RATE_ABOVE_CAP = "RATE_ABOVE_CAP"
    HURDLE_NOT_REACHED = "HURDLE_NOT_REACHED"
    UPFRONT_INTEREST_DEDUCTED = "UPFRONT_INTEREST_DEDUCTED"
    TELEMATICS_UNKNOWN = "TELEMATICS_UNKNOWN"
    NO_DEVICE = "NO_DEVICE"
    BORROWER_RISK_ASSUMED = "BORROWER_RISK_ASSUMED"
    VALUE_PATH_ASSUMED = "VALUE_PATH_ASSUMED"
    USAGE_ASSUMED_COMMERCIAL = "USAGE_ASSUMED_COMMERCIAL"
    ENERGY_ASSUMED = "ENERGY_ASSUMED"
    LEASED_BATTERY_EXCLUDED = "LEASED_BATTERY_EXCLUDED"
    BATTERY_FLOOR = "BATTERY_FLOOR"
    TRUST_UNKNOWN = "TRUST_UNKNOWN"
    TRUST_LOW = "TRUST_LOW"
    RANK_ASSUMED = "RANK_ASSUMED"
    CLAIM_NOT_COUNTED = "CLAIM_NOT_COUNTED"
    MARKET_FALLS = "MARKET_FALLS"
    MARKET_UNKNOWN = "MARKET_UNKNOWN"
    USAGE_MODEL_APPLIED = "USAGE_MODEL_APPLIED"
    USAGE_MODEL_OUTDATED = "USAGE_MODEL_OUTDATED"


@dataclass(frozen=True, slots=True)
class Reason:
    """`blocking` reasons decline; the others inform."""

    code: ReasonCode
    message: str
    rule: str = ""
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class Fee:
    """Paid once at the start, or with every instalment."""

    kind: str
    amount: Decimal
    upfront: bool


@dataclass(frozen=True, slots=True)
class CarFacts:
    """What is known of the car. None = not known: the strictest rule that might apply does."""

    vin: str
    energy: Energy | None = None
    age: CarAge | None = None
    commercial_use: bool | None = None
    battery_leased: bool = False
    battery_kwh: float = 0.0
    """What an own pack still holds: capacity when new times state of health; 0 where either isn't known."""


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """The recorded appraisal, in the market the loan is measured by."""

    appraisal_id: str
    currency: str
    price_type: str
    p50: Decimal
    p10: Decimal
    forced_sale_p50: Decimal | None
    low_confidence: bool
    abstained: bool
    abstain_reason: str
    valuation_date: date
    model_version: str
    valued_at: datetime
    index_level: float = 0.0
    """Level of the market index it stands on; 0 where not stated."""
    leased_battery_excluded: bool = False
    """Whether valuation has taken a leased pack out already."""


@dataclass(frozen=True, slots=True)
class ForecastPoint:
    """Valuation's forecast of the same value, so many months ahead."""

    month: int
    p50: Decimal
    p10: Decimal


@dataclass(frozen=True, slots=True)
class LienFacts:
    """What the registry certified, and how a lien of ours would rank.

    `prior_claims`: maximum secured amounts of what ranks ahead of it (its share of what ranks equal), in the loan's currency.
    """

    certificate_number: str
    as_of_block: int
    live_registrations: tuple[str, ...]
    prior_claims: Decimal
    rank: int = 0
    """1 is paid first; 0: not ranked, and then every live registration counts as ahead."""
    rule: str = ""
    """What the rank rests on, for example Civil Code 414."""
    rank_assumed: bool = False
    """The registry could not be asked for the rank, so every live registration counts as ahead."""
    uncounted: tuple[str, ...] = ()
    """Registrations ahead whose claim has no amount in the loan's currency: nothing is left behind them."""

    @property
    def first(self) -> bool:
        return self.rank == 1 if self.rank else not self.live_registrations


@dataclass(frozen=True, slots=True)
class BorrowerFacts:
    """Twelve-month probability of default and where it comes from: LENDER, MODEL, SCORE or POLICY (nothing known)."""

    pd_12m: float
    origin: str
    model_version: str = ""
    reason_codes: tuple[str, ...] = ()
    usage_model: str = ""
    """The usage-to-credit model, where there is one."""
    usage_log_odds: float = 0.0
    """What usage added to the log-odds of default."""
    usage_model_outdated: bool = False
    """Its validation is older than a quarter, so it was not used."""


@dataclass(frozen=True, slots=True)
class LoanRequest:
    """What is asked for."""

    amount: Decimal
    minor_unit: Decimal
    term_months: int
    method: RepaymentMethod
    fees: tuple[Fee, ...]
    lender: LenderType
    product: ProductType
    purpose: LoanPurpose
    quote_date: date
    balloon: Decimal = Decimal(0)
    grace_months: int = 0
    day_count: DayCount = DayCount.THIRTY_360
    annual_mileage_km: int = 0
    """Distance driven per year from now on; 0 takes the policy's for the use."""
    down_payment: Decimal | None = None
    """Of a purchase loan: what the buyer pays himself. The car's price is this and the amount; None: not stated."""


@dataclass(frozen=True, slots=True)
class QuoteInputs:
    """All that a price depends on besides the policy bundle: stored with the quote, and enough to compute it again."""

    request: LoanRequest
    car: CarFacts
    value: ValueFacts
    lien: LienFacts
    usage: UsageFacts
    borrower: BorrowerFacts
    forecast: tuple[ForecastPoint, ...] = ()
    """From month 0 on; empty where there is none, and the policy's path with its margin is taken."""
    market: MarketFacts | None = None
    """None: not looked at (quotes of before)."""


@dataclass(frozen=True, slots=True)
class MatrixStep:
    """What one step on an axis would change: better, or worse where there is no better. `rate_change` is negative where it is cheaper."""

    axis: Axis
    cell: Cell
    rate_change: Decimal


@dataclass(frozen=True, slots=True)
class LossFigures:
    """Over the loan's life, in currency; `shortfall_probability[m-1]` = P(LTV > 100 %) in month m."""

    expected_loss: Decimal
    percentile_99: Decimal
    ecl_12m: Decimal
    ecl_lifetime: Decimal
    ifrs9_stage: int
    lgd: float
    shortfall_probability: tuple[float, ...]
    seed: int
    cumulative_pd: tuple[float, ...] = ()
    """Lifetime PD curve: probability of default by the end of month 1, 2, ..."""


@dataclass(frozen=True, slots=True)
class PricedQuote:
    """The answer. `offered` only where no reason blocks. Rates as fractions a year."""

    offered: bool
    principal: Decimal
    nominal_rate: Decimal
    cost: AnnualisedCost
    cost_without_fees: AnnualisedCost
    ltv_p50: float
    ltv_p10: float
    caps: tuple[CapAnswer, ...]
    default_interest_limit: Decimal
    default_interest_rule: str
    cell: Cell
    steps: tuple[MatrixStep, ...]
    loss: LossFigures
    raroc: float
    hurdle: float
    schedule: tuple[Instalment, ...]
    reasons: tuple[Reason, ...]
    matrix_version: str
    economics_id: str
    policies_version: str
