"""A dealer's stock as collateral: a buyer in ordinary course takes a car free of the mortgage (Civil Code 404), so the lender must
see that each car is still there, and the loan shrinks on fixed dates, sold or not.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from carlien_pricing.domain.ladder import LadderRules, judge, quiet_outcome
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.schedule import Instalment
from carlien_pricing.domain.watch_state import Outcome, ScheduledBalance, Stage, StockAudit, Watch


class AuditFailure(StrEnum):
    """Why a car's presence could not be shown."""

    NO_DEVICE = "STOCK_AUDIT_NO_DEVICE"
    SILENT = "STOCK_AUDIT_DEVICE_SILENT"
    ALARM = "STOCK_AUDIT_ALARM"
    OVERDUE = "STOCK_AUDIT_OVERDUE"


def scheduled_balances(schedule: tuple[Instalment, ...]) -> tuple[ScheduledBalance, ...]:
    """What may still be owed after each date on which principal falls due."""
    return tuple(ScheduledBalance(row.due, row.remaining) for row in schedule if row.principal > 0)


def first_audit(every_days: int, now: datetime) -> StockAudit:
    """The first audit is due one period after the watch begins."""
    return StockAudit(every_days, now + timedelta(days=every_days))


def finding(usage: UsageFacts, rules: LadderRules) -> AuditFailure | None:
    """What a device's report says of the car's presence; None: it is there. An answer that failed is no finding: ask later."""
    if not usage.has_device:
        return AuditFailure.NO_DEVICE
    if usage.hours_silent > rules.audit_silent_hours:
        return AuditFailure.SILENT
    return AuditFailure.ALARM if usage.alarm else None


def audited(watch: Watch, usage: UsageFacts, rules: LadderRules, now: datetime) -> Outcome:
    """The audit that is due, with telematics' answer. Where it didn't answer, the audit stays due; a period later it is overdue."""
    audit = watch.audit
    if watch.stage is Stage.CLOSED or audit is None or now < audit.due_at:
        return Outcome(watch)
    period = timedelta(days=audit.every_days)
    if not usage.known:
        if now < audit.due_at + period:
            return Outcome(watch)
        done = replace(audit, failure=AuditFailure.OVERDUE)
    else:
        done = StockAudit(audit.every_days, now + period, finding(usage, rules) or "")
    if done == audit:
        return Outcome(watch)
    # Curtailments are judged with it: so a date that passed is noticed within one audit period.
    return quiet_outcome(watch, judge(replace(watch, audit=done, updated_at=now), rules, now))
