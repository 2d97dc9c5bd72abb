import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_builders import VIN, discharged, registered

from carlien_common.domain.money import Money
from carlien_lien_registry.domain.liens import Lien, LienClass
from carlien_lien_registry.domain.reconciliation import (
    PSB_VEHICLE,
    ZHONGDENG,
    ExtractRecord,
    Mismatch,
    MismatchKind,
    compare,
    misread,
    route,
)

_NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
_OTHER = "LSVAA4182E2184999"


def lien(number: str, block: int = 1, **fields: object) -> Lien:
    made = registered(number, block, **fields).lien  # type: ignore[arg-type]
    assert made is not None
    return made


def record(number: str = "PSB-1", vin: str = VIN, amount: str = "30000.00", *, active: bool = True) -> ExtractRecord:
    return ExtractRecord(number, vin, active, Money(Decimal(amount), "CNY"), None)


def kinds(liens: list[Lien], records: list[ExtractRecord], source: str = PSB_VEHICLE) -> list[MismatchKind]:
    return [one.kind for one in compare(source, liens, records, "Org1MSP", _NOW, _NOW)]


def test_what_agrees_is_no_mismatch() -> None:
    assert kinds([lien("L1")], [record()]) == []
    assert kinds([], []) == []
    assert kinds([], [record(active=False)]) == []


def test_a_lien_in_force_on_one_side_only_is_a_ghost() -> None:
    assert kinds([], [record()]) == [MismatchKind.GHOST_LIEN]
    assert kinds([lien("L1")], []) == [MismatchKind.GHOST_LIEN]


def test_another_lender_s_lien_is_not_expected_in_my_extract() -> None:
    assert kinds([lien("L1", secured_party_msp_id="Org2MSP")], []) == []


def test_a_discharge_that_one_side_lacks() -> None:
    ended = discharged(registered("L1", 1), 2).lien
    assert ended is not None
    assert kinds([ended], [record()]) == [MismatchKind.MISSING_DISCHARGE]
    assert kinds([lien("L1")], [record(active=False)]) == [MismatchKind.MISSING_DISCHARGE]
    assert kinds([lien("L1", expires_at=_NOW)], [record()]) == [MismatchKind.MISSING_DISCHARGE]


def test_amounts_that_drifted() -> None:
    found = compare(PSB_VEHICLE, [lien("L1")], [record(amount="29999.99")], "Org1MSP", _NOW, _NOW)
    assert [(one.kind, one.ledger_says, one.registry_says) for one in found] == [
        (MismatchKind.AMOUNT_DRIFT, "30000.00 CNY", "29999.99 CNY")
    ]


@pytest.mark.parametrize(
    ("other", "is_misread"),
    [
        ("LSVAA4182E2184848", True),
        ("LSVAA4182E2184B47", True),
        ("LSVAA4182E2I84B47", True),
        (_OTHER, False),
        (VIN, False),
        ("LSVAA", False),
    ],
)
def test_misread_vins(other: str, is_misread: bool) -> None:
    assert misread(VIN, other) is is_misread


def test_a_misread_vin_is_one_case_not_two_ghosts() -> None:
    assert kinds([lien("L1")], [record(vin="LSVAA4182E2184B47")]) == [MismatchKind.VIN_MISREAD]


def test_a_registry_s_number_tells_registrations_of_one_car_apart() -> None:
    liens = [
        lien("L1", 1, external_certificate_number="PSB-1"),
        lien("L2", 2, external_certificate_number="PSB-2", secured_amount=Money(Decimal(5), "CNY")),
    ]
    assert kinds(liens, [record("PSB-2", amount="5.00"), record("PSB-1")]) == []


def test_an_old_extract_is_not_compared_with() -> None:
    found = compare(PSB_VEHICLE, [lien("L1")], [], "Org1MSP", _NOW, _NOW - dt.timedelta(days=3))
    assert [one.kind for one in found] == [MismatchKind.STALE_EXTRACT]


def test_cars_are_the_vehicle_office_s_and_leases_zhongdeng_s() -> None:
    assert route(LienClass.MORTGAGE) == PSB_VEHICLE
    assert route(LienClass.FINANCE_LEASE) == ZHONGDENG
    assert route(LienClass.POSSESSORY) is None
    assert kinds([lien("L1")], [], ZHONGDENG) == []
    assert kinds([lien("L1", lien_class=LienClass.FINANCE_LEASE)], [], PSB_VEHICLE) == []


_VINS = st.sampled_from([VIN, _OTHER, "LSVAA4182E2184B47"])


@given(st.lists(st.tuples(_VINS, st.integers(1, 3)), max_size=6), st.randoms())
def test_the_order_of_an_extract_does_not_matter_and_the_same_extract_twice_says_the_same(
    drawn: list[tuple[str, int]], chance: object
) -> None:
    liens = [lien(f"L{number}", number, vin=vin) for number, (vin, _) in enumerate(drawn)]
    records = [record(f"PSB-{number}", vin, f"{amount}0000.00") for number, (vin, amount) in enumerate(drawn)]

    def found(given_records: list[ExtractRecord]) -> set[Mismatch]:
        return set(compare(PSB_VEHICLE, liens, given_records, "Org1MSP", _NOW, _NOW))

    shuffled = list(records)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert found(records) == found(shuffled) == found(records)


@given(st.lists(_VINS, max_size=6))
def test_an_extract_drawn_from_the_ledger_itself_agrees_with_it(vins: list[str]) -> None:
    liens = [lien(f"L{number}", number, vin=vin, external_certificate_number=f"PSB-{number}") for number, vin in enumerate(vins)]
    records = [record(one.external_certificate_number, one.vin) for one in liens]
    assert kinds(liens, records) == []
