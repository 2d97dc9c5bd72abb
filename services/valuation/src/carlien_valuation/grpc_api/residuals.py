"""ForecastResidual between wire and domain."""

from datetime import date
from typing import Final

from carlien.valuation.v1 import appraisal_pb2, residual_pb2, valuation_service_pb2
from carlien_common.domain.errors import collect_violations, invalid
from carlien_common.domain.money import require_currency
from carlien_common.wire import date_from_proto, date_to_proto, money_to_proto
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.grpc_api.batteries import month_state, pack_of
from carlien_valuation.grpc_api.requests import car_of
from carlien_valuation.service.residual import Residual, ResidualForecast, ResidualRequest, check

_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}
_NUMBERS: Final = {kind: number for number, kind in _PRICE_TYPES.items()}


def residual_request(message: valuation_service_pb2.ForecastResidualRequest, today: date) -> ResidualRequest:
    """Raises INVALID naming every bad field; wholesale where no market is stated."""
    fields = collect_violations()
    with fields:
        car = car_of(message.vehicle, today)
    with fields:
        price_type = price_type_of(message.price_type)
    with fields:
        day = date_from_proto(message.valuation_date, "valuation_date") if message.HasField("valuation_date") else today
    with fields:
        currency = require_currency(message.currency_code) if message.currency_code else ""
    with fields:
        pack = pack_of(message.vehicle)
    fields.check()
    request = ResidualRequest(car, message.horizon_months, message.annual_mileage_km, price_type, day, currency, pack)
    check(request)
    return request


def price_type_of(value: appraisal_pb2.PriceType.ValueType) -> PriceType:
    """A market; wholesale where none is stated."""
    if value and value not in _PRICE_TYPES:
        raise invalid("price_type", "PRICE_TYPE_UNKNOWN", f"{value} is no price type.")
    return _PRICE_TYPES.get(value, PriceType.WHOLESALE)


def residual_response(forecast: ResidualForecast) -> valuation_service_pb2.ForecastResidualResponse:
    """The answer."""
    now = forecast.now
    abstain_reason = now.abstain_reason or ("" if forecast.points else "HORIZON_NOT_VALUED")
    return valuation_service_pb2.ForecastResidualResponse(
        points=[_point(point) for point in forecast.points],
        price_type=_NUMBERS[forecast.price_type],
        abstained=bool(abstain_reason),
        abstain_reason=abstain_reason,
        warnings=[appraisal_pb2.Warning(code=remark.code, message=remark.message) for remark in now.warnings],
        model_version=now.model_version,
        data_cutoff=date_to_proto(now.data_cutoff),
        index_vintage=now.index_vintage,
        index_level=now.index_level,
        market_trend_per_year=forecast.market.per_year,
        uncertainty_source=forecast.policy.source,
    )


def _point(point: Residual) -> residual_pb2.ResidualPoint:
    return residual_pb2.ResidualPoint(
        month=point.month,
        date=date_to_proto(point.day),
        odometer_km=point.odometer_km,
        p10=money_to_proto(point.p10),
        p50=money_to_proto(point.p50),
        p90=money_to_proto(point.p90),
        battery=month_state(point.battery) if point.battery else None,
    )
