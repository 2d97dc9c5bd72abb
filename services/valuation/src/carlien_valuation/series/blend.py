"""The plain mean of several methods' log forecasts: weights fitted on few origins do worse than equal ones."""

from dataclasses import dataclass

import numpy as np

from carlien_valuation.series.forecast import Fitted, Forecast, Method
from carlien_valuation.series.panel import Panel


@dataclass(frozen=True)
class Blended:
    """Fitted members."""

    members: tuple[Fitted, ...]

    def forecast(self, horizon: int) -> Forecast:
        """Mean of the members; falls back where all of them do."""
        answers = [member.forecast(horizon) for member in self.members]
        fallback = answers[0].fallback if all(answer.fallback for answer in answers) else ""
        return Forecast(np.mean([answer.log_p50 for answer in answers], axis=0), fallback)


@dataclass(frozen=True)
class Blend:
    """Equal-weight combination (Stock and Watson 2004: the forecast combination puzzle)."""

    members: tuple[Method, ...]
    name: str = "blend"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """Fit every member."""
        return Blended(tuple(member.fit(known, longest) for member in self.members))
