import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carlien_common.domain.errors import DomainError
from carlien_common.domain.money import Money
from carlien_lien_registry.domain.liens import LienClass, Position
from carlien_lien_registry.domain.priority import Interest, Ranked, Rule, Sale, rank

_DAY = dt.date(2026, 3, 1)
_TODAY = dt.date(2026, 6, 1)


def cny(amount: object) -> Money:
    return Money(Decimal(str(amount)), "CNY")


def at(day: dt.date, hour: int = 12) -> dt.datetime:
    """An instant on a day in the registry's zone."""
    return dt.datetime.combine(day, dt.time(hour), dt.timezone(dt.timedelta(hours=8)))


def interest(number: str, block: int, lien_class: LienClass = LienClass.MORTGAGE, amount: object = 100, **fields: object) -> Interest:
    values: dict[str, object] = {"registered_at": at(_DAY + dt.timedelta(days=block)), "position": Position(block, 0)}
    return Interest(number, lien_class, cny(amount), **{**values, **fields})  # type: ignore[arg-type]


def unregistered(number: str, amount: object) -> Interest:
    return Interest(number, LienClass.MORTGAGE, cny(amount), None, None)


def order(ranked: list[Ranked]) -> list[tuple[str, Rule]]:
    return [(one.interest.number, one.rule) for one in ranked]


def test_registration_order_and_who_is_paid() -> None:
    ranked = rank([interest("B", 2), interest("A", 1)], {"p10": cny(120), "p50": cny(250)}, _TODAY)
    assert order(ranked) == [("A", Rule.REGISTRATION), ("B", Rule.REGISTRATION)]
    assert [one.recovery["p10"].amount for one in ranked] == [100, 20]
    assert [one.recovery["p50"].amount for one in ranked] == [100, 100]


def test_within_a_block_the_index_decides() -> None:
    later, sooner = interest("L", 1, position=Position(1, 5)), interest("S", 1, position=Position(1, 2))
    assert [name for name, _ in order(rank([later, sooner], {}, _TODAY))] == ["S", "L"]


def test_a_possessory_lien_comes_first_while_possession_lasts() -> None:
    mortgage = interest("M", 1)
    repairer = interest("R", 9, LienClass.POSSESSORY, delivered_on=_DAY)
    assert order(rank([mortgage, repairer], {}, _TODAY))[0] == ("R", Rule.POSSESSORY_LIEN)
    gone = interest("R", 9, LienClass.POSSESSORY, delivered_on=_DAY, possession_ended_on=_TODAY)
    assert order(rank([mortgage, gone], {}, _TODAY)) == [("M", Rule.REGISTRATION)]


@pytest.mark.parametrize(("days", "first"), [(0, "P"), (10, "P"), (11, "M")])
def test_purchase_money_has_ten_days_after_delivery(days: int, first: str) -> None:
    mortgage = interest("M", 0, registered_at=at(_DAY, 1), position=Position(0, 0))
    seller = interest("P", 1, LienClass.PURCHASE_MONEY, delivered_on=_DAY, registered_at=at(_DAY + dt.timedelta(days=days), 23))
    assert order(rank([mortgage, seller], {}, _TODAY))[0][0] == first


def test_purchase_money_does_not_beat_a_possessory_lien() -> None:
    seller = interest("P", 1, LienClass.PURCHASE_MONEY, delivered_on=_DAY)
    repairer = interest("R", 9, LienClass.POSSESSORY, delivered_on=_DAY)
    ranked = rank([seller, repairer, interest("M", 0)], {}, _TODAY)
    assert [name for name, _ in order(ranked)] == ["R", "P", "M"]
    assert ranked[1].rule is Rule.PURCHASE_MONEY


@pytest.mark.parametrize("lien_class", [LienClass.RETENTION_OF_TITLE, LienClass.FINANCE_LEASE])
def test_sellers_and_lessors_are_purchase_money_too(lien_class: LienClass) -> None:
    ranked = rank([interest("M", 0), interest("S", 3, lien_class, delivered_on=_DAY)], {}, _TODAY)
    assert order(ranked)[0] == ("S", Rule.PURCHASE_MONEY)


def test_a_pledge_counts_from_the_earlier_of_delivery_and_registration() -> None:
    pledge = interest("P", 9, LienClass.PLEDGE, delivered_on=_DAY)
    assert order(rank([interest("M", 5), pledge], {}, _TODAY))[0] == ("P", Rule.REGISTRATION_OR_DELIVERY)
    held = Interest("P", LienClass.PLEDGE, cny(100), None, None, delivered_on=_DAY)
    assert order(rank([interest("M", 5), held], {}, _TODAY))[0] == ("P", Rule.REGISTRATION_OR_DELIVERY)


def test_unregistered_interests_share_what_is_left() -> None:
    ranked = rank([unregistered("U1", 100), unregistered("U2", 200), interest("M", 1)], {"p50": cny(190)}, _TODAY)
    assert [(one.interest.number, one.rank) for one in ranked] == [("M", 1), ("U1", 2), ("U2", 2)]
    assert [one.recovery["p50"].amount for one in ranked] == [100, 30, 60]


def test_who_steps_back_goes_behind_and_harms_nobody_between() -> None:
    first = interest("A", 1, subordinated_to=("C",))
    ranked = rank([first, interest("B", 2), interest("C", 3)], {}, _TODAY)
    assert [name for name, _ in order(ranked)] == ["B", "C", "A"]
    assert ranked[2].rule is Rule.SUBORDINATED


def test_agreements_in_a_circle_are_refused() -> None:
    with pytest.raises(DomainError) as caught:
        rank([interest("A", 1, subordinated_to=("B",)), interest("B", 2, subordinated_to=("A",))], {}, _TODAY)
    assert caught.value.reason == "CIRCULAR_PRIORITY"


def test_an_ordinary_course_buyer_takes_free_of_mortgages_only() -> None:
    pledge = interest("P", 2, LienClass.PLEDGE, delivered_on=_DAY)
    ranked = rank([interest("M", 1), pledge], {"p50": cny(150)}, _TODAY, Sale(True, True, True))
    assert [(one.interest.number, one.rank, one.rule) for one in ranked] == [
        ("P", 1, Rule.REGISTRATION_OR_DELIVERY),
        ("M", 0, Rule.ORDINARY_COURSE_BUYER),
    ]
    assert ranked[1].recovery["p50"].amount == 0
    for sale in (Sale(False, True, True), Sale(True, False, True), Sale(True, True, False)):
        assert order(rank([interest("M", 1)], {}, _TODAY, sale)) == [("M", Rule.REGISTRATION)]


def test_currencies_do_not_mix() -> None:
    with pytest.raises(DomainError, match="one currency"):
        rank([interest("A", 1)], {"p50": Money(Decimal(1), "USD")}, _TODAY)


_CLASSES = st.sampled_from(list(LienClass))


@st.composite
def interests(draw: st.DrawFn) -> list[Interest]:
    number = draw(st.integers(0, 7))
    found = []
    for place in range(number):
        registered = draw(st.booleans())
        found.append(
            Interest(
                number=f"L{place}",
                lien_class=draw(_CLASSES),
                secured=cny(draw(st.integers(1, 10**6))),
                position=Position(place, 0) if registered else None,
                registered_at=at(_DAY + dt.timedelta(days=place)) if registered else None,
                delivered_on=draw(st.none() | st.dates(_DAY, _TODAY)),
                # Only behind later ones, so there is no circle.
                subordinated_to=tuple(f"L{other}" for other in draw(st.sets(st.integers(place + 1, 8), max_size=2))),
            )
        )
    return found


@given(interests(), st.integers(0, 10**7), st.randoms())
def test_the_order_of_the_input_does_not_matter(held: list[Interest], value: int, random: object) -> None:
    shuffled = list(held)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    proceeds = {"p50": cny(value)}

    def ranks(given_interests: list[Interest]) -> dict[str, int]:
        return {one.interest.number: one.rank for one in rank(given_interests, proceeds, _TODAY)}

    assert ranks(held) == ranks(shuffled)


@given(interests(), st.integers(0, 10**7))
def test_nobody_gets_more_than_is_secured_and_everything_is_spread(held: list[Interest], value: int) -> None:
    ranked = rank(held, {"p50": cny(value)}, _TODAY)
    recovered = [one.recovery["p50"].amount for one in ranked]
    assert all(0 <= amount <= one.interest.secured.amount for amount, one in zip(recovered, ranked, strict=True))
    assert sum(recovered) == min(value, sum(one.interest.secured.amount for one in ranked))
    ranks = [one.rank for one in ranked]
    assert ranks == sorted(ranks)


@given(interests(), st.integers(0, 10**7))
def test_a_junior_gets_nothing_while_a_senior_is_short(held: list[Interest], value: int) -> None:
    ranked = rank(held, {"p50": cny(value)}, _TODAY)
    short = [one.rank for one in ranked if one.recovery["p50"].amount < one.interest.secured.amount]
    if short:
        assert all(one.recovery["p50"].amount == 0 for one in ranked if one.rank > min(short))


@given(interests())
def test_stepping_back_harms_only_who_steps_back(held: list[Interest]) -> None:
    before = rank([Interest(**{**_fields(one), "subordinated_to": ()}) for one in held], {}, _TODAY)
    after = rank(held, {}, _TODAY)
    place = {one.interest.number: index for index, one in enumerate(before)}
    now = {one.interest.number: index for index, one in enumerate(after)}
    for one in held:
        if not one.subordinated_to and one.number in place:
            assert now[one.number] <= place[one.number]


def _fields(one: Interest) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}
