"""Valuation's appraisals as facts for a quote and as a mark for a watch."""

from decimal import Decimal

from carlien.valuation.v1 import appraisal_pb2, events_pb2, valuation_service_pb2
from carlien_common.domain.errors import invalid
from carlien_common.wire import date_from_proto, instant_from_proto, money_from_proto
from carlien_pricing.domain.quote import ForecastPoint, ValueFacts
from carlien_pricing.domain.watch_state import Mark
from carlien_pricing.service.ports import HeldAppraisal

# The market a loan is measured by: the most cautious one that the appraisal states.
BASIS_ORDER = (
    appraisal_pb2.PRICE_TYPE_WHOLESALE,
    appraisal_pb2.PRICE_TYPE_TRADE_IN,
    appraisal_pb2.PRICE_TYPE_PRIVATE,
    appraisal_pb2.PRICE_TYPE_DEALER_RETAIL,
    appraisal_pb2.PRICE_TYPE_FORCED_SALE,
)
_DRIVER_CAUSES = {
    appraisal_pb2.APPRAISAL_CAUSE_USAGE,
    appraisal_pb2.APPRAISAL_CAUSE_MILEAGE,
    appraisal_pb2.APPRAISAL_CAUSE_BATTERY,
}
_PREFIX = "PRICE_TYPE_"
# Warnings by which valuation says that it has taken a leased pack out.
_LEASED_OUT = {"BATTERY_LEASED", "LEASED_BATTERY_EXCLUDED"}


def value_facts(appraisal: appraisal_pb2.Appraisal) -> ValueFacts:
    """INVALID where the message breaks its own contract."""
    by_type = {estimate.price_type: estimate for estimate in appraisal.estimates}
    basis = next((by_type[kind] for kind in BASIS_ORDER if kind in by_type), None)
    valued_at = instant_from_proto(appraisal.valued_at, "valued_at")
    on = date_from_proto(appraisal.valuation_date, "valuation_date") if appraisal.HasField("valuation_date") else valued_at.date()
    if appraisal.abstained or basis is None:
        return ValueFacts(
            appraisal.appraisal_id,
            "",
            "",
            Decimal(0),
            Decimal(0),
            None,
            True,
            True,
            appraisal.abstain_reason or "NO_ESTIMATE",
            on,
            appraisal.model_version,
            valued_at,
            appraisal.index_level,
        )
    p50, p10 = money_from_proto(basis.p50, "p50"), money_from_proto(basis.p10, "p10")
    if not 0 < p10.amount <= p50.amount or p10.currency != p50.currency:
        raise invalid("estimates", "ESTIMATE_INVALID", "P10 must be positive and not above P50, in one currency")
    forced = by_type.get(appraisal_pb2.PRICE_TYPE_FORCED_SALE)
    forced_p50 = None
    if forced is not None and forced is not basis:
        money = money_from_proto(forced.p50, "p50")
        forced_p50 = min(money.amount, p50.amount) if money.currency == p50.currency else None
    return ValueFacts(
        appraisal.appraisal_id,
        p50.currency,
        appraisal_pb2.PriceType.Name(basis.price_type).removeprefix(_PREFIX),
        p50.amount,
        p10.amount,
        forced_p50,
        basis.confidence == appraisal_pb2.CONFIDENCE_LOW,
        False,
        "",
        on,
        appraisal.model_version,
        valued_at,
        appraisal.index_level,
        any(warning.code in _LEASED_OUT for warning in appraisal.warnings),
    )


def forecast_points(response: valuation_service_pb2.ForecastResidualResponse) -> tuple[ForecastPoint, ...]:
    """The forecast from month 0 on; empty where valuation abstained. INVALID where the message breaks its own contract."""
    if response.abstained or not response.points:
        return ()
    points = tuple(
        ForecastPoint(point.month, money_from_proto(point.p50, "p50").amount, money_from_proto(point.p10, "p10").amount)
        for point in response.points
    )
    months = [point.month for point in points]
    if months[0] != 0 or months != sorted(set(months)) or any(not 0 < point.p10 <= point.p50 for point in points):
        raise invalid("points", "ESTIMATE_INVALID", "a forecast begins at month 0, in order, with 0 < P10 <= P50")
    return points


def held_appraisal(event: events_pb2.AppraisalRecorded) -> HeldAppraisal:
    """The event's appraisal. INVALID where it can't be one."""
    appraisal = event.appraisal
    if not appraisal.appraisal_id or not appraisal.vin:
        raise invalid("appraisal", "FIELD_MISSING", "a recorded appraisal has an identifier and a VIN")
    facts = value_facts(appraisal)
    mark = Mark(
        appraisal.appraisal_id,
        facts.p50,
        facts.p10,
        facts.valued_at,
        appraisal.index_level,
        event.cause in _DRIVER_CAUSES,
    )
    return HeldAppraisal(appraisal.appraisal_id, appraisal.vin, facts, mark)
