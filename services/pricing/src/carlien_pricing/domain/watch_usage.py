"""What telematics' alerts and profiles do to a watch: the monitoring tier, and a notice where an alert is grave.

Events come at least once and in any order; whether one is newer than what is held is told by its revision (alerts) or by when it
was computed (profiles) and decided by who holds them. Here the same event twice changes nothing.
"""

from dataclasses import replace
from datetime import datetime

from carlien_pricing.domain.ladder import LadderRules, judge, quiet_outcome
from carlien_pricing.domain.watch_state import OpenAlert, Outcome, Stage, UsageMark, Watch


def apply_alert(watch: Watch, alert: OpenAlert, *, is_open: bool, rules: LadderRules, now: datetime) -> Outcome:
    """An alert case as it stands after its newest change. One that asks for nothing is not kept."""
    if watch.stage is Stage.CLOSED:
        return Outcome(watch)
    others = tuple(held for held in watch.alerts if held.alert_id != alert.alert_id)
    matters = is_open and (alert.severity in rules.alert_tiers or {*alert.kinds} & {*rules.grave_alerts, *rules.stock_alerts})
    alerts = tuple(sorted((*others, alert), key=lambda held: held.alert_id)) if matters else others
    if alerts == watch.alerts:
        return Outcome(watch)
    return _judged(watch, replace(watch, alerts=alerts), rules, now)


def apply_usage(watch: Watch, usage: UsageMark, rules: LadderRules, now: datetime) -> Outcome:
    """The car's profile. One not newer than the held one changes nothing."""
    if watch.stage is Stage.CLOSED or (watch.usage and usage.computed_at <= watch.usage.computed_at):
        return Outcome(watch)
    marked = replace(watch, usage=usage, usage_tier=_usage_tier(usage, watch.usage_tier, rules))
    return _judged(watch, marked, rules, now)


def _judged(before: Watch, after: Watch, rules: LadderRules, now: datetime) -> Outcome:
    cell_tier = before.cell_tier or before.monitoring_tier
    tier = max([cell_tier, after.usage_tier, *(rules.alert_tiers.get(alert.severity, 1) for alert in after.alerts)])
    return quiet_outcome(before, judge(replace(after, cell_tier=cell_tier, monitoring_tier=tier, updated_at=now), rules, now))


def _usage_tier(usage: UsageMark, held: int, rules: LadderRules) -> int:
    """The tier the profile asks for; one that is held is kept while score or trust are within the band of its bound."""

    def asked(band_score: int, band_trust: float) -> int:
        by_score = [tier for score, tier in rules.risk_score_tiers if usage.risk_score >= score - band_score]
        # A trust that isn't stated is no trust: what isn't known is watched as the worst that may be.
        trust = 0.0 if usage.trust is None else usage.trust
        by_trust = [tier for bound, tier in rules.trust_tiers if trust < bound + band_trust]
        return max([1, *by_score, *by_trust])

    return max(asked(0, 0.0), min(held, asked(rules.risk_score_band, rules.trust_band)))
