"""A fitted scorecard from a file."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from carlien_pricing.domain.scorecard import Scorecard


class ModelError(Exception):
    """The model file is missing, malformed or not monotone; the service doesn't start with it."""


def load_scorecard(path: Path) -> Scorecard:
    """The scorecard, checked: a model that isn't monotone is not used."""
    try:
        card = TypeAdapter(Scorecard).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path.name}: {error}") from error
    for attribute in card.attributes:
        bins = len(attribute.codes) if attribute.category else len(attribute.edges) + 1
        if len(attribute.log_odds) != bins or list(attribute.edges) != sorted(set(attribute.edges)):
            raise ModelError(f"{path.name}: {attribute.name} has bins that don't fit its values")
        if not attribute.monotone:
            raise ModelError(f"{path.name}: {attribute.name} is not monotone")
    return card
