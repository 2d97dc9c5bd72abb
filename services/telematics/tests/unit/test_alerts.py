"""Each alert by hand-made records: what raises it, what doesn't though it looks alike, and how it ends."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from carlien_telematics.domain.alerts.cases import FUSE, Case, CaseBook
from carlien_telematics.domain.alerts.power import LAST_GASP, SILENT, Presence
from carlien_telematics.domain.alerts.replay import advance, reconcile
from carlien_telematics.domain.alerts.signals import FALSE_ALARM_BUDGET, GRAVITY, AlertKind, Evidence, Severity, Signal, severity
from carlien_telematics.domain.alerts.watch import NOWHERE, Watch
from carlien_telematics.domain.geofences import Circle, Geofence, GeofenceIndex, GeofenceKind, Polygon, area_km2
from carlien_telematics.domain.trips import Sample

START = datetime(2026, 3, 2, 1, tzinfo=UTC)
KM = 1 / 111.32
HOME = (31.2, 121.4)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def parked(minutes: Iterable[float], north_km: float = 0.0, odometer_km: float | None = 1000.0, **more: object) -> list[Sample]:
    made = [Sample(at(m), HOME[0] + north_km * KM, HOME[1], 0.0, odometer_km, False, "D", True) for m in minutes]
    return [replace(sample, **more) for sample in made]  # type: ignore[arg-type]


def driving(
    start: float, minutes: float, kmh: float = 60.0, from_km: float = 0.0, odometer_km: float = 1000.0, step: float = 0.5
) -> list[Sample]:
    """North from home."""
    made = []
    for n in range(int(minutes / step) + 1):
        gone = from_km + kmh * n * step / 60
        made.append(Sample(at(start + n * step), HOME[0] + gone * KM, HOME[1], kmh, odometer_km + gone - from_km, True, "D", True))
    return made


def back(way: list[Sample], after: float = 0.5) -> list[Sample]:
    """The same way back, beginning `after` minutes after it ended."""
    end = way[-1]
    return [
        replace(
            there,
            at=end.at + timedelta(minutes=after) + (end.at - there.at),
            odometer_km=2 * (end.odometer_km or 0.0) - (there.odometer_km or 0.0),
        )
        for there in reversed(way)
    ]


def cases(samples: Sequence[Sample], fences: GeofenceIndex = NOWHERE, watch: Watch | None = None) -> list[Case]:
    return list(advance(watch or Watch("V"), None, samples, fences).cases.values())


def kinds(samples: Sequence[Sample], fences: GeofenceIndex = NOWHERE) -> set[AlertKind]:
    return {kind for case in cases(samples, fences) for kind in case.signals}


def evidence(case: Case) -> dict[str, float]:
    return {item.name: item.value for item in case.evidence}


def test_every_kind_has_a_gravity_and_a_budget() -> None:
    assert set(GRAVITY) == set(FALSE_ALARM_BUDGET) == set(AlertKind)
    assert severity(AlertKind.TOW) is Severity.CRITICAL
    assert severity(AlertKind.GEOFENCE_ENTER) is Severity.INFO


def test_a_parked_car_that_moves_without_its_odometer_is_towed_until_it_stands_again() -> None:
    towed = [sample for n in range(20) for sample in parked([30 + n], north_km=0.5 * n)]
    (case,) = cases(parked(range(30)) + towed + parked(range(50, 200), north_km=9.5))
    assert case.signals == [AlertKind.TOW]
    assert evidence(case)["IGNITION_OFF_DISTANCE"] == pytest.approx(9.5, abs=0.1)
    assert at(29) <= case.started_at <= at(35)
    assert case.closed_at is not None
    assert at(75) < case.closed_at < at(100)


def test_a_tow_between_two_reports_an_hour_apart_is_seen() -> None:
    assert kinds(parked(range(0, 600, 60)) + parked(range(600, 1200, 60), north_km=4)) == {AlertKind.TOW}


def test_a_car_towed_out_of_a_garage_was_left_where_its_drive_ended() -> None:
    home = [replace(sample, latitude=None, longitude=None, fix=False) for sample in parked(range(31, 90), odometer_km=1020.0)]
    away = parked(range(90, 120), north_km=40, odometer_km=1020.0)
    assert AlertKind.TOW in kinds(driving(0, 20) + home + away)


@pytest.mark.parametrize("odometer_km", [1004.0, None])
def test_a_drive_that_nobody_saw_is_no_tow(odometer_km: float | None) -> None:
    before = parked(range(0, 60, 10), odometer_km=None if odometer_km is None else 1000.0)
    assert kinds(before + parked(range(300, 400, 10), north_km=4, odometer_km=odometer_km)) == set()


@pytest.mark.parametrize("metres", [4, 30, 150, 400])
@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_receiver_is_no_tow_also_where_the_noise_begins_later(metres: float, seed: int) -> None:
    chance = random.Random(seed)
    noise = metres / 1000 * KM
    samples = parked(range(0, 300, 10)) + [
        replace(sample, latitude=HOME[0] + chance.gauss(0, noise), longitude=HOME[1] + chance.gauss(0, noise))
        for sample in parked(range(300, 3000, 10))
    ]
    assert AlertKind.TOW not in kinds(samples)


def without_sky(samples: list[Sample]) -> list[Sample]:
    return [replace(sample, latitude=None, longitude=None, fix=False) for sample in samples]


def test_a_tunnel_is_straight_and_short_and_no_jamming() -> None:
    way = driving(0, 20)
    assert kinds(way[:20] + without_sky(way[20:28]) + way[28:]) == set()


def test_streets_turn_and_stop_and_so_lost_fixes_there_are_jamming() -> None:
    way = driving(0, 20)
    home = back(way)
    (case,) = cases(way[:20] + without_sky(way[20:] + home[:10]) + home[10:])
    assert case.signals == [AlertKind.JAMMING]
    assert evidence(case)["DRIVEN_WITHOUT_FIX"] == pytest.approx(15, abs=1)


def test_no_tunnel_is_as_long_as_that() -> None:
    way = driving(0, 60)
    (case,) = cases(way[:4] + without_sky(way[4:]))
    assert (case.kind, case.open) == (AlertKind.JAMMING, True)


def test_a_garage_is_driven_into_and_a_jammer_comes_to_a_parked_car() -> None:
    arriving = driving(0, 10)
    inside = without_sky(parked(range(11, 900, 5), north_km=10, odometer_km=1010.0))
    assert kinds([*arriving[:-1], *without_sky(arriving[-1:]), *inside]) == set()
    outside = parked(range(11, 60, 5), north_km=10, odometer_km=1010.0)
    assert kinds(arriving + outside + without_sky(parked(range(60, 200, 5), north_km=10, odometer_km=1010.0))) == {AlertKind.JAMMING}


def with_odometer(samples: list[Sample], readings: Iterable[float]) -> list[Sample]:
    return [replace(sample, odometer_km=reading) for sample, reading in zip(samples, readings, strict=True)]


def test_an_odometer_that_falls_for_good_is_rolled_back_and_a_glitch_is_not() -> None:
    (case,) = cases(with_odometer(parked(range(20)), [5000.0] * 10 + [4700.0] * 10))
    assert (case.kind, case.open) == (AlertKind.ODOMETER_ROLLBACK, True)
    assert evidence(case)["ODOMETER_FELL"] == 300
    assert kinds(with_odometer(parked(range(20)), [5000.0] * 8 + [0.0, 999_999.0, 999_999.0] + [5000.0] * 9)) == set()
    assert kinds(with_odometer(parked(range(20)), [5000.0] * 10 + [4999.0] * 10)) == set()
    assert kinds(with_odometer(parked(range(20)), [999_999.0] + [5000.0] * 19)) == set(), "the very first reading is wrong"


def test_an_odometer_that_comes_back_was_not_rolled_back() -> None:
    (case,) = cases(with_odometer(parked(range(30)), [5000.0] * 10 + [4700.0] * 10 + [5000.0] * 10))
    assert not case.open


def test_devices_of_one_car_count_for_themselves() -> None:
    other = [replace(sample, device_id="E", odometer_km=12.0) for sample in parked(range(20))]
    mixed = [sample for pair in zip(parked(range(20)), other, strict=True) for sample in pair]
    assert kinds(mixed) == set()


def test_an_odometer_that_counts_a_third_is_held_back() -> None:
    way = driving(0, 180)
    held = with_odometer(way, [1000 + (sample.odometer_km or 0.0) / 3 - 1000 / 3 for sample in way])
    (case,) = cases(held)
    assert case.kind is AlertKind.ODOMETER_ROLLBACK
    assert evidence(case)["ODOMETER_SHARE_OF_DISTANCE"] == pytest.approx(1 / 3, abs=0.02)


def test_power_antenna_and_silence_are_one_case_of_a_removed_device() -> None:
    watch = Watch("V")
    cut = [replace(sample, car_data=False, speed_kmh=None, odometer_km=None, ignition=None) for sample in parked(range(10, 15))]
    found = advance(watch, None, parked(range(10)) + cut).cases
    assert [case.kind for case in found.values()] == [AlertKind.POWER_CUT]
    assert watch.silent(at(40), {"D": Presence.AWAY}) == []
    assert watch.silent(at(14) + LAST_GASP, {"D": Presence.CONNECTED}) == []
    (case,) = watch.silent(at(14) + LAST_GASP, {"D": Presence.AWAY})
    assert (case.case_id, case.kind) == (next(iter(found)), AlertKind.DEVICE_REMOVED)
    assert case.signals == [AlertKind.POWER_CUT, AlertKind.DEVICE_REMOVED]
    assert watch.silent(at(14) + 2 * LAST_GASP, {"D": Presence.AWAY}) == []
    (back,) = watch.observe(parked([500])[0])
    assert not back.open


def test_one_last_word_is_enough_for_a_removal() -> None:
    watch = Watch("V")
    advance(watch, None, parked(range(10)) + parked([10], alarms=("POWER_CUT",)))
    (case,) = watch.silent(at(10) + LAST_GASP, {"D": Presence.AWAY})
    assert case.kind is AlertKind.DEVICE_REMOVED


def test_a_workshop_that_disconnects_the_battery_is_a_power_cut() -> None:
    (case,) = cases(parked(range(10)) + parked(range(10, 40), alarms=("POWER_CUT",)) + parked(range(40, 50)))
    assert (case.signals, case.open) == ([AlertKind.POWER_CUT], False)
    assert kinds(parked(range(10)) + parked([10], alarms=("POWER_CUT",)) + parked(range(11, 20))) == set()


def test_silence_without_a_word_before_it_is_offline_and_after_three_days_a_removal() -> None:
    watch = Watch("V")
    advance(watch, None, parked(range(10)))
    assert watch.silent(at(60), {"D": Presence.AWAY}) == []
    (offline,) = watch.silent(at(25 * 60), {"D": Presence.AWAY})
    assert offline.kind is AlertKind.OFFLINE
    (removed,) = watch.silent(at(10) + SILENT, {"D": Presence.AWAY})
    assert (removed.case_id, removed.kind) == (offline.case_id, AlertKind.DEVICE_REMOVED)


def test_a_car_that_drove_out_of_the_network_is_offline_and_never_removed() -> None:
    watch = Watch("V")
    advance(watch, None, driving(0, 10))
    (offline,) = watch.silent(at(10) + 9 * SILENT, {"D": Presence.AWAY})
    assert offline.signals == [AlertKind.OFFLINE]


def test_a_device_that_said_goodbye_or_was_retired_may_be_silent() -> None:
    watch = Watch("V")
    advance(watch, None, parked(range(10)))
    assert watch.silent(at(10) + SILENT, {"D": Presence.ASLEEP}) == []
    assert watch.silent(at(10) + 9 * SILENT, {}) == []


def test_an_antenna_alarm_that_stays_is_a_cut_antenna_and_no_jamming() -> None:
    cut = without_sky(parked(range(30, 120), alarms=("GPS_ANTENNA_CUT",)))
    (case,) = cases(parked(range(30)) + cut + parked(range(120, 130)))
    assert (case.signals, case.open) == ([AlertKind.ANTENNA_CUT], False)


def test_two_devices_of_a_car_that_go_apart_are_separated() -> None:
    wireless = [replace(sample, device_id="W") for sample in parked(range(0, 120, 10))]
    mixed = sorted(driving(0, 20) + wireless, key=lambda sample: sample.at)
    assert AlertKind.WIRED_WIRELESS_SEPARATION in kinds(mixed + [replace(s, at=s.at + timedelta(minutes=130)) for s in mixed])
    together = [replace(sample, device_id="W", at=sample.at + timedelta(seconds=5)) for sample in driving(0, 20)]
    assert kinds(sorted(driving(0, 20) + together, key=lambda sample: sample.at)) == set()


def test_a_crash_is_an_impact_after_which_the_car_stands() -> None:
    way = driving(0, 5)
    hit = replace(way[-1], alarms=("COLLISION",), at=way[-1].at + timedelta(seconds=5))
    stands = parked(range(6, 20), north_km=5, odometer_km=1005.0)
    (case,) = cases([*way, hit, *stands])
    assert (case.kind, evidence(case)["SPEED_BEFORE"]) == (AlertKind.CRASH, 60)
    assert kinds([*way, hit, *driving(6, 10, from_km=5, odometer_km=1005.0)]) == set()


def test_speed_that_is_gone_within_a_second_is_a_crash_and_braking_is_not() -> None:
    way = driving(0, 5)
    stands = [replace(sample, ignition=True) for sample in parked(range(6, 20), north_km=5, odometer_km=1005.0)]
    sudden = replace(way[-1], speed_kmh=0.0, at=way[-1].at + timedelta(seconds=1))
    braked = replace(sudden, at=way[-1].at + timedelta(seconds=8))
    assert kinds([*way, sudden, *stands]) == {AlertKind.CRASH}
    assert kinds([*way, braked, *stands]) == set()


def test_a_week_in_one_place_is_a_long_stop() -> None:
    week = parked(range(0, 8 * 1440, 60))
    (case,) = cases(week + driving(8 * 1440, 10))
    assert (case.kind, case.open) == (AlertKind.LONG_STOP, False)
    assert kinds(parked(range(0, 6 * 1440, 60))) == set()


def fence(kind: GeofenceKind, north_km: float, radius_m: float = 300, dwell: timedelta | None = None, name: str = "F") -> Geofence:
    return Geofence(name, "", kind, name, Circle(HOME[0] + north_km * KM, HOME[1], radius_m), dwell, START)


def visit(start: float, minutes: int) -> list[Sample]:
    there = driving(start, 10)
    stay = parked([start + 10 + n for n in range(1, minutes)], north_km=10, odometer_km=1010.0)
    return there + stay + back(there, minutes)


def test_a_visit_is_one_case_from_entering_to_leaving() -> None:
    index = GeofenceIndex([fence(GeofenceKind.WATCHED, 10, dwell=timedelta(hours=1))])
    (short,) = cases(visit(0, 30), index)
    assert (short.signals, short.open) == ([AlertKind.GEOFENCE_ENTER, AlertKind.GEOFENCE_EXIT], False)
    (long,) = cases(visit(0, 90), index)
    assert (long.kind, long.geofence_id) == (AlertKind.GEOFENCE_DWELL, "F")
    assert kinds(driving(0, 20), index) == set(), "driving past is no visit"
    assert kinds(visit(0, 30), GeofenceIndex([fence(GeofenceKind.WATCHED, 30)])) == set()


def test_a_second_pawn_place_is_told_by_staying_or_by_coming_again() -> None:
    index = GeofenceIndex([fence(GeofenceKind.SECOND_PAWN, 10)])
    assert AlertKind.SECOND_PAWN not in kinds(visit(0, 60), index)
    assert AlertKind.SECOND_PAWN in kinds(visit(0, 300), index)
    again = visit(0, 60)
    again += [replace(s, at=s.at + timedelta(days=2), odometer_km=(s.odometer_km or 0) + 20) for s in again]
    (case,) = (case for case in cases(again, index) if AlertKind.SECOND_PAWN in case.signals)
    assert evidence(case)["VISITS_30_DAYS"] == 2
    assert case.severity is Severity.CRITICAL


def test_leaving_the_province_ends_with_coming_back() -> None:
    square = Polygon(tuple((HOME[0] + n * KM, HOME[1] + e * KM) for n, e in ((-50, -50), (-50, 50), (15, 50), (15, -50))))
    index = GeofenceIndex([Geofence("P", "V", GeofenceKind.PROVINCE, "P", square, None, START)])
    out = driving(0, 40)
    (case,) = cases(out + back(out), index)
    assert (case.kind, case.open) == (AlertKind.PROVINCE_LEFT, False)
    assert kinds(driving(0, 14), index) == set()
    assert area_km2(square) == pytest.approx(6500, rel=0.2)


def test_a_place_that_is_deleted_ends_its_case() -> None:
    watch = Watch("V")
    advance(watch, None, visit(0, 30)[:40], GeofenceIndex([fence(GeofenceKind.WATCHED, 10)]))
    assert watch.book.current["GEOFENCE/F"].open
    result = advance(watch, at(40), [])
    assert [case.open for case in result.cases.values()] == [False]
    assert not watch.places.known


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-80, 80), st.floats(-170, 170), st.floats(50, 90_000)), max_size=30),
    st.floats(-80, 80),
    st.floats(-170, 170),
)
def test_the_index_finds_every_place_that_contains_a_point(
    places: list[tuple[float, float, float]], latitude: float, longitude: float
) -> None:
    made = [Geofence(str(n), "", GeofenceKind.WATCHED, "", Circle(*spot), None, START) for n, spot in enumerate(places)]
    near = {found.geofence_id for found in GeofenceIndex(made).around(latitude, longitude, ())}
    assert {one.geofence_id for one in made if one.contains(latitude, longitude, leaving=False)} <= near


def signal(kind: AlertKind, minutes: float, *, ended: bool = False) -> Signal:
    return Signal(kind, at(minutes), at(minutes), (Evidence("E", minutes, "min", at(minutes)),), ended)


def test_signals_of_an_incident_are_fused_and_the_same_again_later_is_another() -> None:
    book = CaseBook()
    (first,) = book.take("V", [signal(AlertKind.POWER_CUT, 0), signal(AlertKind.TOW, 10), signal(AlertKind.POWER_CUT, 20, ended=True)])
    assert (first.kind, first.signals, first.open) == (AlertKind.TOW, [AlertKind.POWER_CUT, AlertKind.TOW], True)
    book.take("V", [signal(AlertKind.TOW, 30, ended=True)])
    assert not first.open
    (same,) = book.take("V", [signal(AlertKind.JAMMING, 30 + FUSE.total_seconds() / 60)])
    assert same is first
    assert same.open
    book.take("V", [signal(AlertKind.JAMMING, 400, ended=True)])
    (other,) = book.take("V", [signal(AlertKind.TOW, 2000)])
    assert other.case_id != first.case_id


def test_evidence_is_bounded_and_names_no_place() -> None:
    book = CaseBook()
    for n in range(100):
        measure = Evidence(f"E{n}", 1.0, "1", at(n))
        book.take("V", [replace(signal(AlertKind.TOW, n), evidence=(measure,))])
    assert len(book.current["CUSTODY"].evidence) <= 24


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 250))
def test_a_watch_that_was_stored_between_two_records_finds_the_same(seed: int, cut: int) -> None:
    """What is remembered is plain data: nothing that matters lives beside it."""
    chance = random.Random(seed)
    samples = parked(range(60)) + [s for n in range(20) for s in parked([60 + n], north_km=0.4 * n)] + driving(120, 60, from_km=8)
    samples += without_sky(driving(185, 40, from_km=68, odometer_km=900.0)) + parked(range(230, 290), alarms=("POWER_CUT",))
    samples = [sample for sample in samples if chance.random() < 0.9]
    index = GeofenceIndex([fence(GeofenceKind.SECOND_PAWN, 8)])
    whole = Watch("V")
    expected = advance(whole, None, samples, index)
    adapter = TypeAdapter(Watch)
    first = advance(Watch("V"), None, samples[:cut], index)
    again = adapter.validate_json(adapter.dump_json(first.watch))
    second = advance(again, first.head_time, samples[cut:], index)
    assert first.cases | second.cases == expected.cases
    assert again == whole


def test_late_records_withdraw_what_they_explain_and_keep_what_they_don_t() -> None:
    before, after = parked(range(0, 60, 10)), parked(range(600, 900, 10), north_km=12, odometer_km=None)
    late = driving(100, 12) + parked(range(120, 600, 10), north_km=12, odometer_km=1012.0)
    live = Watch("V")
    found = advance(live, None, before + [replace(sample, odometer_km=1000.0) for sample in after]).cases
    (tow,) = found.values()
    assert tow.kind is AlertKind.TOW
    replayed = advance(Watch("V"), None, before + late + [replace(sample, odometer_km=1012.0) for sample in after])
    reconcile(replayed, [tow], at(1000))
    (withdrawn,) = replayed.cases.values()
    assert (withdrawn.case_id, withdrawn.open) == (tow.case_id, False)
    assert "WITHDRAWN_BY_LATE_RECORDS" in evidence(withdrawn)

    same = advance(Watch("V"), None, before[:-1] + [replace(sample, odometer_km=1000.0) for sample in after])
    reconcile(same, [tow], at(1000))
    assert list(same.cases) == [tow.case_id]


def test_checkpoints_are_the_watch_at_the_end_of_each_hour() -> None:
    samples = parked(range(0, 300, 20))
    result = advance(Watch("V"), None, samples)
    assert [when for when, _ in result.checkpoints] == [at(40), at(100), at(160), at(220)]
    when, state = result.checkpoints[1]
    again = advance(state, when, [sample for sample in samples if sample.at > when])
    assert again.watch == result.watch
