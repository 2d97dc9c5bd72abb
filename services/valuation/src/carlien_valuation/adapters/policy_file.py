"""Appraisal policy from its YAML: parsed once, every mistake refused with where it is."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.car import Usage
from carlien_valuation.domain.policy import AppraisalPolicy, MarketLevel


def load_policies(path: Path | None = None) -> list[AppraisalPolicy]:
    """All editions, oldest first; the shipped ones where path is None. Raises DomainError POLICY_INVALID."""
    text = (
        path.read_text(encoding="utf-8")
        if path
        else files("carlien_valuation.policies").joinpath("appraisal.yaml").read_text(encoding="utf-8")
    )
    try:
        editions = [_edition(document) for document in yaml.safe_load(text)["editions"]]
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise precondition("POLICY_INVALID", f"the appraisal policy can't be read: {type(error).__name__} {error}") from None
    return sorted(editions, key=lambda edition: edition.in_force_from)


def _edition(document: dict[str, Any]) -> AppraisalPolicy:
    return AppraisalPolicy(
        in_force_from=document["in_force_from"],
        source=document["source"],
        markets={PriceType(name): MarketLevel(_factor(row["level"]), float(row["spread"])) for name, row in document["markets"].items()},
        price_kinds={name: _factor(level) for name, level in document["price_kinds"].items()},
        grades={grade: _factor(document["grades"][grade]) for grade in range(1, 6)},
        usages={usage: _factor(document["usages"][usage]) for usage in Usage},
        transfer=_factor(document["transfer"]),
        transfers_counted=int(document["transfers_counted"]),
    )


def _factor(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value <= 2:
        raise ValueError(f"a factor lies between 0 and 2, not {value!r}")
    return float(value)
