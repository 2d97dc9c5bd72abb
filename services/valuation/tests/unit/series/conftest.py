from collections.abc import Callable

import numpy as np
import pytest

from carlien_valuation.series.backtest import default_methods
from carlien_valuation.series.blend import Blend
from carlien_valuation.series.forecast import Method
from carlien_valuation.series.learned import Boosted, Ridge
from carlien_valuation.series.lstm import GlobalLstm, Network
from carlien_valuation.series.panel import NEW, Panel, month_number

Simulate = Callable[..., Panel]
START = month_number(2020, 1)


@pytest.fixture(scope="session")
def simulated() -> Simulate:
    """Models with model years 2015-2020 and a new one each; every series drifts with the market plus its make's own drift."""

    def simulate(seed: int = 0, months: int = 20, models: int = 24, drift: float = -0.006, noise: float = 0.01) -> Panel:
        random = np.random.default_rng(seed)
        years = [2015, 2016, 2017, 2018, 2019, 2020, NEW]
        code = np.repeat(np.arange(models), len(years))
        year = np.tile(years, models)
        make = code % 4
        start = 11 + 0.3 * random.standard_normal(models)[code] - 0.08 * np.where(year == NEW, 0, 2020 - year)
        own = drift + 0.002 * (make - 1.5) + 0.002 * random.standard_normal(len(code))
        market = 0.003 * random.standard_normal(months)
        log_price = start[:, None] + own[:, None] * np.arange(months) + np.cumsum(market)[None]
        log_price += noise * random.standard_normal(log_price.shape)
        return Panel(log_price, START, make, code // 2, code, code % 2, year.astype(np.int64))

    return simulate


@pytest.fixture(scope="session")
def methods() -> tuple[Method, ...]:
    """All candidates, the learned ones small: a test of rules, not of accuracy."""
    ridge, boosted, lstm = Ridge(), Boosted(seeds=(1,), rounds=10), GlobalLstm(seeds=(1,), network=Network(hidden=4, epochs=1))
    small = {method.name: method for method in (ridge, boosted, lstm, Blend((ridge, boosted, lstm)))}
    return tuple(small.get(method.name, method) for method in default_methods())
