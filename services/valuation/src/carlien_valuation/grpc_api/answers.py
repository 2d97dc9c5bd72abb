"""Domain types to wire types."""

from typing import Final

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2
from carlien_common.domain.errors import DomainError
from carlien_common.wire import date_to_proto, instant_to_proto, money_to_proto
from carlien_valuation.domain.appraisal import Appraisal, Confidence, Estimate, PriceType

_PRICE_TYPES: Final = {kind: appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}") for kind in PriceType}
_CONFIDENCES: Final = {level: appraisal_pb2.Confidence.Value(f"CONFIDENCE_{level}") for level in Confidence}


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
    return appraisal_pb2.PriceEstimate(
        price_type=_PRICE_TYPES[estimate.price_type],
        p10=money_to_proto(estimate.p10),
        p50=money_to_proto(estimate.p50),
        p90=money_to_proto(estimate.p90),
        waterfall=[appraisal_pb2.WaterfallStep(factor=step.factor, amount=money_to_proto(step.amount)) for step in estimate.waterfall],
        sample_size=estimate.sample_size,
        fsd=estimate.fsd,
        confidence=_CONFIDENCES[estimate.confidence],
    )
