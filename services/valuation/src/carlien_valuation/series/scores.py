"""How good a forecast was. Errors are relative to the realised price, as in the valuation trade."""

from dataclasses import asdict, dataclass

import numpy as np

from carlien_valuation.series.panel import Floats

LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Score:
    """Percent, except `coverage80` (percent of prices within P10..P90), `pinball` (percent of price) and `n`."""

    n: int
    mape: float
    mdape: float
    p90ape: float
    bias: float
    coverage80: float
    pinball: float

    def as_dict(self) -> dict[str, float | int]:
        """For a report."""
        return {key: round(value, 4) for key, value in asdict(self).items()}


def score(actual: Floats, p10: Floats, p50: Floats, p90: Floats) -> Score | None:
    """Score log quantiles against log prices; series without either are left out; None when none is left.

    Pinball is the mean over the three levels of the quantile loss of log prices, in percent.
    """
    usable = ~(np.isnan(actual) | np.isnan(p10) | np.isnan(p50) | np.isnan(p90))
    if not usable.any():
        return None
    actual, quantiles = actual[usable], (p10[usable], p50[usable], p90[usable])
    relative = np.expm1(quantiles[1] - actual)
    losses = [np.mean(np.maximum(level * (actual - q), (level - 1) * (actual - q))) for level, q in zip(LEVELS, quantiles, strict=True)]
    return Score(
        n=int(usable.sum()),
        mape=100 * float(np.mean(np.abs(relative))),
        mdape=100 * float(np.median(np.abs(relative))),
        p90ape=100 * float(np.quantile(np.abs(relative), 0.9)),
        bias=100 * float(np.mean(relative)),
        coverage80=100 * float(np.mean((actual >= quantiles[0]) & (actual <= quantiles[2]))),
        pinball=100 * float(np.mean(losses)),
    )
