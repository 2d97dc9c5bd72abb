"""What the car will be worth over the loan's life, as far as the facts of a quote say."""

import numpy as np

from carlien_pricing.domain.collateral import ValuePath, forecast_path, value_path
from carlien_pricing.domain.policy import Energy
from carlien_pricing.domain.products import EconomicsRow, ProductPack
from carlien_pricing.domain.quote import QuoteInputs


def battery_floor(inputs: QuoteInputs, pack: ProductPack) -> float:
    """What an own traction battery fetches by itself; 0 where it is leased, not known, or has no price in this currency."""
    per_kwh = pack.battery_floor_per_kwh.get(inputs.value.currency)
    if per_kwh is None or inputs.car.battery_leased:
        return 0.0
    return min(inputs.car.battery_kwh * float(per_kwh), float(pack.battery_floor_of_p10 * inputs.value.p10))


def projected_path(inputs: QuoteInputs, economics: EconomicsRow, p50: float, p10: float, horizon: int) -> ValuePath:
    """Along valuation's forecast; without one by the policy, with its margin."""
    # Not knowing what drives the car, its value is assumed to fall like the faster of the two.
    parameters = economics.value_paths[inputs.car.energy or Energy.NEV]
    if inputs.forecast:
        ahead, middle, low = (
            np.array([float(value) for value in column], dtype=np.float64)
            for column in zip(*((point.month, point.p50, point.p10) for point in inputs.forecast), strict=True)
        )
        return forecast_path(p50, p10, ahead, middle, low, parameters.market_volatility, parameters.annual_decline, horizon)
    decline = parameters.annual_decline + economics.unforecast_decline_margin
    return value_path(p50, p10, decline, parameters.market_volatility, parameters.own_volatility, horizon)
