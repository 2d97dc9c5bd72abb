from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.domain.watch import (
    apply_appraisal,
    apply_discharge,
    apply_index,
    apply_registration,
    change_outstanding,
    end_cure_period,
    split_fall,
    start,
)
from carlien_pricing.domain.watch_state import Change, IndexLevels, Mark, OpenAlert, Stage, UsageMark, Watch
from carlien_pricing.domain.watch_usage import apply_alert, apply_usage

RULES = load_bundle().ladder_on(date(2026, 3, 2))
T0 = datetime(2026, 3, 2, 8, tzinfo=UTC)


def mark(p50: int, day: int = 0, *, index: float = 100.0, driver: bool = False, p10: int | None = None) -> Mark:
    return Mark(f"A-{day}", Decimal(p50), Decimal(p10 or p50 * 9 // 10), T0 + timedelta(days=day), index, driver)


def watch(outstanding: int = 60_000, p50: int = 100_000) -> Watch:
    base = Watch("L-1", "V", "Q-1", "CNY", Decimal("0.01"), Decimal(outstanding), mark(p50), Decimal(p50), T0)
    return start(base, RULES).watch


def appraised(state: Watch, p50: int, day: int, *, index: float = 100.0, driver: bool = False) -> Watch:
    return apply_appraisal(state, mark(p50, day, index=index, driver=driver), RULES, T0 + timedelta(days=day)).watch


class TestLadder:
    def test_it_climbs_and_comes_down_with_hysteresis(self) -> None:
        state = watch()
        assert state.stage is Stage.NORMAL
        state = appraised(state, 66_000, 1)  # 0.909
        assert state.stage is Stage.NOTICE
        state = appraised(state, 67_500, 2)  # 0.889: below the level, within the band
        assert state.stage is Stage.NOTICE
        state = appraised(state, 59_900, 3)  # 1.0017
        assert state.stage is Stage.MARGIN_CALL
        assert state.cure_until == T0 + timedelta(days=3 + RULES.cure_days)
        state = appraised(state, 61_000, 4)  # 0.984: within the band
        assert state.stage is Stage.MARGIN_CALL
        assert state.cure_until == T0 + timedelta(days=3 + RULES.cure_days), "a later mark must not extend the cure period"
        state = appraised(state, 75_000, 5)
        assert (state.stage, state.cure_until, state.reasons) == (Stage.NORMAL, None, ())

    def test_a_wide_interval_alone_gives_notice(self) -> None:
        state = apply_appraisal(watch(), mark(80_000, 1, p10=50_000), RULES, T0).watch
        assert (state.stage, state.reasons) == (Stage.NOTICE, ("LTV_P10_ABOVE_NOTICE_LEVEL",))

    def test_driver_caused_and_not_cured_is_accelerated(self) -> None:
        state = appraised(watch(), 58_000, 1, driver=True)
        assert state.driver_loss == 42_000
        assert "CIVIL_CODE_408_DRIVER_CAUSED" in state.reasons
        assert state.cure_until is not None
        early = end_cure_period(state, RULES, state.cure_until - timedelta(seconds=1))
        assert early.change is None
        late = end_cure_period(state, RULES, state.cure_until)
        assert (late.watch.stage, late.change) == (Stage.ACCELERATION, Change.STAGE_CHANGED)
        cured = change_outstanding(late.watch, Decimal(40_000), RULES, T0 + timedelta(days=20))
        assert cured.watch.stage is Stage.NORMAL

    def test_the_market_alone_never_accelerates(self) -> None:
        state = appraised(watch(), 58_000, 1, index=58.0)
        assert (state.driver_loss, state.market_loss) == (0, 42_000)
        assert state.cure_until is not None
        late = end_cure_period(state, RULES, state.cure_until)
        assert (late.watch.stage, late.change) == (Stage.MARGIN_CALL, Change.MARKED)
        assert late.watch.reasons[-1] == "NOT_CURED_NO_ACCELERATION"
        assert end_cure_period(late.watch, RULES, state.cure_until).change is None, "said once"

    @given(st.lists(st.integers(62_500, 68_400), min_size=1, max_size=30))
    def test_noise_inside_the_band_never_flaps(self, values: list[int]) -> None:
        # LTV between 0.877 and 0.96 after a notice at 0.909: above the release level 0.87 all the time.
        state = appraised(watch(), 66_000, 1)
        for day, p50 in enumerate(values, 2):
            outcome = apply_appraisal(state, mark(p50, day), RULES, T0 + timedelta(days=day))
            assert outcome.change is Change.MARKED
            state = outcome.watch
        assert state.stage is Stage.NOTICE


class TestEvents:
    def test_twice_or_out_of_order_changes_nothing(self) -> None:
        state = appraised(watch(), 90_000, 5)
        for again in (mark(90_000, 5), mark(10_000, 4), mark(10_000, 0)):
            outcome = apply_appraisal(state, again, RULES, T0)
            assert (outcome.watch, outcome.change) == (state, None)

    @given(st.permutations(list(range(1, 6))))
    def test_any_order_ends_at_the_newest(self, order: list[int]) -> None:
        state = watch()
        for day in order:
            state = appraised(state, 100_000 - 5_000 * day, day)
        assert state.mark.appraisal_id == "A-5"

    def test_index(self) -> None:
        def levels(vintage: str, *points: float) -> IndexLevels:
            return IndexLevels(vintage, tuple((f"2026-{month:02d}", level) for month, level in enumerate(points, 1)))

        # Marked in March: April's level over March's counts, within one vintage.
        outcome = apply_index(watch(), levels("2026-04", 80.0, 90.0, 100.0, 90.0), RULES, T0)
        assert (outcome.watch.value_p50, outcome.change) == (Decimal("90000.00"), None)
        outcome = apply_index(outcome.watch, levels("2026-05", 80.0, 90.0, 50.0, 45.0, 30.0), RULES, T0)
        assert (outcome.watch.ltv_p50, outcome.change) == (1, Change.STAGE_CHANGED)
        assert apply_index(outcome.watch, levels("2026-05", 80.0, 90.0, 50.0, 45.0, 30.0), RULES, T0).watch is outcome.watch
        assert apply_index(outcome.watch, levels("2026-04", 80.0, 90.0, 100.0, 200.0), RULES, T0).watch is outcome.watch
        # A new appraisal stands on its own month.
        june = Mark("A-6", Decimal(70_000), Decimal(60_000), datetime(2026, 6, 3, tzinfo=UTC))
        marked = apply_appraisal(outcome.watch, june, RULES, T0, levels("2026-05", 80.0, 90.0, 50.0, 45.0, 30.0)).watch
        assert marked.value_p50 == 70_000

    def test_own_lien_is_kept_and_its_discharge_closes(self) -> None:
        state = apply_registration(watch(), "R-1", own=True, ahead=False, rules=RULES, now=T0).watch
        assert state.registration_number == "R-1"
        assert apply_registration(state, "R-1", own=True, ahead=False, rules=RULES, now=T0).change is None
        assert apply_discharge(state, "R-9", RULES, T0).change is None
        closed = apply_discharge(state, "R-1", RULES, T0)
        assert (closed.watch.stage, closed.change) == (Stage.CLOSED, Change.CLOSED)
        for outcome in (
            apply_discharge(closed.watch, "R-1", RULES, T0),
            apply_appraisal(closed.watch, mark(1, 9), RULES, T0),
            apply_index(closed.watch, IndexLevels("v", (("2026-01", 1.0),)), RULES, T0),
            change_outstanding(closed.watch, Decimal(1), RULES, T0),
            apply_alert(closed.watch, OpenAlert("C", ("TOW",), "CRITICAL"), is_open=True, rules=RULES, now=T0),
            apply_usage(closed.watch, UsageMark(T0, 99, 0.0), RULES, T0),
        ):
            assert (outcome.watch, outcome.change) == (closed.watch, None)

    def test_a_lien_that_ranks_ahead_gives_notice_until_it_goes(self) -> None:
        state = apply_registration(watch(), "R-2", own=False, ahead=True, rules=RULES, now=T0).watch
        assert (state.stage, state.reasons) == (Stage.NOTICE, ("LIEN_AHEAD",))
        assert apply_registration(state, "R-2", own=False, ahead=True, rules=RULES, now=T0).change is None
        assert apply_discharge(state, "R-2", RULES, T0).watch.stage is Stage.NORMAL
        assert apply_registration(watch(), "R-3", own=False, ahead=False, rules=RULES, now=T0).change is None


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (mark(80_000, 1, index=90.0), (10_000, 0)),
        (mark(80_000, 1, index=90.0, driver=True), (10_000, 10_000)),
        (mark(95_000, 1, index=90.0, driver=True), (10_000, 0)),
        (mark(105_000, 1, index=110.0), (-10_000, 0)),
        (mark(80_000, 1, index=0.0, driver=True), (0, 20_000)),
    ],
)
def test_split(new: Mark, expected: tuple[int, int]) -> None:
    assert split_fall(mark(100_000), new) == expected


def test_a_worthless_car_secures_nothing() -> None:
    state = apply_appraisal(watch(), Mark("A-9", Decimal(0), Decimal(0), T0 + timedelta(days=9)), RULES, T0).watch
    assert state.stage is Stage.MARGIN_CALL
