"""Verified odometer, trust, battery health, and what of a profile is news."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carlien_telematics.domain.alerts.signals import AlertKind
from carlien_telematics.domain.battery import ChargeSegment, battery_health, charge_segments, covered
from carlien_telematics.domain.behaviour import Circumstances, UsageNature, is_undisclosed, profile
from carlien_telematics.domain.geofences import Circle, Geofence, GeofenceKind
from carlien_telematics.domain.odometer import OdometerSource, verified_odometer
from carlien_telematics.domain.trips import Sample
from carlien_telematics.domain.trust import physics_share, trust
from carlien_telematics.service.profiling import Told, news, told, use_signals
from carlien_telematics.simulator.scenario import parse_scenario
from carlien_telematics.simulator.validation import Cadence, moments, sample_of

START = datetime(2026, 3, 2, 1, tzinfo=UTC)
KM = 1 / 111.32


def driving(minutes: int, kmh: float = 60.0, odometer_km: float = 1000.0, source: str = "GB32960_2016") -> list[Sample]:
    """North, with a battery that gives 15 kWh for 100 km."""
    made = []
    for minute in range(minutes + 1):
        gone = kmh * minute / 60
        amperes = 15 * kmh / 100 * 1000 / 350
        place = (31.2 + gone * KM, 121.4)
        made.append(
            Sample(
                START + timedelta(minutes=minute),
                *place,
                kmh,
                odometer_km + gone,
                True,
                "D",
                True,
                current_a=amperes,
                voltage_v=350.0,
                source=source,
            )
        )
    return made


def with_odometer(samples: list[Sample], change: "dict[int, float]") -> list[Sample]:
    """From index on the odometer shows so much less."""
    made = []
    less = 0.0
    for number, sample in enumerate(samples):
        less = change.get(number, less)
        made.append(replace(sample, odometer_km=(sample.odometer_km or 0.0) - less))
    return made


def test_an_honest_odometer_is_what_it_shows() -> None:
    found = verified_odometer(driving(120))
    assert found is not None
    assert (found.odometer_km, found.source, found.consistent, found.reasons) == (1120.0, OdometerSource.DASH, True, ())
    assert found.error_km == pytest.approx(1)


def test_what_was_taken_off_is_added_again_and_said() -> None:
    found = verified_odometer(with_odometer(driving(120, odometer_km=50_000), {60: 20_000}))
    assert found is not None
    assert found.odometer_km == pytest.approx(50_120, abs=5)  # what was driven until it was sure is lost
    assert found.error_km > 100
    assert (found.consistent, found.reasons) == (False, ("DASH_ROLLED_BACK",))


def test_an_odometer_that_counts_too_little_is_replaced_by_positions() -> None:
    samples = driving(240)
    held = [replace(sample, odometer_km=1000 + ((sample.odometer_km or 0) - 1000) / 3) for sample in samples]
    found = verified_odometer(held)
    assert found is not None
    assert (found.source, found.consistent) == (OdometerSource.GPS, False)
    assert found.odometer_km == pytest.approx(1240, abs=5)


def test_dash_against_obd_against_energy() -> None:
    obd = [replace(sample, source="OBD2", odometer_km=(sample.odometer_km or 0) + 9000, device_id="O") for sample in driving(10)]
    both = sorted(driving(10) + obd, key=lambda sample: sample.at)
    found = verified_odometer(both)
    assert found is not None
    assert (found.source, found.consistent) == (OdometerSource.OBD, False)
    assert found.odometer_km == pytest.approx(10_010)
    hungry = [replace(sample, current_a=(sample.current_a or 0) * 20) for sample in driving(120)]
    seen = verified_odometer(hungry)
    assert seen is not None
    assert seen.reasons == ("ENERGY_AGAINST_DISTANCE",)


def test_a_terminal_of_its_own_counts_a_distance_and_no_odometer() -> None:
    assert verified_odometer(driving(30, source="JT808_2013")) is None
    assert verified_odometer([]) is None


def test_trust_has_reasons_and_falls_with_each() -> None:
    good = driving(120)
    plain = trust(good, odometer_consistent=True, incidents=())
    assert (plain.score, plain.signed_share, plain.physics_share, plain.coverage) == (0.85, None, 1.0, 1.0)
    assert plain.reasons == ("UNSIGNED",)
    signed = trust([replace(sample, signature="VALID") for sample in good], odometer_consistent=True, incidents=())
    assert (signed.score, signed.signed_share, signed.reasons) == (1.0, 1.0, ())
    forged = trust(
        [replace(sample, signature="INVALID" if n % 2 else "VALID") for n, sample in enumerate(good)],
        odometer_consistent=True,
        incidents=(),
    )
    assert 0.7 < forged.score < 0.8
    jumps = [replace(sample, latitude=(sample.latitude or 0) + (n % 20 == 0)) for n, sample in enumerate(good)]
    assert "PHYSICS_VIOLATED" in trust(jumps, odometer_consistent=True, incidents=()).reasons
    away = trust(good, odometer_consistent=False, incidents=(AlertKind.DEVICE_REMOVED, AlertKind.TOW))
    assert away.reasons == ("UNSIGNED", "ODOMETER_INCONSISTENT", "DEVICE_REMOVED")
    assert away.score == pytest.approx(0.85 / 4, abs=0.001)
    assert trust([], odometer_consistent=True, incidents=()).score == 0


def test_hours_that_are_not_covered_cost_trust() -> None:
    sparse = [replace(sample, at=START + timedelta(hours=5 * n)) for n, sample in enumerate(driving(20))]
    found = trust(sparse, odometer_consistent=True, incidents=())
    assert found.coverage == pytest.approx(0.2, abs=0.02)
    assert "COVERAGE_LOW" in found.reasons


@pytest.mark.parametrize("change", [{"speed_kmh": 400.0}, {"latitude": 40.0}, {"odometer_km": 5000.0}, {"odometer_km": 3.0}])
def test_physics(change: dict[str, float]) -> None:
    samples = driving(10)
    assert physics_share(samples) == 1
    samples[5] = replace(samples[5], **change)  # type: ignore[arg-type]
    assert physics_share(samples) < 1


def charging(from_percent: int, to_percent: int, ah: float, minutes_a_percent: int = 2) -> list[Sample]:
    """At a constant current; each percent takes as long."""
    amperes = -ah / 100 / (minutes_a_percent / 60)
    count = (to_percent - from_percent) * minutes_a_percent
    return [
        Sample(
            START + timedelta(minutes=n),
            ignition=False,
            soc_percent=float(from_percent + n // minutes_a_percent),
            current_a=amperes,
            charging=True,
        )
        for n in range(count + 1)
    ]


def test_capacity_is_charge_over_rise() -> None:
    segments = charge_segments(charging(20, 90, 180.0))
    assert [(s.from_percent, s.to_percent) for s in segments] == [(21, 90)]
    found = battery_health(segments, 200.0)
    assert found is not None
    assert found.soh_percent == pytest.approx(90, abs=0.2)
    assert found.low_percent < 90 < found.high_percent
    assert battery_health(segments, 0.0) is None
    assert battery_health(charge_segments(charging(20, 30, 180.0)), 200.0) is None


def test_a_gap_and_driving_end_a_segment() -> None:
    whole = charging(10, 60, 100.0)
    assert len(charge_segments(whole[:40] + whole[60:])) == 2
    drive = [replace(sample, charging=False) for sample in whole[50:52]]
    assert len(charge_segments(whole[:50] + drive + whole[52:])) == 2
    assert charge_segments([]) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 94), st.integers(5, 100)), min_size=1, max_size=6), st.floats(20, 300), st.floats(0.6, 1.1))
def test_the_estimate_is_right_for_a_linear_display_and_narrows_with_what_was_charged(
    spans: list[tuple[int, int]], rated: float, soh: float
) -> None:
    segments = [
        ChargeSegment(START, START, float(low), float(min(100, low + rise)), min(100 - low, rise) / 100 * rated * soh)
        for low, rise in spans
    ]
    found = battery_health(segments, rated)
    if sum(segment.rise for segment in segments) < 20:
        assert found is None
        return
    assert found is not None
    assert found.soh_percent == pytest.approx(100 * soh, abs=0.06)
    assert found.low_percent <= found.soh_percent <= found.high_percent
    assert 5 <= covered(segments) <= 100
    whole = battery_health([ChargeSegment(START, START, 0.0, 100.0, rated * soh)], rated)
    assert whole is not None
    assert whole.high_percent - whole.low_percent <= found.high_percent - found.low_percent + 0.2


NOTHING = Told(UsageNature.PRIVATE, 20, 0.85, 10_000.0, True, 92.0)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({}, []),
        ({"odometer_km": 10_499.0, "trust": 0.8, "risk_score": 29, "soh_percent": 90.5}, []),
        ({"nature": UsageNature.GOODS}, ["usage_nature"]),
        ({"odometer_km": 10_500.0}, ["odometer_km"]),
        ({"odometer_consistent": False}, ["odometer_km"]),
        ({"odometer_km": None, "odometer_consistent": None}, []),
        ({"soh_percent": 89.9}, ["soh_percent"]),
        ({"trust": 0.75}, ["trust"]),
        ({"risk_score": 30}, ["risk_score"]),
    ],
)
def test_only_what_matters_is_news(change: dict[str, object], changed: list[str]) -> None:
    assert news(NOTHING, replace(NOTHING, **change)) == changed  # type: ignore[arg-type]


def test_the_first_profile_is_all_news() -> None:
    assert news(None, NOTHING) == ["usage_nature", "odometer_km", "soh_percent", "trust", "risk_score"]
    assert news(None, replace(NOTHING, nature=UsageNature.UNKNOWN, odometer_km=None, odometer_consistent=None, soh_percent=None)) == [
        "trust",
        "risk_score",
    ]


def simulated(life: str, days: int) -> list[Sample]:
    car, faults = parse_scenario({"lives": {life: 1}}).car(61, 3, days * 86_400)
    return [sample_of(faults.shown(car, at), START + timedelta(seconds=at)) for at in moments(car, days, Cadence(60, 1800))]


def test_a_use_nobody_declared_is_told_after_two_weeks_and_ends_when_it_does() -> None:
    assert is_undisclosed(UsageNature.GOODS, None)
    assert not is_undisclosed(UsageNature.GOODS, UsageNature.GOODS)
    assert not is_undisclosed(UsageNature.UNKNOWN, None)
    hailing = profile(simulated("RIDE_HAILING", 15))
    (signal,) = use_signals(hailing, UsageNature.PRIVATE, START, START)
    assert (signal.kind, signal.ended) == (AlertKind.UNDISCLOSED_COMMERCIAL_USE, False)
    (signal,) = use_signals(hailing, UsageNature.RIDE_HAILING, START, START)
    assert signal.ended
    assert use_signals(profile(simulated("RIDE_HAILING", 8)), None, START, START) == []


def test_a_car_that_sleeps_elsewhere_than_was_said_is_a_reason() -> None:
    samples = simulated("PRIVATE", 10)
    seen = profile(samples)
    assert seen.behaviour.main_overnight is not None
    at_home = Circle(*seen.behaviour.main_overnight, 300)
    elsewhere = Circle(30.0, 120.0, 300)
    for shape, mismatch in ((at_home, False), (elsewhere, True)):
        home = Geofence("H", "V", GeofenceKind.HOME, "H", shape, None, START)
        assert ("HOME_MISMATCH" in profile(samples, Circumstances(home=home)).reasons) is mismatch
    assert told(seen).odometer_consistent is True
    assert seen.trust.score == pytest.approx(0.85, abs=0.01)
