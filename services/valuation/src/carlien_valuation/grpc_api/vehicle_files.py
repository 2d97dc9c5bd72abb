"""Vehicle records and files between wire and domain."""

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from carlien.valuation.v1 import appraisal_pb2, vehicle_pb2, vehicle_record_pb2
from carlien.valuation.v1 import vehicle_record_service_pb2 as pb
from carlien_common.domain.errors import DomainError, collect_violations, invalid, precondition
from carlien_common.domain.ids import new_id
from carlien_common.domain.money import Money
from carlien_common.domain.vin import parse_vin
from carlien_common.wire import date_from_proto, date_to_proto, instant_from_proto, instant_to_proto, money_from_proto, money_to_proto
from carlien_valuation.domain.appraisal import Z80, PriceType, money
from carlien_valuation.domain.car import Usage
from carlien_valuation.domain.vehicle_file import NEEDS_CONSENT, PRICED, Accident, Record, RecordKind
from carlien_valuation.grpc_api.requests import FIRST_CAR, MAX_ODOMETER_KM, grade_of_condition, text_of, usage_of
from carlien_valuation.service.vehicle_files import File, FusedQuotes

MAX_TRANSFERS: Final = 100
_KINDS: Final = {vehicle_record_pb2.RecordKind.Value(f"RECORD_KIND_{kind}"): kind for kind in RecordKind}
_ACCIDENTS: Final[Mapping[int, Accident | None]] = {
    0: None,
    **{vehicle_record_pb2.AccidentSeverity.Value(f"ACCIDENT_SEVERITY_{accident}"): accident for accident in Accident},
}
_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}
_USAGES: Final = {usage: vehicle_pb2.UsageNature.Value(f"USAGE_NATURE_{usage}") for usage in Usage}
_KIND_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}
_ACCIDENT_NUMBERS: Final = {accident: number for number, accident in _ACCIDENTS.items()}
_PRICE_TYPE_NUMBERS: Final = {kind: number for number, kind in _PRICE_TYPES.items()}


def record_of(message: vehicle_record_pb2.VehicleRecord, key: str, now: datetime) -> Record:
    """A record; raises INVALID naming every bad field, PRECONDITION CONSENT_MISSING or CONSENT_EXPIRED."""
    fields = collect_violations()
    with fields:
        name = text_of(key, "idempotency_key", required=True)
    with fields:
        vin = parse_vin(message.vin, "record.vin")
    with fields:
        if message.kind not in _KINDS:
            raise invalid("record.kind", "RECORD_KIND_UNKNOWN", "Say what the record tells of.")
    with fields:
        source = text_of(message.source, "record.source", required=True)
    with fields:
        occurred_at = _past(instant_from_proto(message.occurred_at, "record.occurred_at"), now)
    with fields:
        consent_id = text_of(message.consent_id, "record.consent_id")
    with fields:
        expires = (
            instant_from_proto(message.consent_expires_at, "record.consent_expires_at") if message.HasField("consent_expires_at") else None
        )
    with fields:
        odometer = message.odometer_km if message.HasField("odometer_km") else None
        if odometer is not None and not 0 <= odometer <= MAX_ODOMETER_KM:
            raise invalid("record.odometer_km", "ODOMETER_IMPLAUSIBLE", f"An odometer reads 0 to {MAX_ODOMETER_KM} km.")
    with fields:
        price, price_type = _price(message)
    with fields:
        usage = usage_of(message.usage_nature, "record.usage_nature") if message.usage_nature else None
    with fields:
        grade = grade_of_condition(message.condition, "record.condition")
    with fields:
        if message.accident not in _ACCIDENTS:
            raise invalid("record.accident", "ACCIDENT_UNKNOWN", "This severity isn't known.")
    with fields:
        registered = (
            date_from_proto(message.first_registration, "record.first_registration") if message.HasField("first_registration") else None
        )
        if registered is not None and not FIRST_CAR <= registered <= now.date():
            raise invalid("record.first_registration", "REGISTRATION_IMPLAUSIBLE", "No car was registered then.")
    with fields:
        transfers = message.transfer_count if message.HasField("transfer_count") else None
        if transfers is not None and transfers > MAX_TRANSFERS:
            raise invalid("record.transfer_count", "TRANSFERS_IMPLAUSIBLE", f"A car changes hands at most {MAX_TRANSFERS} times.")
    with fields:
        soh = _fraction(message) if message.HasField("battery_state_of_health_percent") else None
    fields.check()
    kind = _KINDS[message.kind]
    if kind in NEEDS_CONSENT and not consent_id:
        raise precondition("CONSENT_MISSING", f"A record of kind {kind} needs the consent that allows to hold it.")
    if expires is not None and expires <= now:
        raise precondition("CONSENT_EXPIRED", "The consent has ended.")
    return Record(
        new_id(), vin.value, kind, source, name, occurred_at, now, consent_id, expires, odometer, price, price_type, usage, grade,
        _ACCIDENTS[message.accident], registered, transfers, soh,
    )  # fmt: skip


def rejection(position: int, key: str, error: DomainError) -> pb.RecordRejection:
    """Why a record was not imported."""
    field = error.violations[0].field if error.violations else ""
    return pb.RecordRejection(position=position, idempotency_key=key[:200], reason=error.reason, field=field, message=error.message)


def file_message(file: File) -> vehicle_record_pb2.VehicleFile:
    """A file on the wire."""
    known = file.facts
    return vehicle_record_pb2.VehicleFile(
        vin=file.vin,
        records=[_record(record) for record in file.held.records],
        total_records=file.held.total,
        conflicts=[
            vehicle_record_pb2.RecordConflict(code=one.code, message=one.message, record_ids=one.record_ids) for one in file.conflicts
        ],
        fused_quote=_fused(file.quotes) if file.quotes else None,
        odometer_km=known.odometer_km,
        condition_grade=vehicle_pb2.ConditionGrade.Name(known.grade) if known.grade else None,  # type: ignore[arg-type]
        usage_nature=_USAGES[known.usage] if known.usage else vehicle_pb2.USAGE_NATURE_UNSPECIFIED,
        transfer_count=known.transfer_count,
        first_registration=date_to_proto(known.first_registration) if known.first_registration else None,
        battery_state_of_health_percent=None if known.soh is None else float(100 * known.soh),
        disposed_at=instant_to_proto(known.disposed_at) if known.disposed_at else None,
    )


def _record(record: Record) -> vehicle_record_pb2.VehicleRecord:
    return vehicle_record_pb2.VehicleRecord(
        record_id=record.record_id,
        vin=record.vin,
        kind=_KIND_NUMBERS[record.kind],
        source=record.source,
        occurred_at=instant_to_proto(record.occurred_at),
        consent_id=record.consent_id,
        consent_expires_at=instant_to_proto(record.consent_expires_at) if record.consent_expires_at else None,
        odometer_km=record.odometer_km,
        price=money_to_proto(record.price) if record.price else None,
        price_type=_PRICE_TYPE_NUMBERS[record.price_type] if record.price_type else appraisal_pb2.PRICE_TYPE_UNSPECIFIED,
        usage_nature=_USAGES[record.usage] if record.usage else vehicle_pb2.USAGE_NATURE_UNSPECIFIED,
        condition=vehicle_pb2.Condition(grade=vehicle_pb2.ConditionGrade.Name(record.grade)) if record.grade else None,  # type: ignore[arg-type]
        accident=_ACCIDENT_NUMBERS[record.accident],  # type: ignore[arg-type]
        first_registration=date_to_proto(record.first_registration) if record.first_registration else None,
        transfer_count=record.transfer_count,
        battery_state_of_health_percent=None if record.soh is None else float(100 * record.soh),
        received_at=instant_to_proto(record.received_at),
    )


def _fused(quotes: FusedQuotes) -> vehicle_record_pb2.FusedQuote:
    fused = quotes.fused

    def amount(log_value: float) -> Money:
        return money(math.exp(log_value), quotes.currency)

    return vehicle_record_pb2.FusedQuote(
        price_type=appraisal_pb2.PRICE_TYPE_DEALER_RETAIL,
        p10=money_to_proto(amount(fused.log_value - Z80 * fused.deviation)),
        p50=money_to_proto(amount(fused.log_value)),
        p90=money_to_proto(amount(fused.log_value + Z80 * fused.deviation)),
        quotes=[
            vehicle_record_pb2.QuoteWeight(
                record_id=record.record_id,
                source=record.source,
                adjusted=money_to_proto(amount(quote.adjusted)),
                weight=weight,
                outlier=outlier,
                source_bias=quote.skill.bias,
                source_sd=quote.skill.scatter,
                source_sales=quote.skill.sales,
            )
            for (record, quote), weight, outlier in zip(quotes.quotes, fused.weights, fused.outliers, strict=True)
        ],
    )


def _past(instant: datetime, now: datetime) -> datetime:
    if instant > now or instant.date() < FIRST_CAR:
        raise invalid("record.occurred_at", "INSTANT_IMPLAUSIBLE", "A record tells of the past, and of a time when there were cars.")
    return instant


def _price(message: vehicle_record_pb2.VehicleRecord) -> tuple[Money | None, PriceType | None]:
    price = money_from_proto(message.price, "record.price").require_positive("record.price") if message.HasField("price") else None
    if price is None and _KINDS.get(message.kind) in PRICED:
        raise invalid("record.price", "FIELD_MISSING", "A listing, quote or sale states a price.")
    if message.price_type and message.price_type not in _PRICE_TYPES:
        raise invalid("record.price_type", "PRICE_TYPE_UNKNOWN", f"{message.price_type} is no price type.")
    return price, _PRICE_TYPES.get(message.price_type)


def _fraction(message: vehicle_record_pb2.VehicleRecord) -> Decimal:
    percent = message.battery_state_of_health_percent
    if not 0 < percent <= 110:
        raise invalid("record.battery_state_of_health_percent", "BATTERY_SOH_RANGE", "A state of health lies between 0 and 110 %.")
    return Decimal(repr(percent)) / 100
