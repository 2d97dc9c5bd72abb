"""What a method answers, and the protocol methods keep."""

from dataclasses import dataclass
from typing import Protocol

from carlien_valuation.series.panel import Floats, Panel


@dataclass(frozen=True)
class Forecast:
    """Median log price of each series (S,) at a horizon; NaN where the origin has no price to start from.

    `fallback` names the method that really answered where the one asked had too little history.
    """

    log_p50: Floats
    fallback: str = ""


class Fitted(Protocol):
    """A method that has learned what it could at its origin."""

    def forecast(self, horizon: int) -> Forecast:
        """Forecast `horizon` months past the origin."""
        ...


class Method(Protocol):
    """A way to forecast: it is fitted on what the panel holds and nothing else."""

    @property
    def name(self) -> str:
        """As it stands in reports."""
        ...

    def fit(self, known: Panel, longest: int) -> Fitted:
        """Learn from `known`, which ends at the origin; no horizon asked later is longer than `longest` months."""
        ...
