"""Who is paid first from one car: ranks by law, each with the rule it rests on, and what each holder recovers.

A pure function of the registered interests. Rules (Civil Code of the PRC, and the Supreme People's Court's interpretation on
security, 担保解释; texts as cited in reference/lien-and-title.md):

1. a possessory lien comes first (456), while possession lasts (457);
2. purchase money registered within 10 days after delivery comes before other security of the buyer, save a possessory lien
   (416; sellers with retention of title and finance lessors likewise: 担保解释 57);
3. registered interests by the time of registration, pledges by the earlier of registration and delivery (414, 415);
4. unregistered interests after all registered ones, among themselves pro rata (414);
5. a holder may step back behind another, which must not harm anyone who hasn't consented (409);
6. a car bought in the ordinary course of business from a dealer's stock, paid fairly and taken over, is free of the mortgage (404).

The order of registration is the place in the ledger, never a time a client chose.
"""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from carlien_common.domain.errors import precondition
from carlien_common.domain.money import Money, zero
from carlien_lien_registry.domain.liens import LienClass, Position

PURCHASE_MONEY_DAYS: Final = 10
# A day ends at midnight where the registry is; delivery is a calendar date there (Civil Code 200-203: the day itself isn't counted).
REGISTRY_ZONE: Final = dt.timezone(dt.timedelta(hours=8))
_PURCHASE_MONEY: Final = frozenset({LienClass.PURCHASE_MONEY, LienClass.RETENTION_OF_TITLE, LienClass.FINANCE_LEASE})
_POSSESSION: Final = frozenset({LienClass.PLEDGE, LienClass.POSSESSORY})


class Rule(enum.Enum):
    """The rule a rank rests on."""

    POSSESSORY_LIEN = "Civil Code 456"
    PURCHASE_MONEY = "Civil Code 416"
    REGISTRATION = "Civil Code 414"
    REGISTRATION_OR_DELIVERY = "Civil Code 415"
    UNREGISTERED = "Civil Code 414 (3)"
    SUBORDINATED = "Civil Code 409"
    ORDINARY_COURSE_BUYER = "Civil Code 404"


@dataclass(frozen=True, slots=True)
class Interest:
    """One security interest in the car.

    `position` and `registered_at` are those its priority counts from (a reservation's where one was used); both None: not
    registered. `delivered_on`: to the buyer for purchase money, to the creditor for pledge and possessory lien.
    `subordinated_to` names interests it agreed to stand behind, with every consent the ledger asked for recorded.
    """

    number: str
    lien_class: LienClass
    secured: Money
    position: Position | None
    registered_at: dt.datetime | None
    delivered_on: dt.date | None = None
    possession_ended_on: dt.date | None = None
    subordinated_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """An interest's rank, 1 first; equal ranks share pro rata. An interest that a buyer took free of has rank 0."""

    interest: Interest
    rank: int
    rule: Rule
    recovery: Mapping[str, Money]


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale of the car that may free it of the mortgage (404): by a dealer from stock, paid fairly, taken over."""

    ordinary_course: bool
    fair_price_paid: bool
    taken_over: bool

    @property
    def frees(self) -> bool:
        """All three conditions hold."""
        return self.ordinary_course and self.fair_price_paid and self.taken_over


def rank(interests: Sequence[Interest], proceeds: Mapping[str, Money], as_of: dt.date, sale: Sale | None = None) -> list[Ranked]:
    """Rank interests and spread proceeds (a name such as `p50` -> the car's value) over them in that order.

    PRECONDITION CIRCULAR_PRIORITY where agreements to step back run in a circle, CURRENCY_MISMATCH where amounts don't mix.
    """
    _require_one_currency(interests, proceeds)
    held, freed = _freed(interests, sale)
    groups = _step_back(_by_law(held, as_of))
    left = dict(proceeds)
    ranked: list[Ranked] = []
    for place, group in enumerate(groups, start=1):
        shares = {name: _shares([interest for interest, _ in group], amount) for name, amount in left.items()}
        for index, (interest, rule) in enumerate(group):
            ranked.append(Ranked(interest, place, rule, {name: parts[index] for name, parts in shares.items()}))
        for name, parts in shares.items():
            left[name] = replace(left[name], amount=left[name].amount - sum((part.amount for part in parts), Decimal(0)))
    nothing = {name: zero(amount.currency) for name, amount in proceeds.items()}
    return [*ranked, *(Ranked(interest, 0, Rule.ORDINARY_COURSE_BUYER, nothing) for interest in freed)]


Group = list[tuple[Interest, Rule]]


def _by_law(interests: Iterable[Interest], as_of: dt.date) -> list[Group]:
    """Groups in order; only the unregistered share one."""
    registered: list[tuple[tuple[object, ...], Interest, Rule]] = []
    unregistered: Group = []
    for interest in interests:
        if interest.lien_class is LienClass.POSSESSORY:
            if _possesses(interest, as_of):
                # By the ledger among themselves: the code doesn't order several, and the car can have but one keeper at a time.
                registered.append(((0, *_order(interest)), interest, Rule.POSSESSORY_LIEN))
            # Lost with possession (457): it secures nothing any more.
            continue
        if interest.position is None and not (interest.lien_class is LienClass.PLEDGE and _possesses(interest, as_of)):
            unregistered.append((interest, Rule.UNREGISTERED))
        elif _purchase_money_in_time(interest):
            registered.append(((1, *_order(interest)), interest, Rule.PURCHASE_MONEY))
        else:
            pledge = interest.lien_class is LienClass.PLEDGE and interest.delivered_on is not None
            rule = Rule.REGISTRATION_OR_DELIVERY if pledge else Rule.REGISTRATION
            registered.append(((2, *_order(interest)), interest, rule))
    registered.sort(key=lambda one: one[0])
    groups: list[Group] = [[(interest, rule)] for _, interest, rule in registered]
    return [*groups, unregistered] if unregistered else groups


def _order(interest: Interest) -> tuple[object, ...]:
    """By day where a delivery counts instead of a registration, within it by the place in the ledger.

    A delivery is a day only; it stands for that day's end, since nothing shows that it was earlier than a registration of that day.
    """
    instant = interest.registered_at or dt.datetime.max.replace(tzinfo=dt.UTC)
    if interest.lien_class is LienClass.PLEDGE and interest.delivered_on is not None:
        end_of_day = dt.datetime.combine(interest.delivered_on, dt.time.max, REGISTRY_ZONE)
        if end_of_day < instant:
            return (end_of_day, 0, 0, 0, interest.number)
    position = interest.position or Position(2**63 - 1, 0)
    return (instant, position.block_number, position.tx_index, position.change_index, interest.number)


def _possesses(interest: Interest, as_of: dt.date) -> bool:
    ended = interest.possession_ended_on is not None and interest.possession_ended_on <= as_of
    begun = interest.delivered_on is None or interest.delivered_on <= as_of
    if interest.lien_class is LienClass.PLEDGE:
        return interest.delivered_on is not None and begun and not ended
    return begun and not ended


def _purchase_money_in_time(interest: Interest) -> bool:
    """Registered at latest on the tenth day after the day of delivery (registering before the delivery is in time, too)."""
    if interest.lien_class not in _PURCHASE_MONEY or interest.delivered_on is None or interest.registered_at is None:
        return False
    registered_on = interest.registered_at.astimezone(REGISTRY_ZONE).date()
    return registered_on <= interest.delivered_on + dt.timedelta(days=PURCHASE_MONEY_DAYS)


def _step_back(groups: list[Group]) -> list[Group]:
    """Move each interest that agreed to step back directly behind the last one it agreed to stand behind.

    Nobody in between moves down by that: they move up or stay. So no consent but that of who steps back is needed here; where
    an agreement harms others, the ledger has asked for theirs before recording it.
    """
    order = {interest.number: (interest, rule) for group in groups for interest, rule in group}
    _require_no_circle(order)
    shared = {interest.number for interest, _ in groups[-1]} if groups and len(groups[-1]) > 1 else set()
    line = [interest.number for group in groups for interest, _ in group if interest.number not in shared]
    moved = True
    while moved:
        moved = False
        for number in list(line):
            seniors = [senior for senior in order[number][0].subordinated_to if senior in line]
            last = max((line.index(senior) for senior in seniors), default=-1)
            if last > line.index(number):
                line.insert(last + 1, number)
                line.remove(number)
                order[number] = (order[number][0], Rule.SUBORDINATED)
                moved = True
    behind = [group for group in groups if any(interest.number in shared for interest, _ in group)]
    return [[order[number]] for number in line] + behind


def _require_no_circle(order: Mapping[str, tuple[Interest, Rule]]) -> None:
    done: set[str] = set()

    def visit(number: str, path: tuple[str, ...]) -> None:
        if number in path:
            circle = " -> ".join((*path[path.index(number) :], number))
            raise precondition("CIRCULAR_PRIORITY", f"Agreements to step back run in a circle: {circle}.", circle=circle)
        if number in done:
            return
        for senior in order[number][0].subordinated_to:
            if senior in order:
                visit(senior, (*path, number))
        done.add(number)

    for number in order:
        visit(number, ())


def _shares(interests: Sequence[Interest], amount: Money) -> list[Money]:
    """Spread an amount over equal ranks: everyone in full where it suffices, else pro rata; cents add up exactly."""
    claims = [interest.secured for interest in interests]
    total = sum((claim.amount for claim in claims), Decimal(0))
    if total <= amount.amount:
        return claims
    if amount.amount <= 0 or total == 0:
        return [zero(amount.currency) for _ in claims]
    shares: list[Money] = []
    given, claimed = Decimal(0), Decimal(0)
    for claim in claims:
        # Each share is what brings the sum so far to its due: roundings can't pile up, nor the last one be off.
        claimed += claim.amount
        due = Money(amount.amount * claimed / total, amount.currency).quantized().amount
        shares.append(Money(due - given, amount.currency))
        given = due
    return shares


def _freed(interests: Sequence[Interest], sale: Sale | None) -> tuple[list[Interest], list[Interest]]:
    if sale is None or not sale.frees:
        return list(interests), []
    mortgages = frozenset({LienClass.MORTGAGE, LienClass.PURCHASE_MONEY})
    freed = [interest for interest in interests if interest.lien_class in mortgages]
    return [interest for interest in interests if interest.lien_class not in mortgages], freed


def _require_one_currency(interests: Sequence[Interest], proceeds: Mapping[str, Money]) -> None:
    currencies = {interest.secured.currency for interest in interests} | {amount.currency for amount in proceeds.values()}
    if len(currencies) > 1:
        raise precondition("CURRENCY_MISMATCH", "Ranks can be computed in one currency only.", currencies=",".join(sorted(currencies)))
