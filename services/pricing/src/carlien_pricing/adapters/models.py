"""Fitted models from files."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.domain.usage_model import UsageModel


class ModelError(Exception):
    """The model file is missing, malformed or not monotone; the service doesn't start with it."""


def load_scorecard(path: Path) -> Scorecard:
    """The scorecard, checked: a model that isn't monotone is not used."""
    try:
        card = TypeAdapter(Scorecard).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path.name}: {error}") from error
    _check(path, card.attributes)
    return card


def load_usage_model(path: Path) -> UsageModel:
    """The usage-to-credit model, checked in the same way. One that is outdated loads: quotes say so."""
    try:
        model = TypeAdapter(UsageModel).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path.name}: {error}") from error
    _check(path, model.attributes)
    return model


def _check(path: Path, attributes: Sequence[ScorecardAttribute]) -> None:
    for attribute in attributes:
        bins = len(attribute.codes) if attribute.category else len(attribute.edges) + 1
        if len(attribute.log_odds) != bins or list(attribute.edges) != sorted(set(attribute.edges)):
            raise ModelError(f"{path.name}: {attribute.name} has bins that don't fit its values")
        if not attribute.monotone:
            raise ModelError(f"{path.name}: {attribute.name} is not monotone")
