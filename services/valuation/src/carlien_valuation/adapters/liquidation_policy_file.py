"""Liquidation policy from its YAML: parsed once, every mistake refused with where it is."""

from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.confidence import Confidence
from carlien_valuation.domain.liquidation import LiquidationPolicy

_NUMBERS = ("towing", "storage_per_day", "auction_fee_rate", "auction_fee_least", "annual_rate")


def load_liquidation_policies(path: Path | None = None) -> list[LiquidationPolicy]:
    """All editions, oldest first; the shipped ones where path is None. Raises DomainError POLICY_INVALID."""
    source = path or files("carlien_valuation.policies").joinpath("liquidation.yaml")
    try:
        editions = [_edition(document) for document in yaml.safe_load(source.read_text(encoding="utf-8"))["editions"]]
    except (KeyError, TypeError, ValueError, InvalidOperation, yaml.YAMLError) as error:
        raise precondition("POLICY_INVALID", f"the liquidation policy can't be read: {type(error).__name__} {error}") from None
    return sorted(editions, key=lambda edition: edition.in_force_from)


def _edition(document: dict[str, Any]) -> LiquidationPolicy:
    numbers = {name: Decimal(str(document[name])) for name in _NUMBERS}
    if any(not value.is_finite() or value < 0 for value in numbers.values()):
        raise ValueError("costs and rates are not negative")
    if numbers["auction_fee_rate"] >= 1:
        raise ValueError(f"auction_fee_rate is a fraction below 1, not {numbers['auction_fee_rate']}")
    days = {level: int(document["days_to_sell"][level.value]) for level in Confidence}
    if any(not 0 <= value <= 3650 for value in days.values()):
        raise ValueError("days_to_sell lie between 0 and 3650")
    return LiquidationPolicy(
        in_force_from=document["in_force_from"],
        source=str(document["source"]),
        currency=str(document["currency"]),
        days_to_sell=days,
        **numbers,
    )
