"""Domain types to wire types."""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Final

from google.type.money_pb2 import Money as MoneyMessage

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.wire import date_to_proto, instant_to_proto, money_to_proto
from carlien_valuation.domain.appraisal import Appraisal, Confidence, Estimate, PriceType, Remark, scale_of
from carlien_valuation.domain.liquidation import Liquidation
from carlien_valuation.grpc_api.batteries import battery_value

_PRICE_TYPES: Final = {kind: appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}") for kind in PriceType}
_CONFIDENCES: Final = {level: appraisal_pb2.Confidence.Value(f"CONFIDENCE_{level}") for level in Confidence}

_MAX_UNITS: Final = 2**63 - 1


def appraisal_message(appraisal: Appraisal) -> appraisal_pb2.Appraisal:
    """An appraisal as it is answered, stored and emitted."""
    message = appraisal_pb2.Appraisal()
    fill_appraisal(message, appraisal)
    return message


def fill_appraisal(message: appraisal_pb2.Appraisal, appraisal: Appraisal) -> None:
    """The same where it is to be. Submessages are filled in their place throughout: one made apart is copied, at twice the cost."""
    message.CopyFrom(
        _frame(
            appraisal.model_version,
            appraisal.data_cutoff,
            appraisal.index_vintage,
            appraisal.index_level,
            appraisal.valuation_date,
            appraisal.warnings,
        )
    )
    message.vin = appraisal.vin
    message.typical_odometer_km = appraisal.typical_odometer_km
    message.valued_at.CopyFrom(instant_to_proto(appraisal.valued_at))
    if appraisal.abstained:
        message.abstained = True
        message.abstain_reason = appraisal.abstain_reason
    for estimate in appraisal.estimates:
        _fill_estimate(message.estimates.add(), estimate)


@lru_cache(1024)
def _frame(
    model_version: str, data_cutoff: date, index_vintage: str, index_level: float, valuation_date: date, warnings: tuple[Remark, ...]
) -> appraisal_pb2.Appraisal:
    """What many cars' appraisals have in common, to be copied."""
    return appraisal_pb2.Appraisal(
        warnings=[appraisal_pb2.Warning(code=remark.code, message=remark.message) for remark in warnings],
        model_version=model_version,
        data_cutoff=date_to_proto(data_cutoff),
        index_vintage=index_vintage,
        index_level=index_level,
        valuation_date=date_to_proto(valuation_date),
    )


def batch_response(answers: Iterable[Appraisal | DomainError]) -> valuation_service_pb2.BatchAppraiseResponse:
    """Appraisals, and what is wrong with a car, each in its place."""
    response = valuation_service_pb2.BatchAppraiseResponse()
    for answer in answers:
        if isinstance(answer, Appraisal):
            fill_appraisal(response.results.add().appraisal, answer)
        else:
            response.results.append(_rejected(answer))
    return response


def _rejected(error: DomainError) -> valuation_service_pb2.BatchAppraisal:
    first = error.violations[0] if error.violations else None
    return valuation_service_pb2.BatchAppraisal(
        rejection=valuation_service_pb2.Rejection(
            reason=first.reason if first else error.reason,
            field=first.field if first else "",
            message=first.description if first else error.message,
        )
    )


def _fill_estimate(message: appraisal_pb2.PriceEstimate, estimate: Estimate) -> None:
    message.price_type = _PRICE_TYPES[estimate.price_type]
    message.sample_size = estimate.sample_size
    message.fsd = estimate.fsd
    message.confidence = _CONFIDENCES[estimate.confidence]
    currency = estimate.currency
    scale = scale_of(currency)
    fill_money(message.p10, estimate.p10_units, scale, currency)
    fill_money(message.p50, estimate.p50_units, scale, currency)
    fill_money(message.p90, estimate.p90_units, scale, currency)
    for factor, units in estimate.steps:
        fill_money(message.waterfall.add(factor=factor).amount, units, scale, currency)
    if estimate.battery is not None:
        message.battery.CopyFrom(battery_value(estimate.battery))
    if estimate.liquidation is not None:
        message.liquidation.CopyFrom(_liquidation(estimate.liquidation))


def _liquidation(proceeds: Liquidation) -> appraisal_pb2.LiquidationNet:
    return appraisal_pb2.LiquidationNet(
        price=money_to_proto(proceeds.price),
        towing=money_to_proto(proceeds.towing),
        storage=money_to_proto(proceeds.storage),
        auction_fee=money_to_proto(proceeds.auction_fee),
        time_to_sell=money_to_proto(proceeds.time_to_sell),
        net_p50=money_to_proto(proceeds.net),
        net_p10=money_to_proto(proceeds.net_p10),
        days_to_sell=proceeds.days_to_sell,
        source=proceeds.source,
    )


def fill_money(message: MoneyMessage, units: int, scale: int, currency: str) -> None:
    """Signed minor units on the wire; raises INVALID beyond what it can carry."""
    message.currency_code = currency
    if not units:
        return
    whole, rest = divmod(abs(units), scale)
    if whole > _MAX_UNITS:
        raise invalid("amount", "AMOUNT_INVALID", "The amount is beyond what the wire can carry.")
    message.units = whole if units > 0 else -whole
    if rest:
        nanos = rest * (1_000_000_000 // scale)
        message.nanos = nanos if units > 0 else -nanos
