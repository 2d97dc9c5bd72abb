"""VehicleRecordService: convert in, store, convert out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import date, datetime
from typing import Any, Final, Protocol

import grpc

from carlien.valuation.v1 import appraisal_pb2, vehicle_record_pb2, vehicle_record_service_pb2_grpc
from carlien.valuation.v1 import vehicle_record_service_pb2 as pb
from carlien_common.domain.clock import Clock
from carlien_common.domain.errors import DomainError, collect_violations, invalid
from carlien_common.domain.vin import parse_vin
from carlien_common.grpc.context import current_caller
from carlien_common.wire import date_from_proto, instant_from_proto, money_from_proto
from carlien_valuation import metrics
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.outcome import Outcome
from carlien_valuation.domain.vehicle_file import Record
from carlien_valuation.grpc_api.requests import MAX_ODOMETER_KM, text_of
from carlien_valuation.grpc_api.streams import gathered
from carlien_valuation.grpc_api.vehicle_files import file_message, record_of, rejection
from carlien_valuation.service.vehicle_files import VehicleFiles

Context = grpc.aio.ServicerContext[Any, Any]

IMPORT_BATCH: Final = 256
MOST_REJECTIONS: Final = 1_000
_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}


class OutcomeStore(Protocol):
    """Keeps realised sales."""

    async def report(self, org: str, key: str, request: bytes, outcome: Outcome, reported_at: datetime) -> pb.ReportOutcomeResponse:
        """Store once per key; the answer, or the one that the first call with this key got."""
        ...


class RecordSink(Protocol):
    """Keeps records."""

    async def add(self, records: Sequence[Record]) -> list[bool | DomainError]:
        """Store in one transaction: whether each is new, or why it was refused."""
        ...


class VehicleRecordServicer(vehicle_record_service_pb2_grpc.VehicleRecordServiceServicer):
    """See the proto."""

    def __init__(self, outcomes: OutcomeStore, records: RecordSink, files: VehicleFiles, clock: Clock) -> None:
        self._outcomes, self._records, self._files, self._clock = outcomes, records, files, clock

    async def ReportOutcome(self, request: pb.ReportOutcomeRequest, _context: Context) -> pb.ReportOutcomeResponse:
        """Store what a car was sold for."""
        now = self._clock()
        outcome = _outcome(request.outcome, request.idempotency_key, now.date())
        payload = request.SerializeToString(deterministic=True)
        answer = await self._outcomes.report(current_caller().org, request.idempotency_key, payload, outcome, now)
        metrics.OUTCOMES.labels("linked" if answer.outcome.appraisal_id else "not_linked").inc()
        return answer

    async def ImportRecords(self, requests: AsyncIterator[pb.ImportRecordsRequest], _context: Context) -> pb.ImportRecordsResponse:
        """Store a stream of records."""
        answer = pb.ImportRecordsResponse()
        position = 0
        async with aclosing(gathered(requests, IMPORT_BATCH)) as batches:
            async for batch in batches:
                await self._import(batch, position, answer)
                position += len(batch)
        for outcome, count in (("imported", answer.imported), ("known", answer.known), ("rejected", answer.rejected)):
            metrics.RECORDS.labels(outcome).inc(count)
        return answer

    async def _import(self, batch: Sequence[pb.ImportRecordsRequest], position: int, answer: pb.ImportRecordsResponse) -> None:
        now = self._clock()
        sound: list[tuple[int, Record]] = []
        refused: list[tuple[int, DomainError]] = []
        for place, request in enumerate(batch):
            try:
                sound.append((place, record_of(request.record, request.idempotency_key, now)))
            except DomainError as error:
                refused.append((place, error))
        results = await self._records.add([record for _, record in sound]) if sound else []
        for (place, _), result in zip(sound, results, strict=True):
            if isinstance(result, DomainError):
                refused.append((place, result))
            elif result:
                answer.imported += 1
            else:
                answer.known += 1
        answer.rejected += len(refused)
        for place, why in sorted(refused, key=lambda one: one[0])[: MOST_REJECTIONS - len(answer.rejections)]:
            answer.rejections.append(rejection(position + place, batch[place].idempotency_key, why))

    async def GetVehicleFile(self, request: pb.GetVehicleFileRequest, _context: Context) -> pb.GetVehicleFileResponse:
        """A car's file."""
        fields = collect_violations()
        with fields:
            vin = parse_vin(request.vin)
        with fields:
            as_of = instant_from_proto(request.as_of, "as_of") if request.HasField("as_of") else None
        fields.check()
        return pb.GetVehicleFileResponse(file=file_message(await self._files.file(vin.value, as_of)))


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
