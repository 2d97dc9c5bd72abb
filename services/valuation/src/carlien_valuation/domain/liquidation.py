"""What is left of a forced sale: the price less towing, storage, the auction house's fee and the cost of waiting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from carlien_common.domain.errors import precondition
from carlien_common.domain.money import Money
from carlien_valuation.domain.confidence import Confidence

DAYS_PER_YEAR = Decimal(365)


@dataclass(frozen=True, slots=True)
class LiquidationPolicy:
    """A dated table with its source."""

    in_force_from: date
    source: str
    currency: str
    towing: Decimal
    storage_per_day: Decimal
    auction_fee_rate: Decimal
    auction_fee_least: Decimal
    annual_rate: Decimal
    days_to_sell: Mapping[Confidence, int]


def in_force(policies: Sequence[LiquidationPolicy], on: date) -> LiquidationPolicy:
    """The edition of a date; the first one before any was in force. PRECONDITION LIQUIDATION_POLICY_MISSING without any."""
    if not policies:
        raise precondition("LIQUIDATION_POLICY_MISSING", "No costs of a forced sale are on file.")
    dated = sorted(policies, key=lambda policy: policy.in_force_from)
    return next((policy for policy in reversed(dated) if policy.in_force_from <= on), dated[0])


@dataclass(frozen=True, slots=True)
class Liquidation:
    """Price and costs (negative) sum to `net` to the cent."""

    price: Money
    towing: Money
    storage: Money
    auction_fee: Money
    time_to_sell: Money
    net: Money
    net_p10: Money
    """Of the price's P10."""
    days_to_sell: int
    source: str


def liquidate(p50: Money, p10: Money, confidence: Confidence, policy: LiquidationPolicy) -> Liquidation:
    """Proceeds of a price; PRECONDITION CURRENCY_MISMATCH where the costs are in another currency."""
    if p50.currency != policy.currency:
        raise precondition("CURRENCY_MISMATCH", f"Costs of a sale are in {policy.currency}, the price is in {p50.currency}.")
    days = policy.days_to_sell[confidence]
    towing, storage, fee, waiting, net = _proceeds(p50, days, policy)
    *_, net_p10 = _proceeds(p10, days, policy)
    return Liquidation(p50, towing, storage, fee, waiting, net, net_p10, days, policy.source)


def _proceeds(price: Money, days: int, policy: LiquidationPolicy) -> tuple[Money, Money, Money, Money, Money]:
    """Towing, storage, fee and waiting, each negative, and what is left. The fee is paid from the price; the rest of it is waited for."""
    currency = price.currency
    fee = max(price.amount * policy.auction_fee_rate, policy.auction_fee_least)
    discount = 1 - (1 + policy.annual_rate) ** (-Decimal(days) / DAYS_PER_YEAR)
    costs = [policy.towing, policy.storage_per_day * days, fee, max(price.amount - fee, Decimal(0)) * discount]
    towing, storage, paid, waiting = (Money(-cost, currency).quantized() for cost in costs)
    return towing, storage, paid, waiting, price + towing + storage + paid + waiting
