"""Wire types to domain types: every bad field is named, all of them at once."""

from datetime import date
from typing import Final

from carlien.valuation.v1 import appraisal_pb2, valuation_service_pb2, vehicle_pb2
from carlien_common.domain.errors import DomainError, collect_violations, invalid
from carlien_common.domain.money import Money, require_currency
from carlien_common.domain.vin import parse_vin
from carlien_common.wire import date_from_proto, money_from_proto
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.car import Car, ConditionScores, Usage, grade_of
from carlien_valuation.grpc_api.batteries import pack_of
from carlien_valuation.service.appraise import Request

MAX_NAME: Final = 200
MAX_OPTIONS: Final = 200
MAX_BATCH: Final = 1000
MAX_ODOMETER_KM: Final = 3_000_000
FIRST_CAR: Final = date(1886, 1, 29)
"""Nothing was registered before Benz's patent."""

_PRICE_TYPES: Final = {appraisal_pb2.PriceType.Value(f"PRICE_TYPE_{kind}"): kind for kind in PriceType}
_USAGES: Final = {
    vehicle_pb2.USAGE_NATURE_UNSPECIFIED: Usage.PRIVATE,
    **{vehicle_pb2.UsageNature.Value(f"USAGE_NATURE_{usage}"): usage for usage in Usage},
}
_FUELS: Final = {
    **{number: name.removeprefix("FUEL_TYPE_") for name, number in vehicle_pb2.FuelType.items()},
    vehicle_pb2.FUEL_TYPE_UNSPECIFIED: "",
}


def appraise_request(message: valuation_service_pb2.AppraiseRequest, today: date) -> Request:
    """An Appraise request; raises INVALID naming every bad field."""
    fields = collect_violations()
    with fields:
        car = car_of(message.vehicle, today)
    with fields:
        price_types = tuple(_price_type(value) for value in message.price_types)
    with fields:
        day = date_from_proto(message.valuation_date, "valuation_date") if message.HasField("valuation_date") else today
    with fields:
        currency = require_currency(message.currency_code) if message.currency_code else ""
    with fields:
        pack = pack_of(message.vehicle)
    fields.check()
    return Request(car, price_types, day, currency, pack=pack)


def batch_requests(message: valuation_service_pb2.BatchAppraiseRequest, today: date) -> list[Request | DomainError]:
    """The requests of a batch, a car's own faults in its place; raises INVALID for what concerns all of them."""
    fields = collect_violations()
    with fields:
        price_types = tuple(_price_type(value) for value in message.price_types)
    with fields:
        day = date_from_proto(message.valuation_date, "valuation_date") if message.HasField("valuation_date") else today
    with fields:
        currency = require_currency(message.currency_code) if message.currency_code else ""
    with fields:
        if not 1 <= len(message.vehicles) <= MAX_BATCH:
            raise invalid("vehicles", "BATCH_SIZE", f"A batch has 1 to {MAX_BATCH} cars.")
    fields.check()
    requests: list[Request | DomainError] = []
    for vehicle in message.vehicles:
        try:
            car, pack = car_of(vehicle, today), pack_of(vehicle)
            requests.append(Request(car, price_types, day, currency, waterfall=not message.values_only, pack=pack))
        except DomainError as error:
            requests.append(error)
    return requests


def car_of(message: vehicle_pb2.Vehicle, today: date) -> Car:
    """A car; raises INVALID naming every bad field of it."""
    fields = collect_violations()
    with fields:
        vin = parse_vin(message.vin, "vehicle.vin")
    with fields:
        names = {name: _text(getattr(message, name), name) for name in ("make", "model", "trim", "color", "region_code")}
        if not names["make"]:
            raise invalid("vehicle.make", "MAKE_MISSING", "Which make is it?")
    with fields:
        registered = (
            date_from_proto(message.first_registration, "vehicle.first_registration") if message.HasField("first_registration") else None
        )
        if registered and registered < FIRST_CAR:
            raise invalid("vehicle.first_registration", "REGISTRATION_IMPLAUSIBLE", "There were no cars then.")
        if registered and (registered - today).days > 1:
            raise invalid("vehicle.first_registration", "REGISTRATION_FUTURE", "The date of first registration lies in the future.")
    with fields:
        odometer = message.odometer_km if message.HasField("odometer_km") else None
        if odometer is not None and not 0 <= odometer <= MAX_ODOMETER_KM:
            raise invalid("vehicle.odometer_km", "ODOMETER_IMPLAUSIBLE", f"An odometer reads 0 to {MAX_ODOMETER_KM} km.")
    with fields:
        usage = usage_of(message.usage_nature, "vehicle.usage_nature")
    with fields:
        new_price = _new_price(message)
    with fields:
        grade = grade_of_condition(message.condition, "vehicle.condition")
    with fields:
        fuel = _fuel(message.fuel_type)
    with fields:
        if len(message.options) > MAX_OPTIONS:
            raise invalid("vehicle.options", "OPTIONS_TOO_MANY", f"At most {MAX_OPTIONS} options.")
    fields.check()
    return Car(
        vin=vin.value,
        make=names["make"],
        model=names["model"],
        trim=names["trim"],
        first_registration=registered,
        odometer_km=odometer,
        region_code=names["region_code"],
        usage=usage,
        transfer_count=message.transfer_count if message.HasField("transfer_count") else None,
        color=names["color"],
        fuel_type=fuel,
        new_price=new_price.amount if new_price else None,
        new_price_currency=new_price.currency if new_price else "",
        grade=grade,
        options=tuple(message.options),
        warnings=vin.warnings,
    )


def _price_type(value: appraisal_pb2.PriceType.ValueType) -> PriceType:
    if value not in _PRICE_TYPES:
        raise invalid("price_types", "PRICE_TYPE_UNKNOWN", f"{value} is no price type.")
    return _PRICE_TYPES[value]


def _text(value: str, name: str) -> str:
    if len(value) > MAX_NAME:
        raise invalid(f"vehicle.{name}", "TEXT_TOO_LONG", f"At most {MAX_NAME} characters.")
    return value.strip()


def _new_price(message: vehicle_pb2.Vehicle) -> Money | None:
    if not message.HasField("new_price"):
        return None
    return money_from_proto(message.new_price, "vehicle.new_price").require_positive("vehicle.new_price")


def usage_of(value: vehicle_pb2.UsageNature.ValueType, field: str) -> Usage:
    """A usage nature; private where not stated."""
    if value not in _USAGES:
        raise invalid(field, "USAGE_UNKNOWN", "This usage nature isn't known.")
    return _USAGES[value]


def grade_of_condition(message: vehicle_pb2.Condition, field: str) -> int | None:
    """A grade of GB/T 30323, from sub-scores where those are given; None where nothing is stated."""
    kind = message.WhichOneof("condition")
    if kind is None:
        return None
    if kind == "scores":
        scores = {name: getattr(message.scores, name) for name in ConditionScores.__slots__}
        if any(value > 4 for value in scores.values()):
            raise invalid(f"{field}.scores", "SCORE_RANGE", "Sub-scores run from 0 to 4.")
        return grade_of(ConditionScores(**scores))
    if message.grade not in vehicle_pb2.ConditionGrade.values():
        raise invalid(f"{field}.grade", "GRADE_UNKNOWN", "Grades run from 1 to 5.")
    return int(message.grade) or None


def _fuel(value: vehicle_pb2.FuelType.ValueType) -> str:
    if value not in _FUELS:
        raise invalid("vehicle.fuel_type", "FUEL_UNKNOWN", "This fuel type isn't known.")
    return _FUELS[value]


def text_of(text: str, field: str, *, required: bool = False) -> str:
    """A printable name of bounded length."""
    if required and not text.strip():
        raise invalid(field, "FIELD_MISSING", f"{field} is required.")
    if len(text) > MAX_NAME or (text and not text.isprintable()):
        raise invalid(field, "TEXT_INVALID", f"{field} is a printable text of at most {MAX_NAME} characters.")
    return text.strip()
