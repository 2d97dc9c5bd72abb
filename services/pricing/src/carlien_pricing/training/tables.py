"""A fitted scorecard on whole columns: the same arithmetic as domain.scorecard, for many rows."""

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.training.loans import Attribute

Array = npt.NDArray[np.float64]


def contributions(part: ScorecardAttribute, values: Array) -> Array:
    """Log-odds that each value adds."""
    odds = np.asarray(part.log_odds)
    if part.category:
        codes = np.asarray(part.codes)
        order = np.argsort(codes)
        place = np.minimum(np.searchsorted(codes[order], values), len(codes) - 1)
        return np.where(codes[order][place] == values, odds[order][place], part.missing)
    known = ~np.isnan(values)
    return np.where(known, odds[np.searchsorted(np.asarray(part.edges), np.where(known, values, 0.0), side="right")], part.missing)


def scorecard_log_odds(card: Scorecard, attributes: tuple[Attribute, ...], x: Array) -> Array:
    """Log-odds of default of each row by the card's points alone."""
    names = [attribute.name for attribute in attributes]
    total = np.full(len(x), card.intercept)
    for part in card.attributes:
        total += contributions(part, x[:, names.index(part.name)])
    return total


def direction(part: ScorecardAttribute) -> int:
    """1 where risk rises with the value, -1 where it falls, 0 where the scorecard makes nothing of it."""
    if len(part.log_odds) < 2 or part.log_odds[0] == part.log_odds[-1]:
        return 0
    return 1 if part.log_odds[-1] > part.log_odds[0] else -1
