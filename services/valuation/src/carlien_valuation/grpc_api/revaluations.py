"""RevaluePortfolio between wire and domain."""

from datetime import date
from decimal import Decimal
from typing import Final

from carlien.valuation.v1 import revaluation_pb2, valuation_service_pb2
from carlien_common.domain.errors import DomainError, collect_violations, invalid
from carlien_common.wire import date_from_proto, money_from_proto
from carlien_valuation.domain.appraisal import scale_of
from carlien_valuation.domain.revaluation import Cause
from carlien_valuation.grpc_api.answers import fill_money
from carlien_valuation.grpc_api.batteries import pack_of
from carlien_valuation.grpc_api.requests import MAX_ODOMETER_KM, car_of, grade_of_condition, usage_of
from carlien_valuation.grpc_api.residuals import price_type_of
from carlien_valuation.service.residual import MAX_ANNUAL_KM
from carlien_valuation.service.revalue import Position, Previous, Refused, Revaluation

MAX_POSITION_ID: Final = 200
_CAUSES: Final = {cause: revaluation_pb2.ChangeCause.Value(f"CHANGE_CAUSE_{cause}") for cause in Cause}


def position_of(message: valuation_service_pb2.RevaluePortfolioRequest, today: date) -> Position | Refused:
    """A position, or the reason why it is none."""
    position_id = message.position_id[:MAX_POSITION_ID]
    fields = collect_violations()
    try:
        with fields:
            if not message.position_id or len(message.position_id) > MAX_POSITION_ID:
                raise invalid("position_id", "POSITION_ID_INVALID", f"A position needs a name of at most {MAX_POSITION_ID} characters.")
        with fields:
            car = car_of(message.vehicle, today)
        with fields:
            previous = _previous(message.previous)
        with fields:
            price_type = price_type_of(message.price_type)
        with fields:
            day = date_from_proto(message.valuation_date, "valuation_date") if message.HasField("valuation_date") else today
        with fields:
            expected = message.expected_annual_mileage_km if message.HasField("expected_annual_mileage_km") else None
            if expected is not None and not 0 <= expected <= MAX_ANNUAL_KM:
                raise invalid("expected_annual_mileage_km", "ANNUAL_MILEAGE_RANGE", f"A car is driven 0 to {MAX_ANNUAL_KM} km a year.")
        with fields:
            pack = pack_of(message.vehicle)
        fields.check()
    except DomainError as error:
        return Refused(position_id, error)
    return Position(position_id, car, previous, price_type, day, expected, pack)


def _previous(message: revaluation_pb2.PreviousValue) -> Previous:
    fields = collect_violations()
    with fields:
        value = money_from_proto(message.value, "previous.value")
    with fields:
        day = date_from_proto(message.valuation_date, "previous.valuation_date")
    with fields:
        odometer = message.odometer_km if message.HasField("odometer_km") else None
        if odometer is not None and not 0 <= odometer <= MAX_ODOMETER_KM:
            raise invalid("previous.odometer_km", "ODOMETER_IMPLAUSIBLE", f"An odometer reads 0 to {MAX_ODOMETER_KM} km.")
    with fields:
        usage = usage_of(message.usage_nature, "previous.usage_nature")
    with fields:
        grade = grade_of_condition(message.condition, "previous.condition")
    with fields:
        soh = _fraction(message.battery_state_of_health_percent) if message.HasField("battery_state_of_health_percent") else None
    with fields:
        if not 0 <= message.index_level < 1e9:
            raise invalid("previous.index_level", "INDEX_LEVEL_INVALID", "A level of an index is a positive number.")
    fields.check()
    transfers = message.transfer_count if message.HasField("transfer_count") else None
    return Previous(value, day, odometer, usage, transfers, grade, soh, message.index_level)


def _fraction(percent: float) -> Decimal:
    return Decimal(repr(percent)) / 100


def outcome(answer: Revaluation | Refused) -> str:
    """For the counter."""
    if isinstance(answer, Refused):
        return "refused"
    return "abstained" if answer.appraisal.abstained else "valued"


def revaluation_response(answer: Revaluation | Refused) -> valuation_service_pb2.RevaluePortfolioResponse:
    """One answer."""
    if isinstance(answer, Refused):
        violations = answer.error.violations
        return valuation_service_pb2.RevaluePortfolioResponse(
            position_id=answer.position_id, reason=answer.error.reason, field=violations[0].field if violations else ""
        )
    appraisal, changes = answer.appraisal, answer.changes
    response = valuation_service_pb2.RevaluePortfolioResponse(
        position_id=answer.position_id,
        abstained=appraisal.abstained,
        reason=appraisal.abstain_reason,
        warnings=answer.warnings,
        model_version=appraisal.model_version,
        index_vintage=appraisal.index_vintage,
        index_level=appraisal.index_level,
    )
    if changes is None or answer.quantiles is None:
        return response
    currency = changes.currency
    scale = scale_of(currency)
    p10, p50, p90 = answer.quantiles
    for target, units in (
        (response.p10, p10),
        (response.p50, p50),
        (response.p90, p90),
        (response.market_loss, changes.market_loss_units),
        (response.driver_loss, changes.driver_loss_units),
    ):
        fill_money(target, units, scale, currency)
    for cause, units in changes.units.items():
        if units or cause is Cause.MARKET:
            fill_money(response.changes.add(cause=_CAUSES[cause]).amount, units, scale, currency)
    return response
