"""What is added to an appraisal once the model has spoken: the battery's part, and what a forced sale leaves."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from carlien_common.domain.errors import DomainError
from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import Appraisal, Estimate, PriceType, Remark, scale_of
from carlien_valuation.domain.battery import (
    BatteryPolicy,
    Health,
    MonthValue,
    Pack,
    PackInCar,
    check,
    full_cycles,
    in_force,
    known,
    outlook,
    split,
    stated_health,
    typical_health,
    value_pack,
)
from carlien_valuation.domain.car import Car
from carlien_valuation.domain.liquidation import LiquidationPolicy, liquidate
from carlien_valuation.domain.liquidation import in_force as costs_in_force

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Finishing:
    """The use case. `typical_odometer`: median kilometres at an age in years."""

    battery: Sequence[BatteryPolicy]
    liquidation: Sequence[LiquidationPolicy]
    typical_odometer: Callable[[float], float]

    def check(self, pack: Pack | None, day: date) -> None:
        """INVALID for a battery that can't be."""
        if pack is not None:
            check(pack, in_force(self.battery, day))

    def finished(self, appraisal: Appraisal, car: Car, pack: Pack | None) -> Appraisal:
        """With all that applies; the appraisal itself where nothing does."""
        if appraisal.abstained:
            return appraisal
        remarks: tuple[Remark, ...] = ()
        estimates = appraisal.estimates
        if pack is not None:
            estimates, remarks = self._with_battery(appraisal, car, pack)
        if any(estimate.price_type is PriceType.FORCED_SALE for estimate in estimates):
            estimates, more = self._with_liquidation(estimates, appraisal.valuation_date)
            remarks = (*remarks, *more)
        if not remarks and estimates is appraisal.estimates:
            return appraisal
        return dataclasses.replace(appraisal, estimates=estimates, warnings=(*appraisal.warnings, *remarks))

    def health(self, pack: Pack, car: Car, day: date) -> Health:
        """Today's state of health with its interval: as stated, else what is usual at the car's age and its typical distance.

        Not at its own distance: a car driven more must not be worth more because a worse pack was to be expected of it.
        """
        policy = in_force(self.battery, day)
        if pack.soh is not None:
            return stated_health(pack.soh, policy)
        return typical_health(policy, *self.usual(pack, car, day))

    def usual(self, pack: Pack, car: Car, day: date) -> tuple[Decimal, Decimal]:
        """Age in years and full cycles that are usual for such a car."""
        years = max((day - car.first_registration).days / DAYS_PER_YEAR, 0.0) if car.first_registration else 0.0
        return Decimal(repr(years)), full_cycles(pack, Decimal(repr(self.typical_odometer(years))))

    def outlook(self, pack: Pack, car: Car, annual_km: int, months: int, day: date) -> list[MonthValue | None]:
        """The pack month by month, driven `annual_km` a year from now on; None throughout where it can't be valued."""
        policy = in_force(self.battery, day)
        if not known(pack, policy):
            return [None] * (months + 1)
        years, cycles = self.usual(pack, car, day)
        return [*outlook(pack, years, cycles, full_cycles(pack, Decimal(annual_km)), months, policy)]

    def _with_battery(self, appraisal: Appraisal, car: Car, pack: Pack) -> tuple[tuple[Estimate, ...], tuple[Remark, ...]]:
        day = appraisal.valuation_date
        policy = in_force(self.battery, day)
        if not known(pack, policy):
            text = f"Not valued: its capacity when new and one of the chemistries {', '.join(sorted(policy.chemistries))} are needed."
            return appraisal.estimates, (Remark("BATTERY_NOT_VALUED", text),)
        if appraisal.estimates[0].currency != policy.currency:
            return appraisal.estimates, (Remark("BATTERY_NOT_VALUED", f"Not valued: battery prices are in {policy.currency}."),)
        health, usual = self.health(pack, car, day), self.usual(pack, car, day)
        estimates = tuple(_split(estimate, pack, health, usual, policy) for estimate in appraisal.estimates)
        remarks = [Remark("BATTERY_FROM_POLICY", f"The battery's prices and fade come from: {policy.source}.")]
        if pack.leased:
            remarks.append(Remark("BATTERY_LEASED", "The battery is leased and no part of the collateral."))
        elif pack.soh is None:
            remarks.append(Remark("BATTERY_HEALTH_MISSING", "The battery's state of health isn't known: valued as usual at its age."))
        return estimates, tuple(remarks)

    def _with_liquidation(self, estimates: Sequence[Estimate], day: date) -> tuple[tuple[Estimate, ...], tuple[Remark, ...]]:
        costs = costs_in_force(self.liquidation, day)
        try:
            done = tuple(
                dataclasses.replace(one, liquidation=liquidate(one.p50, one.p10, one.confidence, costs))
                if one.price_type is PriceType.FORCED_SALE
                else one
                for one in estimates
            )
        except DomainError as error:
            return tuple(estimates), (Remark("PROCEEDS_NOT_VALUED", error.message),)
        return done, (Remark("PROCEEDS_FROM_POLICY", f"Costs of the forced sale come from: {costs.source}."),)


def _split(estimate: Estimate, pack: Pack, health: Health, usual: tuple[Decimal, Decimal], policy: BatteryPolicy) -> Estimate:
    """The estimate of this car with this pack. A measured state widens the interval by its own; a usual one is in the market's already."""
    market_value = estimate.p50
    parts = split(market_value, pack, *usual, policy)
    scale = scale_of(estimate.currency)
    added = int(parts.adjustment.amount * scale)
    p50 = max(estimate.p50_units + added, 1)
    below, above = estimate.p50_units - estimate.p10_units, estimate.p90_units - estimate.p50_units
    if pack.soh is not None and not pack.leased:
        low, high = (
            int(split(market_value, dataclasses.replace(pack, soh=soh), *usual, policy).adjustment.amount * scale)
            for soh in (health.low, health.high)
        )
        below, above = round(math.hypot(below, added - low)), round(math.hypot(above, high - added))
    state = value_pack(pack, health.median, policy, car_value=market_value)
    return dataclasses.replace(
        estimate,
        p10_units=max(p50 - below, 1),
        p50_units=p50,
        p90_units=p50 + above,
        steps=(*estimate.steps, ("battery", p50 - estimate.p50_units)) if estimate.steps else (),
        battery=PackInCar(_rest(p50, parts.pack, estimate), parts.pack, parts.adjustment, parts.leased, health, state),
    )


def _rest(p50_units: int, pack: Money, estimate: Estimate) -> Money:
    """The car without the pack: what is left of P50, also where that was raised to the least amount there is."""
    return Money(Decimal(p50_units) / scale_of(estimate.currency), estimate.currency).quantized() - pack
