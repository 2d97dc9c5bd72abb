"""The usage-to-credit mapping: what a car's usage adds to the log-odds of default, with the record of how it was validated.

There is no public evidence that driving predicts credit default (reference findings, 7). So the model carries the measurement it
rests on, is used only while that is younger than a quarter, and never touches a PD that the lender states himself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from carlien_pricing.domain.quote import BorrowerFacts
from carlien_pricing.domain.scorecard import ScorecardAttribute

VALIDATION_HOLDS = timedelta(days=92)
"""A quarter: an older validation switches the model off."""

_OWN_STATEMENT = "LENDER"


@dataclass(frozen=True, slots=True)
class UsageValidation:
    """What the model was measured at, out of sample, with and without usage. The interval is of the AUC's lift, 95 %."""

    validated_on: date
    data_source: str
    loans: int
    auc_without: float
    auc_with: float
    auc_lift_95: tuple[float, float]
    ks_without: float
    ks_with: float

    def holds(self, today: date) -> bool:
        """Whether it still lets usage be used; one of a day to come doesn't."""
        return self.validated_on <= today <= self.validated_on + VALIDATION_HOLDS


@dataclass(frozen=True, slots=True)
class UsageModel:
    """Log-odds of default by usage feature; over the cars it was fitted on their mean is zero."""

    version: str
    attributes: tuple[ScorecardAttribute, ...]
    validation: UsageValidation

    def log_odds(self, features: Mapping[str, float]) -> float:
        """What this usage adds. A feature that isn't known counts as the worst that it may be."""
        return sum(
            attribute.contribution(features[attribute.name]) if attribute.name in features else max(attribute.log_odds)
            for attribute in self.attributes
        )

    @property
    def worst(self) -> float:
        """What the worst usage adds."""
        return self.log_odds({})

    def apply(self, borrower: BorrowerFacts, features: Mapping[str, float] | None, today: date) -> BorrowerFacts:
        """The borrower with the PD that usage leads to. `features` empty: not known, the worst; None: nothing to know (no device).

        A PD the lender states himself is used as given; an outdated model moves nothing and says so.
        """
        if borrower.origin == _OWN_STATEMENT:
            return borrower
        if not self.validation.holds(today):
            return replace(borrower, usage_model=self.version, usage_model_outdated=True)
        if features is None:
            return borrower
        moved = round(self.log_odds(features), 9)
        log_odds = math.log(borrower.pd_12m / (1 - borrower.pd_12m)) + moved
        pd_12m = round(min(max(1 / (1 + math.exp(-log_odds)), 0.0001), 0.9999), 9)
        return replace(borrower, pd_12m=pd_12m, usage_model=self.version, usage_log_odds=moved)
