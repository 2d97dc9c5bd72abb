"""A realised sale on the wire; shared by the rpc and what is kept as its answer."""

from carlien.valuation.v1 import appraisal_pb2, vehicle_record_pb2
from carlien_common.wire import date_to_proto, money_to_proto
from carlien_valuation.domain.outcome import Outcome


def outcome_message(outcome: Outcome) -> vehicle_record_pb2.Outcome:
    """The wire form."""
    answered = outcome.answered
    return vehicle_record_pb2.Outcome(
        outcome_id=outcome.outcome_id,
        vin=outcome.vin,
        price=money_to_proto(outcome.price),
        price_type=appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{outcome.price_type}"),
        sold_on=date_to_proto(outcome.sold_on),
        odometer_km=outcome.odometer_km,
        source=outcome.source,
        reference=outcome.reference,
        appraisal_id=outcome.appraisal_id,
        error=None if answered is None else answered.error(outcome.price),
        within_interval=None if answered is None else answered.holds(outcome.price),
    )
