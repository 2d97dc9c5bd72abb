"""Residual policy from its YAML: parsed once, every mistake refused with where it is."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.residual import ResidualPolicy


def load_residual_policies(path: Path | None = None) -> list[ResidualPolicy]:
    """All editions, oldest first; the shipped ones where path is None. Raises DomainError POLICY_INVALID."""
    source = path or files("carlien_valuation.policies").joinpath("residual.yaml")
    try:
        editions = [_edition(document) for document in yaml.safe_load(source.read_text(encoding="utf-8"))["editions"]]
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise precondition("POLICY_INVALID", f"the residual policy can't be read: {type(error).__name__} {error}") from None
    return sorted(editions, key=lambda edition: edition.in_force_from)


def _edition(document: dict[str, Any]) -> ResidualPolicy:
    numbers = {name: float(document[name]) for name in ("level_sd", "drift_sd", "model_sd", "model_power")}
    if any(not 0 <= value < 1 for value in numbers.values()):
        raise ValueError("standard deviations and power lie between 0 and 1")
    return ResidualPolicy(in_force_from=document["in_force_from"], source=str(document["source"]), **numbers)
