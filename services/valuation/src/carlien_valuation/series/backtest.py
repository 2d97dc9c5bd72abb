"""Rolling origins: fit at each origin on what was known, choose the champion and the interval by earlier origins only.

**The champion rule.** The incumbent is `blend`; where the learned methods have too little to learn from, it is `structural`. At
an origin and for a horizon incumbent and challengers are refitted at up to `INNER_ORIGINS` earlier origins whose targets were
known by then (the horizon shortened to what history allows, not below half of it) and that have at least
`MIN_HISTORY_MONTHS` of history themselves: with less, learned methods would be judged on what they could not yet learn. The
challenger with the lowest mean inner MAPE replaces the incumbent if it beats it by more than `MARGIN`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from carlien_valuation.series.ageing import age_steps
from carlien_valuation.series.baselines import AgeStep, MarketTrend, Persistence, StaticPerMake, Structural
from carlien_valuation.series.blend import Blend, Blended
from carlien_valuation.series.forecast import Fitted, Forecast, Method
from carlien_valuation.series.learned import Boosted, Ridge
from carlien_valuation.series.lstm import GlobalLstm
from carlien_valuation.series.market import level_uncertainty
from carlien_valuation.series.panel import Floats, Panel

INNER_ORIGINS = 4
MARGIN = 0.05
MIN_HISTORY_MONTHS = 6
"""History an inner origin needs to choose a champion; for an interval, one earlier month with prices is enough."""
Z90 = 1.2815515655446004
"""Standard normal quantile of 0.9."""
WIDENING = 0.75
"""Errors grow with horizon to this power when scaled: 0.5 is a random walk, 1 a wrong drift; both are present."""


@dataclass(frozen=True)
class Interval:
    """P10, P50, P90 of log price (S,)."""

    p10: Floats
    p50: Floats
    p90: Floats
    fallback: str = ""


def default_methods(seeds: Sequence[int] = (1, 2, 3)) -> tuple[Method, ...]:
    """Candidates, the simplest first."""
    ridge, boosted, lstm = Ridge(), Boosted(seeds=tuple(seeds)), GlobalLstm(seeds=tuple(seeds))
    blend = Blend((ridge, boosted, lstm))
    return (Persistence(), StaticPerMake(), AgeStep(), MarketTrend(), Structural(), ridge, boosted, lstm, blend)


class Population(Protocol):
    """Which series count at a column."""

    def __call__(self, column: int) -> NDArray[np.bool_]:
        """(S,)"""
        ...


@dataclass
class Backtest:
    """Fits and forecasts of all methods on one panel, each made once. Columns are positions in the full panel's grid."""

    panel: Panel
    methods: tuple[Method, ...]
    longest: int
    population: Population | None = None
    _fitted: dict[tuple[str, int], Fitted] = field(default_factory=dict)
    _known: dict[int, Panel] = field(default_factory=dict)

    def known(self, column: int) -> Panel:
        """The panel cut off after a column."""
        if column not in self._known:
            self._known[column] = self.panel.until(self.panel.first_month + column)
        return self._known[column]

    def forecast(self, method: Method, column: int, horizon: int) -> Forecast:
        """A method's forecast made at a column."""
        return self._fit(method, column).forecast(horizon)

    def _fit(self, method: Method, column: int) -> Fitted:
        key = (method.name, column)
        if key not in self._fitted:
            if isinstance(method, Blend):
                self._fitted[key] = Blended(tuple(self._fit(member, column) for member in method.members))
            else:
                self._fitted[key] = method.fit(self.known(column), self.longest)
        return self._fitted[key]

    def inner(self, column: int, horizon: int, history: int) -> tuple[tuple[int, ...], int]:
        """Latest inner origins with `history` months behind them and the horizon they are scored at; () where there is none."""
        observed = self.known(column).observed.tolist()
        starts = [c for c in observed if c - observed[0] >= history]
        seen = set(observed)
        for k in range(horizon, max(horizon // 2, 1) - 1, -1):
            origins = [c for c in starts if c + k in seen]
            if origins:
                return tuple(origins[-INNER_ORIGINS:]), k
        return (), 0

    def champion(self, column: int, horizon: int) -> Method:
        """Chosen by the champion rule; looks at nothing after `column`."""
        by_name = {method.name: method for method in self.methods}
        incumbent = by_name["structural"] if self.forecast(by_name["blend"], column, horizon).fallback else by_name["blend"]
        origins, k = self.inner(column, horizon, MIN_HISTORY_MONTHS)
        if not origins:
            return incumbent
        able = [method for method in self.methods if not self.forecast(method, column, horizon).fallback]
        loss = {method.name: float(np.mean([_mape(self._error(method, origin, k)) for origin in origins])) for method in able}
        best = min(able, key=lambda method: loss[method.name])
        return best if loss[best.name] < loss[incumbent.name] * (1 - MARGIN) else incumbent

    def _error(self, method: Method, column: int, horizon: int) -> Floats:
        """(S,) log forecast minus log price, NaN outside the population."""
        error = self.forecast(method, column, horizon).log_p50 - self.panel.log_price[:, column + horizon]
        return error if self.population is None else np.where(self.population(column), error, np.nan)

    def interval(self, method: Method, column: int, horizon: int) -> Interval:
        """Forecast with an 80 % interval, from the method's own inner errors and the level's uncertainty.

        Inner errors, centred per inner origin, say how far single series stray; a handful of overlapping origins can't
        say how far the whole market can move, so `level_uncertainty` is added in quadrature.
        """
        middle = self.forecast(method, column, horizon)
        known = self.known(column)
        level = Z90 * level_uncertainty(known, horizon)
        origins, k = self.inner(column, horizon, MIN_HISTORY_MONTHS)
        if not origins:
            origins, k = self.inner(column, horizon, 1)
        if origins:
            errors = [self._error(method, origin, k) for origin in origins]
            centred = np.concatenate([error - np.nanmedian(error) for error in errors])
            own_low, own_high = np.nanquantile(centred, (0.1, 0.9)) * (horizon / k) ** WIDENING
        else:
            steps = age_steps(known, known.n_months - 1)
            own_high = Z90 * (steps.dispersion if steps else 0.0) * np.sqrt(horizon / 12)
            own_low = -own_high
        up, down = np.hypot(own_low, level), np.hypot(own_high, level)
        return Interval(middle.log_p50 - down, middle.log_p50, middle.log_p50 + up, middle.fallback)


def _mape(error: Floats) -> float:
    return float(np.nanmean(np.abs(np.expm1(error))))
