"""Valuation, lien registry and telematics by gRPC, each with a deadline of its own and a stated answer when it is missed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

import grpc

from carlien.lien.v1 import certificate_pb2, lien_pb2, search_service_pb2, search_service_pb2_grpc
from carlien.telematics.v1 import telematics_service_pb2, telematics_service_pb2_grpc
from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, valuation_service_pb2_grpc, vehicle_pb2
from carlien_common.domain.errors import DomainError, ErrorKind, unavailable
from carlien_common.grpc.client import to_domain_error
from carlien_common.grpc.context import remaining_deadline
from carlien_common.logs import get_logger
from carlien_common.wire import date_to_proto, instant_from_proto, money_from_proto
from carlien_pricing.adapters.appraisals import forecast_points, value_facts
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.quote import ForecastPoint, LienFacts, ValueFacts
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
# What a lien search may still be for the caller: time to price and store must remain.
_RESERVE_SECONDS = 0.2


def _timeout(own: float) -> float:
    remaining = remaining_deadline()
    return own if remaining is None else max(min(own, remaining - _RESERVE_SECONDS), 0.05)


def _refusal(error: grpc.aio.AioRpcError, reason: str, name: str) -> DomainError:
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
    DEGRADED.labels(dependency=name).inc()
    log.warning("dependency_unavailable", dependency=name, code=error.code().name)
    return unavailable(reason, f"{name} does not answer; nothing is priced without it")


def _understood(name: str, read: Callable[[], T]) -> T:
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
            response = await self._stub.Appraise(request, timeout=_timeout(self._timeout))
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, "VALUATION_UNAVAILABLE", "valuation") from error
        return _understood("valuation", lambda: value_facts(response.appraisal))

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
            response = await self._stub.ForecastResidual(request, timeout=_timeout(self._timeout))
        except grpc.aio.AioRpcError as error:
            if error.code() in _CANNOT_FORECAST:
                return ()
            raise _refusal(error, "VALUATION_UNAVAILABLE", "valuation") from error
        return _understood("valuation", lambda: forecast_points(response))


# Valuation is there and says that it can't: not an outage.
_CANNOT_FORECAST = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}


class GrpcLienRegistry:
    """The lien registry. Down or slow: UNAVAILABLE, for a lien that isn't seen may rank ahead."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = search_service_pb2_grpc.SearchServiceStub(channel)
        self._timeout = timeout_s

    async def search(self, vin: str, currency: str) -> LienFacts:
        request = search_service_pb2.SearchLiensRequest(vin=vin)
        try:
            response = await self._stub.SearchLiens(request, timeout=_timeout(self._timeout))
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, "LIEN_REGISTRY_UNAVAILABLE", "lien-registry") from error
        return _understood("lien-registry", lambda: self._facts(response.certificate, currency))

    @staticmethod
    def _facts(certificate: certificate_pb2.SearchCertificate, currency: str) -> LienFacts:
        live = [hit.lien for hit in certificate.hits if hit.lien.status == lien_pb2.LIEN_STATUS_ACTIVE]
        claims = (money_from_proto(lien.secured_amount, "secured_amount") for lien in live if lien.HasField("secured_amount"))
        return LienFacts(
            certificate.certificate_number,
            certificate.as_of_block,
            tuple(lien.registration_number for lien in live),
            sum((claim.amount for claim in claims if claim.currency == currency), Decimal(0)),
        )


class GrpcTelematics:
    """Telematics. Down or slow: the answer is 'not known', and the worst usage grade is assumed."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = telematics_service_pb2_grpc.TelematicsServiceStub(channel)
        self._timeout = timeout_s

    async def usage(self, vin: str, now: datetime) -> UsageFacts:
        request = telematics_service_pb2.GetVehicleStateRequest(vin=vin)
        try:
            response = await self._stub.GetVehicleState(request, timeout=_timeout(self._timeout))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return UsageFacts(known=True)
            DEGRADED.labels(dependency="telematics").inc()
            log.warning("dependency_unavailable", dependency="telematics", code=error.code().name)
            return UsageFacts(known=False)
        state = response.state
        try:
            device_time = instant_from_proto(state.device_time, "device_time")
        except DomainError:
            # A device that never told its time has never reported.
            return UsageFacts(known=True)
        silent = (now - device_time).total_seconds() / 3600
        # To a tenth of an hour: the grade doesn't need more, and the stored inputs stay readable.
        return UsageFacts(known=True, has_device=True, hours_silent=round(max(silent, 0.0), 1), alarm=bool(state.last_alarm))
