"""Battery policy from its YAML: parsed once, every mistake refused with where it is."""

from dataclasses import fields
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.battery import BatteryPolicy, ChemistryPolicy

_OTHER = {"in_force_from", "source", "currency", "chemistries"}


def load_battery_policies(path: Path | None = None) -> list[BatteryPolicy]:
    """All editions, oldest first; the shipped ones where path is None. Raises DomainError POLICY_INVALID."""
    text = (
        path.read_text(encoding="utf-8")
        if path
        else files("carlien_valuation.policies").joinpath("battery.yaml").read_text(encoding="utf-8")
    )
    try:
        editions = [_edition(document) for document in yaml.safe_load(text)["editions"]]
    except (KeyError, TypeError, ValueError, InvalidOperation, yaml.YAMLError) as error:
        raise precondition("POLICY_INVALID", f"the battery policy can't be read: {type(error).__name__} {error}") from None
    return sorted(editions, key=lambda edition: edition.in_force_from)


def _edition(document: dict[str, Any]) -> BatteryPolicy:
    numbers = {field.name: _number(document, field.name) for field in fields(BatteryPolicy) if field.name not in _OTHER}
    chemistries = {
        str(name).upper(): ChemistryPolicy(**{field.name: _number(row, field.name) for field in fields(ChemistryPolicy)})
        for name, row in document["chemistries"].items()
    }
    for name in (
        "end_of_first_life",
        "least_for_second_life",
        "second_life_yield",
        "warranty_reserve",
        "most_of_car",
        "price_fall_per_year",
    ):
        if not 0 <= numbers[name] < 1:
            raise ValueError(f"{name} is a fraction below 1, not {numbers[name]}")
    return BatteryPolicy(
        in_force_from=document["in_force_from"],
        source=document["source"],
        currency=document["currency"],
        chemistries=chemistries,
        **numbers,
    )


def _number(document: dict[str, Any], name: str) -> Decimal:
    value = Decimal(str(document[name]))
    if value < 0 or not value.is_finite():
        raise ValueError(f"{name} must not be negative")
    return value
