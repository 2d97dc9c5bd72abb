from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_common.domain.money import Money
from carlien_valuation.adapters.battery_policy_file import load_battery_policies
from carlien_valuation.domain.battery import Pack, Use, in_force, outlook, split, typical_soh, value_pack

POLICY = in_force(load_battery_policies(), date(2026, 6, 1))
SOH = st.decimals("0.3", "1.05", places=3)
KWH = st.decimals("10", "150", places=1)
CHEMISTRY = st.sampled_from(sorted(POLICY.chemistries))
VALUE = st.decimals("5000", "800000", places=2).map(lambda amount: Money(amount, "CNY"))


@given(capacity=KWH, chemistry=CHEMISTRY, soh=SOH, value=VALUE, years=st.decimals("0", "12", places=2))
def test_car_and_pack_add_up_to_the_cent(capacity: Decimal, chemistry: str, soh: Decimal, value: Money, years: Decimal) -> None:
    for pack in (Pack(capacity, chemistry, soh), Pack(capacity, chemistry), Pack(capacity, chemistry, soh, leased=True)):
        parts = split(value, pack, years, years * 100, POLICY)
        assert parts.car + parts.pack == parts.total
        assert value + parts.adjustment == parts.total
        assert parts.total.amount >= 0
        assert parts.total.quantized() == parts.total


@given(capacity=KWH, chemistry=CHEMISTRY, better=SOH, worse=SOH, value=VALUE)
def test_a_healthier_pack_is_never_worth_less(capacity: Decimal, chemistry: str, better: Decimal, worse: Decimal, value: Money) -> None:
    if better < worse:
        better, worse = worse, better
    low, high = (value_pack(Pack(capacity, chemistry), soh, POLICY, car_value=value) for soh in (worse, better))
    assert high.best >= low.best


@given(capacity=KWH, chemistry=CHEMISTRY, soh=SOH)
def test_the_best_use_is_the_best_of_the_three(capacity: Decimal, chemistry: str, soh: Decimal) -> None:
    worth = value_pack(Pack(capacity, chemistry), soh, POLICY)
    possible = {Use.FIRST_LIFE: worth.first_life, Use.SECOND_LIFE: worth.second_life, Use.RECYCLING: worth.recycling}
    options = {use: value for use, value in possible.items() if value is not None}
    assert worth.best == max(options.values(), key=lambda one: one.amount) == options[worth.use]


def test_a_leased_pack_is_no_collateral_whatever_its_health() -> None:
    value = Money(Decimal(120_000), "CNY")
    parts = [
        split(value, Pack(Decimal(60), "LFP", soh, leased=True), Decimal(2), Decimal(200), POLICY) for soh in (Decimal("0.5"), Decimal(1))
    ]
    assert parts[0] == parts[1]
    assert parts[0].pack.amount == 0
    assert parts[0].total < value


def test_without_a_measurement_the_market_value_stands() -> None:
    value = Money(Decimal(120_000), "CNY")
    parts = split(value, Pack(Decimal(60), "LFP"), Decimal(2), Decimal(200), POLICY)
    assert parts.total == value
    assert parts.adjustment.amount == 0


def test_use_moves_from_driving_to_second_life_to_recycling() -> None:
    def uses(chemistry: str) -> list[Use]:
        pack = Pack(Decimal(60), chemistry)
        return list(dict.fromkeys(value_pack(pack, Decimal(soh) / 100, POLICY).use for soh in range(100, 40, -1)))

    assert uses("LFP") == [Use.FIRST_LIFE, Use.SECOND_LIFE, Use.RECYCLING]
    assert uses("NMC") == [Use.FIRST_LIFE, Use.RECYCLING]  # its metals are worth more than its cells


def test_the_outlook_starts_at_the_measured_health_and_its_interval_widens() -> None:
    months = outlook(Pack(Decimal(60), "LFP", Decimal("0.93")), Decimal(3), Decimal(250), Decimal(80), 60, POLICY)
    assert months[0].p50.soh == Decimal("0.93")
    assert [m.month for m in months] == list(range(61))
    states = [(m.p10.soh, m.p50.soh, m.p90.soh) for m in months]
    assert all(low < middle < high for low, middle, high in states)
    assert all(later[1] < earlier[1] for earlier, later in pairwise(states))
    widths = [high - low for low, _, high in states]
    assert widths == sorted(widths)


def test_typical_health_is_of_the_order_fleets_report() -> None:
    assert Decimal("0.90") < typical_soh(POLICY, Decimal(3), Decimal(200)) < Decimal("0.96")
    assert Decimal("0.80") < typical_soh(POLICY, Decimal(8), Decimal(530)) < Decimal("0.90")
    assert typical_soh(POLICY, Decimal(100), Decimal(20_000)) == 0


def test_every_bad_field_is_named() -> None:
    with pytest.raises(DomainError) as raised:
        split(Money(Decimal(1000), "CNY"), Pack(Decimal(0), "ZINC", Decimal(2)), Decimal(1), Decimal(1), POLICY)
    assert {violation.reason for violation in raised.value.violations} == {
        "BATTERY_CAPACITY_RANGE", "BATTERY_SOH_RANGE", "BATTERY_CHEMISTRY_UNKNOWN",
    }  # fmt: skip


def test_prices_of_another_currency_are_refused() -> None:
    with pytest.raises(DomainError) as raised:
        split(Money(Decimal(1000), "GBP"), Pack(Decimal(50), "LFP"), Decimal(1), Decimal(1), POLICY)
    assert raised.value.reason == "CURRENCY_MISMATCH"


@pytest.mark.parametrize(
    "change", [("most_of_car: 0.60", "most_of_car: 1.5"), ("removal_cost: 1500", "removal_cost: -1"), ("currency: CNY", "")]
)
def test_a_broken_policy_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    from importlib.resources import files

    text = files("carlien_valuation.policies").joinpath("battery.yaml").read_text(encoding="utf-8")
    path = tmp_path / "battery.yaml"
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(DomainError) as raised:
        load_battery_policies(path)
    assert raised.value.reason == "POLICY_INVALID"
