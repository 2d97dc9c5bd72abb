"""Methods without learned parameters of their own; what a learned one has to beat."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from carlien_valuation.series.ageing import age_steps, declining_balance
from carlien_valuation.series.forecast import Fitted, Forecast
from carlien_valuation.series.market import drift_weight, level_sd, monthly_trend
from carlien_valuation.series.panel import Floats, Panel

OLDEST = 10
"""Age in years up to which the declining balance is fitted: the cars a lender holds."""


@dataclass(frozen=True)
class Curve:
    """A forecast that adds a change, known per horizon, to the price at the origin."""

    start: Floats
    change: Callable[[int], Floats | float]
    fallback: str = ""

    def forecast(self, horizon: int) -> Forecast:
        """Start plus change."""
        return Forecast(self.start + self.change(horizon), self.fallback)


@dataclass(frozen=True)
class Relabelled:
    """Another method's answer, labelled as a fallback."""

    fitted: Fitted
    fallback: str

    def forecast(self, horizon: int) -> Forecast:
        """The other's answer."""
        answer = self.fitted.forecast(horizon)
        return Forecast(answer.log_p50, answer.fallback or self.fallback)


class Persistence:
    """Nothing changes."""

    name = "persistence"

    def fit(self, known: Panel, longest: int) -> Fitted:  # noqa: ARG002 - the protocol's signature
        """Nothing to fit."""
        return Curve(known.log_price[:, -1], lambda _: 0.0)


class StaticPerMake:
    """Declining balance, one rate per make, from the cross-section at the origin."""

    name = "static_per_make"

    def fit(self, known: Panel, longest: int) -> Fitted:  # noqa: ARG002
        """One rate per make."""
        rate = declining_balance(known, known.n_months - 1, OLDEST)
        return Curve(known.log_price[:, -1], lambda horizon: rate * horizon / 12)


class AgeStep:
    """Each model year takes the place of the one before it, at the market of the origin."""

    name = "age_step"

    def fit(self, known: Panel, longest: int) -> Fitted:  # noqa: ARG002
        """The steps of the last cross-section."""
        steps = age_steps(known, known.n_months - 1)
        if steps is None:
            return Curve(known.log_price[:, -1], lambda _: 0.0, Persistence.name)
        return Curve(known.log_price[:, -1], lambda horizon: steps.change(known.model_year, horizon))


class MarketTrend:
    """Every price moves with the robust market trend, the median of past monthly medians."""

    name = "market_trend"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """The trend; where the panel isn't monthly, ageing plus drift (`Structural`) stands in."""
        trend = monthly_trend(known)
        if trend is None:
            return Relabelled(Structural().fit(known, longest), Structural.name)
        return Curve(known.log_price[:, -1], lambda horizon: trend * horizon)


class TwoWitnesses:
    """Half robust market trend, half ageing at a constant market: what the learned methods stand on.

    The trend carries inflation but is noisy while history is short; the cross-section knows nothing of inflation but
    is there from the first month. Equal weights, because neither's error can be estimated from so few months.
    """

    name = "two_witnesses"

    def fit(self, known: Panel, longest: int) -> Fitted:
        """One level for all series, new ones too; `Structural` where the panel isn't monthly."""
        start, trend, steps = known.log_price[:, -1], monthly_trend(known), age_steps(known, known.n_months - 1)
        if trend is None:
            return MarketTrend().fit(known, longest)
        if steps is None:
            return Curve(start, lambda horizon: trend * horizon)
        used = ~known.is_new & ~np.isnan(start)

        def change(horizon: int) -> float:
            ageing = float(np.median(steps.change(known.model_year, horizon)[used]))
            return 0.5 * (trend * horizon + ageing)

        return Curve(start, change)


class Structural:
    """Age steps plus the drift of the market that history supports; needs no more than one cross-section."""

    name = "structural"

    def fit(self, known: Panel, longest: int) -> Fitted:  # noqa: ARG002
        """Steps of the last cross-section, drift shrunk towards none."""
        start, steps = known.log_price[:, -1], age_steps(known, known.n_months - 1)
        if steps is None:
            return Curve(start, lambda _: 0.0, Persistence.name)
        drift = market_drift(known)
        return Curve(start, lambda horizon: steps.change(known.model_year, horizon) + drift * horizon)


def market_drift(known: Panel) -> float:
    """Log change per month beyond ageing that the panel's history supports; 0 for a single cross-section."""
    columns = known.observed
    surprise, months = 0.0, 0
    for earlier, later in pairwise(columns.tolist()):
        steps = age_steps(known, earlier)
        moved = known.log_price[:, later] - known.log_price[:, earlier]
        usable = ~np.isnan(moved) & ~known.is_new
        if steps is None or not usable.any():
            continue
        gap = later - earlier
        surprise += float(np.median((moved - steps.change(known.model_year, gap))[usable]))
        months += gap
    return surprise / months * drift_weight(months, level_sd(known)) if months else 0.0
