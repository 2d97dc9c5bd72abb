"""Domain types to wire types."""

from typing import Final

from google.type.money_pb2 import Money as MoneyMessage

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2
from carlien_common.domain.errors import DomainError, invalid
from carlien_common.wire import date_to_proto, instant_to_proto, money_to_proto
from carlien_valuation.domain.appraisal import Appraisal, Confidence, Estimate, PriceType, scale_of
from carlien_valuation.domain.liquidation import Liquidation
from carlien_valuation.grpc_api.batteries import battery_value

_PRICE_TYPES: Final = {kind: appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}") for kind in PriceType}
_CONFIDENCES: Final = {level: appraisal_pb2.Confidence.Value(f"CONFIDENCE_{level}") for level in Confidence}

_MAX_UNITS: Final = 2**63 - 1


def appraisal_message(appraisal: Appraisal) -> appraisal_pb2.Appraisal:
    """An appraisal as it is answered, stored and emitted."""
    return appraisal_pb2.Appraisal(
        appraisal_id=appraisal.appraisal_id,
        vin=appraisal.vin,
        estimates=[_estimate(estimate) for estimate in appraisal.estimates],
        abstained=appraisal.abstained,
        abstain_reason=appraisal.abstain_reason,
        warnings=[appraisal_pb2.Warning(code=remark.code, message=remark.message) for remark in appraisal.warnings],
        model_version=appraisal.model_version,
        data_cutoff=date_to_proto(appraisal.data_cutoff),
        index_vintage=appraisal.index_vintage,
        index_level=appraisal.index_level,
        valued_at=instant_to_proto(appraisal.valued_at),
        valuation_date=date_to_proto(appraisal.valuation_date),
        typical_odometer_km=appraisal.typical_odometer_km,
    )


def batch_answer(appraisal: Appraisal) -> valuation_service_pb2.BatchAppraisal:
    """An appraisal in its place of a batch."""
    return valuation_service_pb2.BatchAppraisal(appraisal=appraisal_message(appraisal))


def batch_error(error: DomainError) -> valuation_service_pb2.BatchAppraisal:
    """What is wrong with a car, in its place of a batch."""
    first = error.violations[0] if error.violations else None
    return valuation_service_pb2.BatchAppraisal(
        rejection=valuation_service_pb2.Rejection(
            reason=first.reason if first else error.reason,
            field=first.field if first else "",
            message=first.description if first else error.message,
        )
    )


def _estimate(estimate: Estimate) -> appraisal_pb2.PriceEstimate:
    # Submessages are filled where they are: one that is made apart is copied, at twice the cost.
    message = appraisal_pb2.PriceEstimate(
        price_type=_PRICE_TYPES[estimate.price_type],
        sample_size=estimate.sample_size,
        fsd=estimate.fsd,
        confidence=_CONFIDENCES[estimate.confidence],
    )
    currency = estimate.currency
    scale = scale_of(currency)
    _fill(message.p10, estimate.p10_units, scale, currency)
    _fill(message.p50, estimate.p50_units, scale, currency)
    _fill(message.p90, estimate.p90_units, scale, currency)
    for factor, units in estimate.steps:
        _fill(message.waterfall.add(factor=factor).amount, units, scale, currency)
    if estimate.battery is not None:
        message.battery.CopyFrom(battery_value(estimate.battery))
    if estimate.liquidation is not None:
        message.liquidation.CopyFrom(_liquidation(estimate.liquidation))
    return message


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


def _fill(message: MoneyMessage, units: int, scale: int, currency: str) -> None:
    """Signed minor units on the wire; raises INVALID beyond what it can carry."""
    whole, rest = divmod(abs(units), scale)
    if whole > _MAX_UNITS:
        raise invalid("amount", "AMOUNT_INVALID", "The amount is beyond what the wire can carry.")
    nanos = rest * (1_000_000_000 // scale)
    message.currency_code = currency
    message.units = whole if units >= 0 else -whole
    message.nanos = nanos if units >= 0 else -nanos
