"""Valuation by gRPC, and what all neighbours have in common: a deadline of their own and a stated answer when it is missed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TypeVar

import grpc

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc, vehicle_pb2
from carlien_common.domain.errors import DomainError, ErrorKind, unavailable
from carlien_common.grpc.client import to_domain_error
from carlien_common.grpc.context import remaining_deadline
from carlien_common.logs import get_logger
from carlien_common.wire import date_to_proto
from carlien_pricing.adapters.appraisals import forecast_points, value_facts
from carlien_pricing.domain.quote import ForecastPoint, ValueFacts
from carlien_pricing.metrics import DEGRADED

log = get_logger(__name__)

T = TypeVar("T")

# Fields of our neighbours' requests that come from fields of other names in ours.
_OUR_FIELDS = {
    "currency_code": "amount.currency_code",
    "valuation_date": "quote_date",
    "horizon_months": "term_months",
    "vin": "vehicle.vin",
}

_ASKED = (appraisal_pb2.PRICE_TYPE_WHOLESALE, appraisal_pb2.PRICE_TYPE_FORCED_SALE)
# Time to price and store must remain of what the caller gave us.
_RESERVE_SECONDS = 0.2


def time_left(own: float) -> float:
    """Seconds for a call: the neighbour's own, but no more than the caller has left."""
    remaining = remaining_deadline()
    return own if remaining is None else max(min(own, remaining - _RESERVE_SECONDS), 0.05)


def refusal(error: grpc.aio.AioRpcError, reason: str, name: str) -> DomainError:
    """The other's verdict on the input is passed on; anything else means that it isn't there."""
    known = to_domain_error(error)
    if known is not None and known.kind is ErrorKind.INVALID:
        return DomainError(
            known.kind,
            known.reason,
            known.message,
            [replace(violation, field=_OUR_FIELDS.get(violation.field, violation.field)) for violation in known.violations],
            known.metadata,
        )
    degraded(error, name)
    return unavailable(reason, f"{name} does not answer; nothing is priced without it")


def degraded(error: grpc.aio.AioRpcError, name: str) -> None:
    """Counts and logs a call that failed or missed its deadline, where something else is assumed instead."""
    DEGRADED.labels(dependency=name).inc()
    log.warning("dependency_unavailable", dependency=name, code=error.code().name)


def understood(name: str, read: Callable[[], T]) -> T:
    """An answer that breaks its contract is the neighbour's fault, not our caller's."""
    try:
        return read()
    except DomainError as error:
        DEGRADED.labels(dependency=name).inc()
        log.error("dependency_answer_invalid", dependency=name, reason=error.reason, message=error.message)
        raise unavailable("DEPENDENCY_ANSWER_INVALID", f"{name} gave an answer that breaks its contract") from error


class GrpcValuation:
    """Valuation. Down or slow: UNAVAILABLE, for without a value there is no loan."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = valuation_service_pb2_grpc.ValuationServiceStub(channel)
        self._timeout = timeout_s

    async def appraise(self, vehicle: bytes, currency: str, on: date, key: str) -> ValueFacts:
        request = valuation_service_pb2.AppraiseRequest(
            vehicle=vehicle_pb2.Vehicle.FromString(vehicle),
            price_types=_ASKED,
            valuation_date=date_to_proto(on),
            currency_code=currency,
            record=True,
            idempotency_key=key,
        )
        try:
            response = await self._stub.Appraise(request, timeout=time_left(self._timeout))
        except grpc.aio.AioRpcError as error:
            raise refusal(error, "VALUATION_UNAVAILABLE", "valuation") from error
        return understood("valuation", lambda: value_facts(response.appraisal))

    async def forecast(
        self, vehicle: bytes, currency: str, on: date, horizon_months: int, annual_mileage_km: int
    ) -> tuple[ForecastPoint, ...]:
        request = valuation_service_pb2.ForecastResidualRequest(
            vehicle=vehicle_pb2.Vehicle.FromString(vehicle),
            horizon_months=horizon_months,
            annual_mileage_km=annual_mileage_km,
            price_type=_ASKED[0],
            valuation_date=date_to_proto(on),
            currency_code=currency,
        )
        try:
            response = await self._stub.ForecastResidual(request, timeout=time_left(self._timeout))
        except grpc.aio.AioRpcError as error:
            if error.code() in _CANNOT_FORECAST:
                return ()
            raise refusal(error, "VALUATION_UNAVAILABLE", "valuation") from error
        return understood("valuation", lambda: forecast_points(response))


# Valuation is there and says that it can't: not an outage.
_CANNOT_FORECAST = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}
