"""Domain records to wire messages: what callers are answered and events say. Used by grpc_api and by the adapters' outbox."""

from decimal import Decimal

from google.type.money_pb2 import Money as MoneyMessage

from carlien.pricing.v1 import collateral_watch_service_pb2, pricing_service_pb2, quote_pb2, watch_pb2
from carlien_common.domain.money import Money
from carlien_common.wire import date_to_proto, instant_to_proto, money_to_proto
from carlien_pricing.domain.counteroffers import Counteroffer
from carlien_pricing.domain.legality import CapAnswer
from carlien_pricing.domain.matrix import Axis, Cell
from carlien_pricing.domain.quote import LossFigures
from carlien_pricing.domain.watch_state import Stage, Watch
from carlien_pricing.service.ports import QuoteRecord, QuoteStatus

_STATUS = {
    QuoteStatus.OPEN: quote_pb2.QUOTE_STATUS_OPEN,
    QuoteStatus.ACCEPTED: quote_pb2.QUOTE_STATUS_ACCEPTED,
    QuoteStatus.EXPIRED: quote_pb2.QUOTE_STATUS_EXPIRED,
    QuoteStatus.DECLINED: quote_pb2.QUOTE_STATUS_DECLINED,
}
_AXIS = {
    Axis.BORROWER: quote_pb2.MATRIX_AXIS_BORROWER,
    Axis.COLLATERAL: quote_pb2.MATRIX_AXIS_COLLATERAL,
    Axis.USAGE: quote_pb2.MATRIX_AXIS_USAGE,
}
STAGES = {
    Stage.NORMAL: watch_pb2.WATCH_STAGE_NORMAL,
    Stage.NOTICE: watch_pb2.WATCH_STAGE_NOTICE,
    Stage.MARGIN_CALL: watch_pb2.WATCH_STAGE_MARGIN_CALL,
    Stage.ACCELERATION: watch_pb2.WATCH_STAGE_ACCELERATION,
    Stage.CLOSED: watch_pb2.WATCH_STAGE_CLOSED,
}


def quote_message(record: QuoteRecord) -> quote_pb2.Quote:
    """The whole quote."""
    priced, inputs, request = record.priced, record.inputs, record.inputs.request

    def money(amount: Decimal) -> MoneyMessage:
        return money_to_proto(Money(amount, record.currency))

    message = quote_pb2.Quote(
        quote_id=record.quote_id,
        decision=quote_pb2.DECISION_OFFER if priced.offered else quote_pb2.DECISION_DECLINE,
        status=_STATUS[record.status],
        vin=inputs.car.vin,
        appraisal_id=inputs.value.appraisal_id,
        amount=money(priced.principal),
        term_months=request.term_months,
        annual_rate_irr=priced.cost.irr,
        annual_rate_simple=priced.cost.simple,
        nominal_rate=float(priced.nominal_rate),
        ltv_p50=priced.ltv_p50,
        ltv_p10=priced.ltv_p10,
        rate_cap=cap_message(priced.caps[0]),
        matrix_cell=cell_message(priced.cell),
        expected_loss=money(priced.loss.expected_loss),
        raroc=priced.raroc,
        schedule=[
            quote_pb2.Instalment(
                number=row.number,
                due_date=date_to_proto(row.due),
                principal=money(row.principal),
                interest=money(row.interest),
                fees=money(row.fees),
                remaining_principal=money(row.remaining),
            )
            for row in priced.schedule
        ],
        reasons=[
            quote_pb2.Reason(code=reason.code, message=reason.message, rule=reason.rule, blocking=reason.blocking)
            for reason in priced.reasons
        ],
        expires_at=instant_to_proto(record.expires_at),
        versions=quote_pb2.Versions(
            valuation_model=inputs.value.model_version,
            policies=priced.policies_version,
            matrix=priced.matrix_version,
            borrower_model=inputs.borrower.model_version or inputs.borrower.origin.lower(),
            software=record.software_version,
            usage_model="" if inputs.borrower.usage_model_outdated else inputs.borrower.usage_model,
            engine=record.engine_version,
        ),
        input_hash=record.input_hash,
        quoted_at=instant_to_proto(record.quoted_at),
        rate_caps=[cap_message(cap) for cap in priced.caps],
        annual_rate_irr_without_fees=priced.cost_without_fees.irr,
        annual_rate_simple_without_fees=priced.cost_without_fees.simple,
        default_interest=quote_pb2.RateCap(
            rule=priced.default_interest_rule,
            limit=float(priced.default_interest_limit),
            in_force_on=date_to_proto(request.quote_date),
        ),
        matrix_steps=[
            quote_pb2.MatrixStep(axis=_AXIS[step.axis], cell=cell_message(step.cell), nominal_rate_change=float(step.rate_change))
            for step in priced.steps
        ],
        loss=_loss_message(priced.loss, record.currency),
        hurdle=priced.hurdle,
        valued_as=inputs.value.price_type,
        probability_of_default=inputs.borrower.pd_12m,
        probability_of_default_origin=inputs.borrower.origin,
        certificate_number=inputs.lien.certificate_number,
        quote_date=date_to_proto(request.quote_date),
        counteroffers=[_counteroffer_message(offer, record.currency) for offer in record.counteroffers],
        rate_step_downs=[
            quote_pb2.RateStepDown(
                condition=down.condition,
                after_months=down.after_months,
                nominal_rate=float(down.nominal_rate),
                description=down.description,
            )
            for down in record.step_downs
        ],
        borrower_reason_codes=inputs.borrower.reason_codes,
        lien_rank=inputs.lien.rank or (1 if inputs.lien.first else len(inputs.lien.live_registrations) + 1),
        prior_claims=money(inputs.lien.prior_claims),
    )
    if inputs.usage.telemetry is not None and inputs.usage.telemetry.known:
        message.telemetry_trust = inputs.usage.telemetry.trust
    if request.down_payment is not None:
        message.down_payment.CopyFrom(money(request.down_payment))
    if inputs.market is not None and inputs.market.known:
        message.market_change = inputs.market.change
    if record.accepted_at is not None:
        message.accepted_at.CopyFrom(instant_to_proto(record.accepted_at))
    return message


def quote_response(record: QuoteRecord) -> bytes:
    """An encoded QuoteResponse; AcceptQuoteResponse has the same form."""
    return pricing_service_pb2.QuoteResponse(quote=quote_message(record)).SerializeToString(deterministic=True)


def watch_response(watch: Watch) -> bytes:
    """An encoded WatchLoanResponse."""
    return collateral_watch_service_pb2.WatchLoanResponse(watch=watch_message(watch)).SerializeToString(deterministic=True)


def cap_message(cap: CapAnswer) -> quote_pb2.RateCap:
    """A cap and the headroom below it."""
    return quote_pb2.RateCap(
        rule=cap.rule,
        limit=float(cap.limit),
        headroom=cap.headroom,
        in_force_on=date_to_proto(cap.in_force_on),
        source=cap.source,
        basis=cap.basis,
    )


def cell_message(cell: Cell) -> quote_pb2.MatrixCell:
    """A cell of the risk matrix."""
    return quote_pb2.MatrixCell(
        borrower_grade=cell.grades.borrower,
        collateral_grade=cell.grades.collateral,
        usage_grade=cell.grades.usage,
        max_ltv=float(cell.max_ltv),
        price_add_on_bp=cell.price_add_on_bp,
        tenor_cap_months=cell.tenor_cap_months,
        monitoring_tier=cell.monitoring_tier,
        lend=cell.lend,
    )


def _loss_message(loss: LossFigures, currency: str) -> quote_pb2.LossFigures:
    return quote_pb2.LossFigures(
        percentile_99=money_to_proto(Money(loss.percentile_99, currency)),
        ifrs9_stage=loss.ifrs9_stage,
        ecl_12m=money_to_proto(Money(loss.ecl_12m, currency)),
        ecl_lifetime=money_to_proto(Money(loss.ecl_lifetime, currency)),
        loss_given_default=loss.lgd,
        ltv_above_one_probability=loss.shortfall_probability,
        seed=loss.seed,
        cumulative_default_probability=loss.cumulative_pd,
    )


def _counteroffer_message(offer: Counteroffer, currency: str) -> quote_pb2.Counteroffer:
    return quote_pb2.Counteroffer(
        amount=money_to_proto(Money(offer.amount, currency)),
        term_months=offer.term_months,
        nominal_rate=float(offer.nominal_rate),
        annual_rate_irr=offer.annual_rate_irr,
        payment=money_to_proto(Money(offer.payment, currency)),
        needs_device=offer.needs_device,
        without_fees=offer.without_fees,
        description=offer.description,
    )


def watch_message(watch: Watch) -> watch_pb2.Watch:
    """The whole watch."""

    def money(amount: Decimal) -> MoneyMessage:
        return money_to_proto(Money(amount, watch.currency))

    message = watch_pb2.Watch(
        loan_id=watch.loan_id,
        vin=watch.vin,
        quote_id=watch.quote_id,
        outstanding=money(watch.outstanding),
        value_p50=money(watch.value_p50),
        value_p10=money(watch.value_p10),
        ltv_p50=float(watch.ltv_p50),
        ltv_p10=float(watch.ltv_p10),
        stage=STAGES[watch.stage],
        stage_reasons=watch.reasons,
        appraisal_id=watch.mark.appraisal_id,
        registration_number=watch.registration_number,
        updated_at=instant_to_proto(watch.updated_at),
        driver_loss=money(watch.driver_loss),
        market_loss=money(watch.market_loss),
        monitoring_tier=watch.monitoring_tier,
        open_alerts=[watch_pb2.WatchedAlert(alert_id=alert.alert_id, kinds=alert.kinds, severity=alert.severity) for alert in watch.alerts],
        index_vintage=watch.index_vintage,
    )
    if watch.usage is not None:
        message.usage_risk_score = watch.usage.risk_score
        if watch.usage.trust is not None:
            message.telemetry_trust = watch.usage.trust
    if watch.audit is not None:
        message.next_stock_audit_at.CopyFrom(instant_to_proto(watch.audit.due_at))
    if watch.cure_until is not None:
        message.cure_until.CopyFrom(instant_to_proto(watch.cure_until))
    return message
