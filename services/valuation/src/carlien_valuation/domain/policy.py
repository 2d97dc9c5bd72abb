"""What the training data can't tell, from dated tables: price levels of markets, and adjustments for what the data has no column for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.appraisal import Z80, PriceType
from carlien_valuation.domain.car import Usage


@dataclass(frozen=True, slots=True)
class MarketLevel:
    """A market's price level relative to dealer retail sales, and how uncertain that is (standard deviation of log price)."""

    level: float
    spread: float


@dataclass(frozen=True, slots=True)
class AppraisalPolicy:
    """One dated edition of all tables."""

    in_force_from: date
    source: str
    markets: dict[PriceType, MarketLevel]
    price_kinds: dict[str, float]
    """Level of what a data set's price column states (ask_retail, …) relative to dealer retail sales."""
    grades: dict[int, float]
    usages: dict[Usage, float]
    transfer: float
    """Factor per ownership transfer, up to `transfers_counted`."""
    transfers_counted: int

    def market(self, price_type: PriceType, price_kind: str) -> MarketLevel:
        """From the model's kind of price to a market's."""
        target = self.markets[price_type]
        return MarketLevel(target.level / self.price_kinds[price_kind], target.spread)


def in_force(editions: Sequence[AppraisalPolicy], day: date) -> AppraisalPolicy:
    """The newest edition that was in force on a day; the first one before all of them."""
    if not editions:
        raise precondition("POLICY_MISSING", "there is no edition of the appraisal policy")
    return max(
        (edition for edition in editions if edition.in_force_from <= day), key=lambda edition: edition.in_force_from, default=editions[0]
    )


def widened(low: float, high: float, spread: float) -> tuple[float, float]:
    """Log distances of P10 (negative) and P90 from P50 with an independent spread of a market added; spread is a standard deviation."""
    more = (Z80 * spread) ** 2
    return -math.sqrt(low * low + more), math.sqrt(high * high + more)
