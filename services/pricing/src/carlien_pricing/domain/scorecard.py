"""A fitted scorecard: points per bin, monotone per attribute, with reason codes. Pure arithmetic; fitting is elsewhere."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.quote import BorrowerFacts
from carlien_pricing.domain.refinement import Refinement


@dataclass(frozen=True, slots=True)
class ScorecardAttribute:
    """One attribute. Log-odds of default per bin; a number's bins are (-inf, e1), [e1, e2), ...; a category's are its codes."""

    name: str
    category: bool
    edges: tuple[float, ...]
    codes: tuple[float, ...]
    log_odds: tuple[float, ...]
    missing: float
    """Log-odds where the value is missing or, for a category, unknown."""

    def contribution(self, value: float | None) -> float:
        """Log-odds that this value adds."""
        if value is None or math.isnan(value):
            return self.missing
        if self.category:
            return self.log_odds[self.codes.index(value)] if value in self.codes else self.missing
        return self.log_odds[bisect.bisect_right(self.edges, value)]

    @property
    def monotone(self) -> bool:
        """Whether risk never turns along the values; categories have no order."""
        steps = [b - a for a, b in zip(self.log_odds, self.log_odds[1:], strict=False)]
        return self.category or all(step >= 0 for step in steps) or all(step <= 0 for step in steps)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Log-odds of default = intercept + sum of contributions. Points: base_score at base_odds good:bad, pdo doubles the odds."""

    version: str
    intercept: float
    attributes: tuple[ScorecardAttribute, ...]
    ratios: tuple[tuple[str, str, str], ...] = ()
    base_score: float = 600.0
    base_odds: float = 20.0
    pdo: float = 40.0
    max_reasons: int = 4
    refinement: Refinement | None = None
    """What the points can't say; None where they say nearly everything."""

    def log_odds(self, features: Mapping[str, float]) -> float:
        """Log-odds of default."""
        return self.intercept + sum(self.contributions(features).values())

    def contributions(self, features: Mapping[str, float]) -> dict[str, float]:
        """Log-odds by attribute, and under the empty name what a refinement's trees share; missing attributes count as missing."""
        values = {**features, **self._ratios(features)}
        found = {attribute.name: attribute.contribution(values.get(attribute.name)) for attribute in self.attributes}
        if self.refinement is not None:
            # The trees see a category as the card's evidence of it.
            seen = {part.name: found[part.name] if part.category else values.get(part.name) for part in self.attributes}
            for name, value in self.refinement.contributions(seen).items():
                found[name] = found.get(name, 0.0) + value
        return found

    def _ratios(self, features: Mapping[str, float]) -> dict[str, float]:
        return {name: features[top] / features[bottom] for name, top, bottom in self.ratios if top in features and features.get(bottom)}

    def points(self, log_odds: float) -> float:
        """Score of log-odds of default: offset + factor ln(odds good:bad), factor = pdo / ln 2."""
        factor = self.pdo / math.log(2)
        return self.base_score - factor * (math.log(self.base_odds) + log_odds)

    def assess(self, features: Mapping[str, float]) -> BorrowerFacts:
        """PD and reason codes: the attributes that raise risk most over their best bin. INVALID FEATURE_UNKNOWN."""
        known = self.inputs()
        for name in features:
            if name not in known:
                raise invalid(f"borrower.features.{name}", "FEATURE_UNKNOWN", f"the model knows {', '.join(sorted(known))}")
        found = self.contributions(features)
        log_odds = self.intercept + sum(found.values())
        excess = {
            attribute.name: found[attribute.name] - min(attribute.log_odds)
            for attribute in self.attributes
            if found[attribute.name] - min(attribute.log_odds) > 1e-9
        }
        worst = sorted(excess, key=lambda name: (-excess[name], name))[: self.max_reasons]
        pd = 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))
        return BorrowerFacts(round(min(max(pd, 0.0001), 0.9999), 9), "MODEL", self.version, tuple(f"RISK_{name.upper()}" for name in worst))

    def inputs(self) -> frozenset[str]:
        """Features a caller may give."""
        computed = {name for name, _, _ in self.ratios}
        parts: Sequence[str] = [part for _, top, bottom in self.ratios for part in (top, bottom)]
        return frozenset({attribute.name for attribute in self.attributes} - computed) | frozenset(parts)
