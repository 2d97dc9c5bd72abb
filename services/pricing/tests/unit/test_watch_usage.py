"""Alerts, profiles and stock audits: tier and stage, each change told once, no flapping."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pricing_builders import inputs, request

from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.ladder import judge
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.policy import ProductType
from carlien_pricing.domain.schedule import RepaymentMethod
from carlien_pricing.domain.stock import audited, first_audit, scheduled_balances
from carlien_pricing.domain.watch_state import Change, Mark, OpenAlert, Outcome, Stage, UsageMark, Watch
from carlien_pricing.domain.watch_usage import apply_alert, apply_usage

BUNDLE = load_bundle()
RULES = BUNDLE.ladder_on(date(2026, 3, 2))
T0 = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = timedelta(days=1)
TOW = OpenAlert("C-1", ("TOW",), "CRITICAL")
LONG_STOP = OpenAlert("C-2", ("LONG_STOP",), "WARNING")


def watch(cell_tier: int = 1) -> Watch:
    mark = Mark("A-0", Decimal(100_000), Decimal(85_000), T0)
    return Watch(
        "L-1", "V", "Q-1", "CNY", Decimal("0.01"), Decimal(60_000), mark, mark.p50, T0, monitoring_tier=cell_tier, cell_tier=cell_tier
    )


def alerted(state: Watch, alert: OpenAlert, *, is_open: bool = True) -> Outcome:
    return apply_alert(state, alert, is_open=is_open, rules=RULES, now=T0 + DAY)


def used(state: Watch, risk: int, trust: float | None = 1.0, day: int = 1) -> Outcome:
    return apply_usage(state, UsageMark(T0 + day * DAY, risk, trust), RULES, T0 + day * DAY)


class TestAlerts:
    def test_a_grave_one_gives_notice_and_the_tightest_tier_until_it_ends(self) -> None:
        opened = alerted(watch(), TOW)
        assert (opened.change, opened.watch.stage, opened.watch.reasons) == (Change.STAGE_CHANGED, Stage.NOTICE, ("ALERT_TOW",))
        assert opened.watch.monitoring_tier == 3
        ended = alerted(opened.watch, TOW, is_open=False)
        assert (ended.change, ended.watch.stage, ended.watch.monitoring_tier) == (Change.STAGE_CHANGED, Stage.NORMAL, 1)

    @pytest.mark.parametrize("kind", ["DEVICE_REMOVED", "TOW", "SECOND_PAWN"])
    def test_signals_that_were_fused_into_a_case_count(self, kind: str) -> None:
        opened = alerted(watch(), OpenAlert("C", ("CRASH", kind), "INFO"))
        assert opened.watch.reasons == (f"ALERT_{kind}",)
        assert opened.watch.monitoring_tier == 1, "the severity says how tightly, the kind whether"

    def test_another_warning_beside_one_is_kept_and_not_told(self) -> None:
        first = alerted(watch(), LONG_STOP)
        assert (first.change, first.watch.monitoring_tier, first.watch.stage) == (Change.MARKED, 2, Stage.NORMAL)
        second = alerted(first.watch, OpenAlert("C-3", ("POWER_CUT",), "WARNING"))
        assert (second.change, len(second.watch.alerts)) == (None, 2)
        assert alerted(second.watch, LONG_STOP, is_open=False).change is None, "the other still asks for the tier"

    def test_what_asks_for_nothing_is_not_kept(self) -> None:
        state = watch()
        assert alerted(state, OpenAlert("C", ("LONG_STOP",), "INFO")).watch is state
        assert alerted(state, OpenAlert("C", ("77",), "9")).watch is state, "of a later version of telematics"

    def test_twice_changes_nothing(self) -> None:
        once = alerted(watch(), TOW).watch
        assert alerted(once, TOW) == Outcome(once)
        assert alerted(watch(), TOW, is_open=False).change is None

    def test_no_tier_below_the_cells(self) -> None:
        state = alerted(watch(cell_tier=2), LONG_STOP).watch
        assert state.monitoring_tier == 2
        assert alerted(state, LONG_STOP, is_open=False).watch.monitoring_tier == 2

    def test_a_notice_for_an_alert_leaves_the_levels_of_the_value_as_they_are(self) -> None:
        near = replace(watch(), outstanding=Decimal(88_000))  # 0.88: below the notice level of 0.90, within its band
        opened = alerted(near, TOW).watch
        assert opened.reasons == ("ALERT_TOW",)
        assert alerted(opened, TOW, is_open=False).watch.stage is Stage.NORMAL


class TestUsage:
    def test_risk_and_distrust_raise_the_tier(self) -> None:
        assert used(watch(), 10).change is None
        assert used(watch(), 60).watch.monitoring_tier == 2
        assert used(watch(), 80).watch.monitoring_tier == 3
        assert used(watch(), 10, 0.2).watch.monitoring_tier == 3

    def test_a_trust_that_is_not_stated_is_none(self) -> None:
        assert used(watch(), 10, None).watch.monitoring_tier == used(watch(), 10, 0.0).watch.monitoring_tier == 3

    @given(st.lists(st.integers(46, 74), min_size=1, max_size=30))
    def test_noise_inside_the_band_never_flaps(self, scores: list[int]) -> None:
        state = used(watch(), 52).watch
        for day, score in enumerate(scores, 2):
            outcome = used(state, score, day=day)
            assert outcome.change is None
            state = outcome.watch
        assert state.monitoring_tier == 2
        assert used(state, 40, day=99).watch.monitoring_tier == 1

    @given(st.permutations([(1, 20), (2, 80), (3, 55), (4, 30)]))
    def test_any_order_ends_at_the_newest(self, order: list[tuple[int, int]]) -> None:
        state = watch()
        for day, score in order:
            state = used(state, score, day=day).watch
        assert state.usage == UsageMark(T0 + 4 * DAY, 30, 1.0)
        assert state.monitoring_tier == 1
        assert used(state, 99, day=4) == Outcome(state), "the same again, or another computed at the same time"


def stock_watch() -> Watch:
    stock = request(product=ProductType.DEALER_STOCK, method=RepaymentMethod.INTEREST_ONLY, term_months=12)
    schedule = price(inputs(request=stock), BUNDLE).schedule
    return replace(watch(), curtailments=scheduled_balances(schedule), audit=first_audit(7, T0))


class TestStock:
    PRESENT = UsageFacts(known=True, has_device=True, hours_silent=3.0)

    def test_a_car_that_reports_is_there(self) -> None:
        state = stock_watch()
        assert state.check_at == T0 + 7 * DAY
        assert audited(state, self.PRESENT, RULES, T0 + 6 * DAY) == Outcome(state)
        passed = audited(state, self.PRESENT, RULES, T0 + 7 * DAY)
        assert (passed.change, passed.watch.check_at) == (None, T0 + 14 * DAY)

    @pytest.mark.parametrize(
        ("usage", "reason"),
        [
            (UsageFacts(known=True), "STOCK_AUDIT_NO_DEVICE"),
            (UsageFacts(known=True, has_device=True, hours_silent=49.0), "STOCK_AUDIT_DEVICE_SILENT"),
            (UsageFacts(known=True, has_device=True, alarm=True), "STOCK_AUDIT_ALARM"),
        ],
    )
    def test_a_car_that_cannot_be_shown_to_be_there(self, usage: UsageFacts, reason: str) -> None:
        failed = audited(stock_watch(), usage, RULES, T0 + 7 * DAY)
        assert (failed.change, failed.watch.stage, failed.watch.reasons) == (Change.STAGE_CHANGED, Stage.NOTICE, (reason,))
        again = audited(failed.watch, usage, RULES, T0 + 14 * DAY)
        assert again.change is None, "said once"
        assert audited(again.watch, self.PRESENT, RULES, T0 + 21 * DAY).watch.stage is Stage.NORMAL

    def test_no_answer_leaves_it_due_and_then_overdue(self) -> None:
        state, away = stock_watch(), UsageFacts(known=False)
        assert audited(state, away, RULES, T0 + 8 * DAY) == Outcome(state)
        overdue = audited(state, away, RULES, T0 + 14 * DAY)
        assert overdue.watch.reasons == ("STOCK_AUDIT_OVERDUE",)
        assert overdue.watch.check_at == T0 + 7 * DAY, "still due"
        assert audited(overdue.watch, away, RULES, T0 + 15 * DAY).change is None
        assert audited(overdue.watch, self.PRESENT, RULES, T0 + 15 * DAY).watch.stage is Stage.NORMAL

    def test_a_curtailment_that_was_not_paid(self) -> None:
        state = stock_watch()
        due = state.curtailments[0].due
        assert [balance.remaining for balance in state.curtailments] == [54_000, 48_000, 36_000, 0]
        on_the_day = datetime(due.year, due.month, due.day, 23, tzinfo=UTC)
        assert judge(state, RULES, on_the_day).stage is Stage.NORMAL
        missed = audited(state, self.PRESENT, RULES, on_the_day + DAY)
        assert (missed.watch.stage, missed.watch.reasons) == (Stage.NOTICE, ("CURTAILMENT_MISSED",))
        paid = judge(replace(missed.watch, outstanding=Decimal(54_000)), RULES, on_the_day + DAY)
        assert paid.stage is Stage.NORMAL

    def test_a_stock_car_that_leaves_its_place(self) -> None:
        left = OpenAlert("C", ("GEOFENCE_EXIT",), "WARNING")
        assert alerted(stock_watch(), left).watch.reasons == ("ALERT_GEOFENCE_EXIT",)
        assert alerted(watch(), left).watch.stage is Stage.NORMAL, "another borrower drives where he likes"
