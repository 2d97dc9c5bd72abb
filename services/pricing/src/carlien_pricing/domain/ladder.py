"""The margin-call ladder: rules as dated data, and the stage that follows from what a watch knows, with hysteresis."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from carlien_pricing.domain.policy import Rule
from carlien_pricing.domain.watch_state import Change, Outcome, Stage, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRules(Rule):
    """Levels and periods of the margin-call ladder, and what telematics' alerts and profiles lead to."""

    notice_ltv_p50: Decimal
    notice_ltv_p10: Decimal
    call_ltv_p50: Decimal
    release_band: Decimal
    cure_days: int
    accelerate_market_only: bool
    driver_loss_matters_from: Decimal
    grave_alerts: tuple[str, ...] = ()
    """Kinds of alert that give notice while they are open: the collateral may be going."""
    stock_alerts: tuple[str, ...] = ()
    """The same for a dealer's stock, which has no reason to leave its place."""
    alert_tiers: dict[str, int] = field(default_factory=dict)
    """Monitoring tier while an alert of this severity is open."""
    risk_score_tiers: tuple[tuple[int, int], ...] = ()
    """(score, tier): a usage risk from this score on asks for this tier."""
    trust_tiers: tuple[tuple[float, int], ...] = ()
    """(trust, tier): telemetry trusted less than this asks for this tier."""
    risk_score_band: int = 0
    trust_band: float = 0.0
    """A tier that a profile asked for is left only when score or trust have come back by this much beyond the bound."""
    audit_silent_hours: float = 48.0
    """A stock audit needs a report of the car's device not older than this."""


def check_ladders(rows: Sequence[LadderRules]) -> None:
    """ValueError for levels that make no ladder."""
    for row in rows:
        if not 0 <= row.release_band < row.call_ltv_p50 - row.notice_ltv_p50:
            raise ValueError(f"{row.id}: the release band must be smaller than the distance of the levels")
        if row.cure_days < 1:
            raise ValueError(f"{row.id}: a cure period needs at least a day")
        tiers = [*row.alert_tiers.values(), *(tier for _, tier in row.risk_score_tiers), *(tier for _, tier in row.trust_tiers)]
        if not all(1 <= tier <= 3 for tier in tiers):
            raise ValueError(f"{row.id}: monitoring tiers are 1 to 3")
        if row.risk_score_band < 0 or row.trust_band < 0 or row.audit_silent_hours <= 0:
            raise ValueError(f"{row.id}: bands must not be negative, and an audit needs some time")


def outcome(before: Watch, after: Watch) -> Outcome:
    """What there is to tell of a change that matters."""
    return Outcome(after, Change.STAGE_CHANGED if after.stage is not before.stage else Change.MARKED)


def quiet_outcome(before: Watch, after: Watch) -> Outcome:
    """The same where only a change of stage, of its reasons or of the tier matters: anything else is kept untold."""
    seen_before = (before.stage, before.reasons, before.monitoring_tier)
    return outcome(before, after) if (after.stage, after.reasons, after.monitoring_tier) != seen_before else Outcome(after)


def judge(watch: Watch, rules: LadderRules, now: datetime) -> Watch:
    """The stage that follows from the values and from what is known of the car, with hysteresis against the stage it is in."""
    reasons = []
    called = watch.stage in (Stage.MARGIN_CALL, Stage.ACCELERATION)
    noticed = called or watch.stage is Stage.NOTICE
    band = rules.release_band
    if watch.ltv_p50 >= rules.call_ltv_p50 - (band if called else 0):
        stage = Stage.MARGIN_CALL
        reasons.append("LTV_P50_ABOVE_CALL_LEVEL")
    else:
        stage = Stage.NORMAL
        # A notice for another reason than the LTV doesn't widen the LTV's own levels.
        by_ltv = noticed and (called or any(reason.startswith("LTV_") for reason in watch.reasons))
        if watch.ltv_p50 >= rules.notice_ltv_p50 - (band if by_ltv else 0):
            stage = Stage.NOTICE
            reasons.append("LTV_P50_ABOVE_NOTICE_LEVEL")
        if watch.ltv_p10 >= rules.notice_ltv_p10 - (band if by_ltv else 0):
            stage = Stage.NOTICE
            reasons.append("LTV_P10_ABOVE_NOTICE_LEVEL")
    if other := _without_values(watch, rules, now):
        stage = Stage.NOTICE if stage is Stage.NORMAL else stage
        reasons.extend(other)

    cure_until = None
    if stage is Stage.MARGIN_CALL:
        by_driver = watch.driver_loss >= rules.driver_loss_matters_from * watch.start_p50 and watch.driver_loss > 0
        reasons.append("CIVIL_CODE_408_DRIVER_CAUSED" if by_driver else "NOT_DRIVER_CAUSED")
        cure_until = watch.cure_until or now + timedelta(days=rules.cure_days)
        expired = now >= cure_until
        if watch.stage is Stage.ACCELERATION or (expired and (by_driver or rules.accelerate_market_only)):
            stage, cure_until = Stage.ACCELERATION, watch.cure_until
            reasons.append("NOT_CURED")
        elif expired:
            reasons.append("NOT_CURED_NO_ACCELERATION")
    return replace(watch, stage=stage, reasons=tuple(reasons), cure_until=cure_until)


def _without_values(watch: Watch, rules: LadderRules, now: datetime) -> list[str]:
    """Reasons for a notice that don't lie in the car's value."""
    reasons = ["LIEN_AHEAD"] if watch.liens_ahead else []
    grave = {*rules.grave_alerts, *(rules.stock_alerts if watch.audit else ())}
    open_kinds = {kind for alert in watch.alerts for kind in alert.kinds}
    reasons.extend(f"ALERT_{kind}" for kind in sorted(open_kinds & grave))
    passed = [balance.remaining for balance in watch.curtailments if balance.due < now.date()]
    if passed and watch.outstanding > passed[-1]:
        reasons.append("CURTAILMENT_MISSED")
    if watch.audit and watch.audit.failure:
        reasons.append(watch.audit.failure)
    return reasons
