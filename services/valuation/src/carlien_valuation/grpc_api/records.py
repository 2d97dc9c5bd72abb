"""VehicleRecordService: convert in, store, convert out."""

from datetime import date, datetime
from typing import Any, Final, Protocol

import grpc

from carlien.valuation.v1 import appraisal_pb2, vehicle_record_pb2, vehicle_record_service_pb2_grpc
from carlien.valuation.v1 import vehicle_record_service_pb2 as pb
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.wire import date_from_proto, money_from_proto
from carlien_valuation import metrics
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.outcome import Outcome
from carlien_valuation.grpc_api.requests import MAX_ODOMETER_KM

Context = grpc.aio.ServicerContext[Any, Any]

MAX_TEXT: Final = 200
_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}


class OutcomeStore(Protocol):
    """Keeps realised sales."""

    async def report(self, org: str, key: str, request: bytes, outcome: Outcome, reported_at: datetime) -> pb.ReportOutcomeResponse:
        """Store once per key; the answer, or the one that the first call with this key got."""
        ...


class VehicleRecordServicer(vehicle_record_service_pb2_grpc.VehicleRecordServiceServicer):
    """See the proto."""

    def __init__(self, outcomes: OutcomeStore, clock: Clock) -> None:
        self._outcomes, self._clock = outcomes, clock

    async def ReportOutcome(self, request: pb.ReportOutcomeRequest, _context: Context) -> pb.ReportOutcomeResponse:
        """Store what a car was sold for."""
        now = self._clock()
        outcome = _outcome(request.outcome, request.idempotency_key, now.date())
        payload = request.SerializeToString(deterministic=True)
        answer = await self._outcomes.report(current_caller().org, request.idempotency_key, payload, outcome, now)
        metrics.OUTCOMES.labels("linked" if answer.outcome.appraisal_id else "not_linked").inc()
        return answer


def _outcome(message: vehicle_record_pb2.Outcome, key: str, today: date) -> Outcome:
    fields = collect_violations()
    with fields:
        if not key:
            raise invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "Every change needs an idempotency key.")
    with fields:
        vin = parse_vin(message.vin, "outcome.vin")
    with fields:
        price = money_from_proto(message.price, "outcome.price").require_positive("outcome.price")
    with fields:
        if message.price_type not in _PRICE_TYPES:
            raise invalid("outcome.price_type", "PRICE_TYPE_UNKNOWN", "Say which market the car was sold in.")
    with fields:
        sold_on = date_from_proto(message.sold_on, "outcome.sold_on")
        if (sold_on - today).days > 1:
            raise invalid("outcome.sold_on", "SALE_FUTURE", "A sale in the future is none yet.")
    with fields:
        odometer = message.odometer_km if message.HasField("odometer_km") else None
        if odometer is not None and not 0 <= odometer <= MAX_ODOMETER_KM:
            raise invalid("outcome.odometer_km", "ODOMETER_IMPLAUSIBLE", f"An odometer reads 0 to {MAX_ODOMETER_KM} km.")
    with fields:
        source = text_of(message.source, "outcome.source", required=True)
    with fields:
        reference = text_of(message.reference, "outcome.reference") or key
    fields.check()
    return Outcome("", vin.value, price, _PRICE_TYPES[message.price_type], sold_on, odometer, source, reference)


def text_of(text: str, field: str, *, required: bool = False) -> str:
    """A printable name of bounded length."""
    if required and not text.strip():
        raise invalid(field, "FIELD_MISSING", f"{field} is required.")
    if len(text) > MAX_TEXT or (text and not text.isprintable()):
        raise invalid(field, "TEXT_INVALID", f"{field} is a printable text of at most {MAX_TEXT} characters.")
    return text.strip()
