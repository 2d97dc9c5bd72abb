"""Residual forecasts: the same car, older and driven further, appraised in one batch and carried along the market's trend."""

import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from carlien_common.domain.errors import collect_violations, invalid
from carlien_common.domain.money import Money
from carlien_valuation.domain.appraisal import Appraisal, PriceType, money
from carlien_valuation.domain.battery import MonthValue, Pack
from carlien_valuation.domain.car import Car
from carlien_valuation.domain.residual import DAYS_PER_MONTH, MAX_MONTHS, ResidualPolicy, Trend, day_ahead, doubt, in_force, widened
from carlien_valuation.service.appraise import Request

MAX_ANNUAL_KM = 300_000
"""More than a taxi in two shifts drives."""

AppraiseBatch = Callable[[Sequence[Request]], Awaitable[Sequence[Appraisal]]]


class MarketTrend(Protocol):
    """Where the market's level is going."""

    def trend(self, car: Car, day: date, policy: ResidualPolicy) -> Trend:
        """The drift the index of the car's segment supports at a day."""
        ...


class BatteryOutlook(Protocol):
    """How a battery will fade."""

    def outlook(self, pack: Pack, car: Car, annual_km: int, months: int, day: date) -> Sequence[MonthValue | None]:
        """Months 0 to `months`; None throughout for a battery that can't be valued."""
        ...


class NoTrend:
    """Where there is no market index."""

    def trend(self, car: Car, day: date, policy: ResidualPolicy) -> Trend:  # noqa: ARG002 - the protocol's signature
        """None."""
        return Trend()


@dataclass(frozen=True, slots=True)
class ResidualRequest:
    """A car, how far ahead, how much it will be driven, in which market."""

    car: Car
    horizon_months: int
    annual_km: int
    price_type: PriceType
    valuation_date: date
    currency: str = ""
    pack: Pack | None = None


@dataclass(frozen=True, slots=True)
class Residual:
    """One month ahead."""

    month: int
    day: date
    odometer_km: int
    p10: Money
    p50: Money
    p90: Money
    battery: MonthValue | None = None


@dataclass(frozen=True, slots=True)
class ResidualForecast:
    """The answer: points of months 0 to the horizon (none where abstained), the appraisal of month 0, trend and table they rest on."""

    points: tuple[Residual, ...]
    now: Appraisal
    price_type: PriceType
    market: Trend
    policy: ResidualPolicy


def check(request: ResidualRequest) -> None:
    """Raises INVALID naming every bad field."""
    faults = collect_violations()
    with faults:
        if not 1 <= request.horizon_months <= MAX_MONTHS:
            raise invalid("horizon_months", "HORIZON_RANGE", f"A forecast reaches 1 to {MAX_MONTHS} months ahead.")
    with faults:
        if not 0 <= request.annual_km <= MAX_ANNUAL_KM:
            raise invalid("annual_mileage_km", "ANNUAL_MILEAGE_RANGE", f"A car is driven 0 to {MAX_ANNUAL_KM} km a year.")
    faults.check()


class Residuals:
    """The use case. `appraise` values a batch of requests, in turn with everyone else's."""

    def __init__(
        self, appraise: AppraiseBatch, policies: Sequence[ResidualPolicy], market: MarketTrend, batteries: BatteryOutlook | None = None
    ) -> None:
        self._appraise, self._policies, self._market, self._batteries = appraise, policies, market, batteries

    async def forecast(self, request: ResidualRequest) -> ResidualForecast:
        """Month by month. The value of a month never rises with the distance driven, as the model's doesn't.

        Without a known odometer the car is valued at the distance typical for each age, whatever `annual_km`.
        """
        check(request)
        policy = in_force(self._policies, request.valuation_date)
        market = self._market.trend(request.car, request.valuation_date, policy)
        months = range(request.horizon_months + 1)
        packs: Sequence[MonthValue | None] = [None] * len(months)
        if request.pack is not None and self._batteries is not None:
            packs = self._batteries.outlook(request.pack, request.car, request.annual_km, request.horizon_months, request.valuation_date)
        answers = await self._appraise([self._aged(request, month, pack) for month, pack in zip(months, packs, strict=True)])
        now = answers[0]
        if any(answer.abstained for answer in answers):
            return ResidualForecast((), now, request.price_type, market, policy)
        points = tuple(
            dataclasses.replace(self._point(request, month, answer, market, policy), battery=pack)
            for month, answer, pack in zip(months, answers, packs, strict=True)
        )
        return ResidualForecast(points, now, request.price_type, market, policy)

    def _aged(self, request: ResidualRequest, month: int, expected: MonthValue | None) -> Request:
        """The car as it will be, on today's market: registered that much earlier, driven that much further, its battery faded."""
        car = request.car
        registered = car.first_registration
        older = dataclasses.replace(
            car,
            first_registration=None if registered is None else registered - timedelta(days=round(month * DAYS_PER_MONTH)),
            odometer_km=None if car.odometer_km is None else _odometer(request, month),
        )
        pack = request.pack
        if pack is not None and expected is not None and month and pack.soh is not None:
            # A pack whose state isn't known fades as usual, which the market's price of an older car tells already.
            pack = dataclasses.replace(pack, soh=expected.p50.soh)
        return Request(older, (request.price_type,), request.valuation_date, request.currency, waterfall=False, pack=pack)

    def _point(self, request: ResidualRequest, month: int, answer: Appraisal, market: Trend, policy: ResidualPolicy) -> Residual:
        estimate = answer.estimates[0]
        day = day_ahead(request.valuation_date, month)
        odometer = _odometer(request, month)
        if month == 0:
            return Residual(0, day, odometer, estimate.p10, estimate.p50, estimate.p90)
        currency, middle = estimate.p50.currency, float(estimate.p50.amount)
        carried = middle * math.exp(market.per_month * month)
        more = doubt(month, market, policy)
        below = widened(math.log(middle / float(estimate.p10.amount)), more)
        above = widened(math.log(float(estimate.p90.amount) / middle), more)
        return Residual(
            month,
            day,
            odometer,
            money(carried * math.exp(-below), currency),
            money(carried, currency),
            money(carried * math.exp(above), currency),
        )


def _odometer(request: ResidualRequest, month: int) -> int:
    """Expected odometer; 0 where today's is not known."""
    if request.car.odometer_km is None:
        return 0
    return request.car.odometer_km + round(request.annual_km * month / 12)
