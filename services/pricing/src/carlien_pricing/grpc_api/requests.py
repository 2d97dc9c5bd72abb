"""Requests to domain types: parse, don't validate. All bad fields are reported at once."""

import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TypeVar

from google.protobuf.message import Message

from carlien.pricing.v1 import collateral_watch_service_pb2, pricing_service_pb2, quote_pb2
from carlien.valuation.v1 import vehicle_pb2
from carlien_common.domain.errors import ViolationCollector, collect_violations, invalid
from carlien_common.domain.money import Money
from carlien_common.domain.vin import parse_vin
from carlien_common.wire import date_from_proto, missing, money_from_proto
from carlien_pricing.domain.calendar import DayCount
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType
from carlien_pricing.domain.quote import CarFacts, Fee, LoanRequest
from carlien_pricing.domain.schedule import MAX_PRINCIPAL, LoanTerms, RepaymentMethod
from carlien_pricing.service.ports import BorrowerInput, Collateral, QuoteCommand
from carlien_pricing.service.watching import WatchCommand

MAX_ID_LENGTH = 128
_MAX_FEES = 20
_MAX_FEATURES = 200
_MAX_FEE_KIND = 40
_MAX_MILEAGE_KM = 300_000
_LAST_YEAR = 9990
"""The last instalment must lie in the calendar."""
_LEAST_UNITS_A_MONTH = 100
"""Minor units of principal a month; of less, interest rounded to the minor unit isn't what was priced."""

_LENDERS: dict[int, LenderType] = {
    quote_pb2.LENDER_TYPE_LICENSED: LenderType.LICENSED,
    quote_pb2.LENDER_TYPE_MICRO_LOAN: LenderType.MICRO_LOAN,
    quote_pb2.LENDER_TYPE_PRIVATE: LenderType.PRIVATE,
    quote_pb2.LENDER_TYPE_FACILITATION: LenderType.FACILITATION,
    quote_pb2.LENDER_TYPE_OTHER_FINANCIAL: LenderType.OTHER_FINANCIAL,
}
_PRODUCTS: dict[int, ProductType] = {
    quote_pb2.PRODUCT_TYPE_DEALER_STOCK: ProductType.DEALER_STOCK,
    quote_pb2.PRODUCT_TYPE_OWNER: ProductType.OWNER,
    quote_pb2.PRODUCT_TYPE_NEV: ProductType.NEV,
}
_PURPOSES: dict[int, LoanPurpose] = {
    quote_pb2.LOAN_PURPOSE_OPERATING: LoanPurpose.OPERATING,
    quote_pb2.LOAN_PURPOSE_PURCHASE_PRIVATE_USE: LoanPurpose.PURCHASE_PRIVATE_USE,
    quote_pb2.LOAN_PURPOSE_PURCHASE_COMMERCIAL_USE: LoanPurpose.PURCHASE_COMMERCIAL_USE,
}
_METHODS: dict[int, RepaymentMethod] = {
    quote_pb2.REPAYMENT_METHOD_EQUAL_PAYMENT: RepaymentMethod.EQUAL_PAYMENT,
    quote_pb2.REPAYMENT_METHOD_EQUAL_PRINCIPAL: RepaymentMethod.EQUAL_PRINCIPAL,
    quote_pb2.REPAYMENT_METHOD_INTEREST_ONLY: RepaymentMethod.INTEREST_ONLY,
}
_DAY_COUNTS: dict[int, DayCount] = {
    quote_pb2.DAY_COUNT_UNSPECIFIED: DayCount.THIRTY_360,
    quote_pb2.DAY_COUNT_THIRTY_360: DayCount.THIRTY_360,
    quote_pb2.DAY_COUNT_ACT_365: DayCount.ACT_365,
    quote_pb2.DAY_COUNT_ACT_360: DayCount.ACT_360,
    quote_pb2.DAY_COUNT_ACT_ACT: DayCount.ACT_ACT,
}
_NEV_FUELS = {vehicle_pb2.FUEL_TYPE_PLUG_IN_HYBRID, vehicle_pb2.FUEL_TYPE_ELECTRIC, vehicle_pb2.FUEL_TYPE_FUEL_CELL}
_UNKNOWN_FUELS = {vehicle_pb2.FUEL_TYPE_UNSPECIFIED, vehicle_pb2.FUEL_TYPE_OTHER}
_COMMERCIAL = {
    vehicle_pb2.USAGE_NATURE_RIDE_HAILING,
    vehicle_pb2.USAGE_NATURE_COMMERCIAL_TAXI,
    vehicle_pb2.USAGE_NATURE_RENTAL_COMMERCIAL,
    vehicle_pb2.USAGE_NATURE_RENTAL_NON_COMMERCIAL,
    vehicle_pb2.USAGE_NATURE_GOODS,
}

T = TypeVar("T")


def choose(table: Mapping[int, T], value: int, field: str) -> T:
    """The domain value of an enum; INVALID where it isn't stated or not known."""
    if value not in table:
        raise invalid(field, "FIELD_MISSING" if value == 0 else "ENUM_UNKNOWN", f"{field} must be one of the values of its enum")
    return table[value]


def lender_type(value: int, field: str = "lender_type") -> LenderType:
    """A lender type that is stated."""
    return choose(_LENDERS, value, field)


def optional_date(message: Message, name: str, default: date) -> date:
    """The date of a field, or the default where it is unset."""
    return date_from_proto(getattr(message, name), name) if message.HasField(name) else default


def identifier(value: str, field: str) -> str:
    """A non-empty identifier of bounded length without control characters."""
    if not value:
        raise missing(field)
    if len(value) > MAX_ID_LENGTH or not value.isprintable():
        raise invalid(field, "IDENTIFIER_INVALID", f"{field} must be printable and at most {MAX_ID_LENGTH} characters long")
    return value


def quote_command(request: pricing_service_pb2.QuoteRequest, today: date) -> QuoteCommand:
    """A whole quote request; INVALID naming every bad field."""
    fields = collect_violations()
    with fields:
        key = identifier(request.idempotency_key, "idempotency_key")
    with fields:
        amount = money_from_proto(request.amount, "amount").require_positive("amount")
    with fields:
        collateral = _collateral(request)
    with fields:
        on = optional_date(request, "quote_date", today)
    with fields:
        lender = lender_type(request.lender_type)
    with fields:
        product = choose(_PRODUCTS, request.product_type, "product_type")
    with fields:
        purpose = choose(_PURPOSES, request.purpose, "purpose")
    with fields:
        method = choose(_METHODS, request.repayment_method, "repayment_method")
    with fields:
        day_count = choose(_DAY_COUNTS, request.day_count, "day_count")
    with fields:
        borrower = _borrower(request.borrower)
    fields.check()
    with fields:
        fees = _fees(request, amount, fields)
    with fields:
        balloon = money_from_proto(request.balloon, "balloon") if request.HasField("balloon") else Money(amount.amount * 0, amount.currency)
        _same_currency(balloon, amount, "balloon")
    with fields:
        down_payment = _down_payment(request, amount, purpose)
    fields.check()
    loan = LoanRequest(
        amount.amount,
        amount.minor_unit,
        request.term_months,
        method,
        fees,
        lender,
        product,
        purpose,
        on,
        balloon.amount,
        request.grace_months,
        day_count,
        request.annual_mileage_km,
        down_payment,
    )
    if not 0 <= loan.annual_mileage_km <= _MAX_MILEAGE_KM:
        raise invalid("annual_mileage_km", "MILEAGE_OUT_OF_RANGE", f"the distance per year must be 0 to {_MAX_MILEAGE_KM} km")
    _check_terms(loan)
    return QuoteCommand(
        collateral,
        borrower,
        loan,
        amount.currency,
        request.with_counteroffers,
        key,
        request.SerializeToString(deterministic=True),
    )


def _down_payment(request: pricing_service_pb2.QuoteRequest, amount: Money, purpose: LoanPurpose) -> Decimal | None:
    if not request.HasField("down_payment"):
        return None
    paid = money_from_proto(request.down_payment, "down_payment")
    _same_currency(paid, amount, "down_payment")
    if purpose is LoanPurpose.OPERATING:
        raise invalid("down_payment", "DOWN_PAYMENT_WITHOUT_PURCHASE", "only a loan that buys the car has a down payment")
    if not 0 <= paid.amount <= MAX_PRINCIPAL:
        raise invalid("down_payment", "AMOUNT_OUT_OF_RANGE", f"a down payment must be 0 to {MAX_PRINCIPAL:f}")
    return paid.amount


def _check_terms(loan: LoanRequest) -> None:
    """What no schedule can be made of, refused before anybody is asked."""
    LoanTerms(
        loan.amount,
        loan.term_months,
        loan.amount * 0,
        loan.method,
        loan.quote_date,
        loan.minor_unit,
        loan.balloon,
        loan.grace_months,
        loan.day_count,
    )
    if loan.quote_date.year > _LAST_YEAR:
        raise invalid("quote_date", "DATE_OUT_OF_RANGE", f"a contract's date lies before the end of {_LAST_YEAR}")
    least = _LEAST_UNITS_A_MONTH * loan.minor_unit
    if loan.amount < loan.term_months * least:
        raise invalid(
            "amount", "AMOUNT_TOO_SMALL", f"the amount must be at least {least} per month of the term: rounding would make the price"
        )


def _collateral(request: pricing_service_pb2.QuoteRequest) -> Collateral:
    match request.WhichOneof("collateral"):
        case "vehicle":
            car = _car(request.vehicle)
            return Collateral(car=car, vehicle=request.vehicle.SerializeToString(deterministic=True))
        case "appraisal_id":
            return Collateral(appraisal_id=identifier(request.appraisal_id, "appraisal_id"))
        case _:
            raise missing("vehicle")


def _car(vehicle: vehicle_pb2.Vehicle) -> CarFacts:
    energy: Energy | None = None
    if vehicle.fuel_type not in _UNKNOWN_FUELS:
        energy = Energy.NEV if vehicle.fuel_type in _NEV_FUELS else Energy.ICE
    commercial = None
    if vehicle.usage_nature != vehicle_pb2.USAGE_NATURE_UNSPECIFIED:
        commercial = vehicle.usage_nature in _COMMERCIAL
    # A car with a first registration has been registered: it is used, however new it is.
    age = CarAge.USED if vehicle.HasField("first_registration") else None
    battery = vehicle.battery
    kwh = 0.0
    if battery.HasField("state_of_health_percent"):
        kwh = battery.capacity_new_kwh * battery.state_of_health_percent / 100
    known_kwh = round(kwh, 3) if math.isfinite(kwh) and kwh > 0 else 0.0
    return CarFacts(parse_vin(vehicle.vin, "vehicle.vin").value, energy, age, commercial, battery.leased, known_kwh)


def _borrower(message: quote_pb2.Borrower) -> BorrowerInput:
    if len(message.features) > _MAX_FEATURES:
        raise invalid("borrower.features", "TOO_MANY", f"at most {_MAX_FEATURES} features")
    for name, value in message.features.items():
        if not math.isfinite(value):
            raise invalid(f"borrower.features.{name}", "NUMBER_INVALID", "a feature must be a finite number")
    score = message.score if message.HasField("score") else None
    if score is not None and not math.isfinite(score):
        raise invalid("borrower.score", "NUMBER_INVALID", "the score must be a finite number")
    pd = message.probability_of_default if message.HasField("probability_of_default") else None
    if pd is not None and not 0 < pd < 1:
        raise invalid("borrower.probability_of_default", "PROBABILITY_OUT_OF_RANGE", "a PD lies between 0 and 1")
    return BorrowerInput(dict(message.features), score, pd)


def _fees(request: pricing_service_pb2.QuoteRequest, amount: Money, fields: ViolationCollector) -> tuple[Fee, ...]:
    if len(request.fees) > _MAX_FEES:
        raise invalid("fees", "TOO_MANY", f"at most {_MAX_FEES} fees")
    found = []
    for index, message in enumerate(request.fees):
        name = f"fees[{index}]"
        with fields:
            kind = identifier(message.kind, f"{name}.kind")
            if len(kind) > _MAX_FEE_KIND:
                raise invalid(f"{name}.kind", "IDENTIFIER_INVALID", f"at most {_MAX_FEE_KIND} characters")
            fee = money_from_proto(message.amount, f"{name}.amount").require_positive(f"{name}.amount")
            _same_currency(fee, amount, f"{name}.amount")
            upfront = choose({quote_pb2.FEE_TIMING_UPFRONT: True, quote_pb2.FEE_TIMING_MONTHLY: False}, message.timing, f"{name}.timing")
            found.append(Fee(kind, fee.amount, upfront))
    return tuple(found)


def _same_currency(money: Money, amount: Money, field: str) -> None:
    if money.currency != amount.currency:
        raise invalid(field, "CURRENCY_MISMATCH", f"the loan is in {amount.currency}")


def watch_command(request: collateral_watch_service_pb2.WatchLoanRequest) -> WatchCommand:
    """A whole watch request; INVALID naming every bad field."""
    fields = collect_violations()
    with fields:
        key = identifier(request.idempotency_key, "idempotency_key")
    with fields:
        loan_id = identifier(request.loan_id, "loan_id")
    with fields:
        quote_id = identifier(request.quote_id, "quote_id")
    with fields:
        vin = parse_vin(request.vin).value
    with fields:
        outstanding = money_from_proto(request.outstanding, "outstanding")
        if outstanding.amount < 0:
            raise invalid("outstanding", "AMOUNT_NEGATIVE", "what is outstanding must not be negative")
        if outstanding.amount > MAX_PRINCIPAL:
            raise invalid("outstanding", "AMOUNT_TOO_LARGE", f"what is outstanding must not exceed {MAX_PRINCIPAL:f}")
    fields.check()
    return WatchCommand(
        loan_id, vin, quote_id, outstanding.amount, outstanding.currency, key, request.SerializeToString(deterministic=True)
    )
