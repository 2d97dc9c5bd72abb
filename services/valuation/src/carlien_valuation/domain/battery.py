"""What a traction pack is worth: driving on, in a second life, as raw material; and what that means for the car.

The pack's value is the best of three, each net of what it takes to get it:

* first life: what is left until the end of traction life, priced at a new pack's price per kWh;
* second life (echelon use, GB/T 34015): remaining capacity at the market's price for used cells, less taking the pack out, testing and
  regrouping, transport and a warranty reserve, for packs healthy enough;
* recycling (GB/T 33598): material value per kWh when new, less transport and dismantling; a pack can be worth less than nothing.

A car's market value already contains a pack of the health that is typical for its age. So an actual state of health moves the car by the
difference between the two packs, and a leased pack (电池不随车) takes the typical pack out of the collateral altogether.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from carlien_common.domain.errors import DomainError, FieldViolation, invalid, precondition
from carlien_common.domain.money import Money


class Use(StrEnum):
    """What a pack is best used for."""

    FIRST_LIFE = "FIRST_LIFE"
    SECOND_LIFE = "SECOND_LIFE"
    RECYCLING = "RECYCLING"


@dataclass(frozen=True, slots=True)
class ChemistryPolicy:
    """Prices of a chemistry, per kWh of capacity (when new, except `second_life_per_kwh`: of remaining capacity)."""

    new_pack_per_kwh: Decimal
    second_life_per_kwh: Decimal
    recycling_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class BatteryPolicy:
    """A dated table with its source. Health and losses are fractions of the capacity when new."""

    in_force_from: date
    source: str
    currency: str
    chemistries: dict[str, ChemistryPolicy]
    end_of_first_life: Decimal
    least_for_second_life: Decimal
    second_life_yield: Decimal
    removal_cost: Decimal
    repurposing_per_kwh: Decimal
    transport_per_kwh: Decimal
    warranty_reserve: Decimal
    dismantling_per_kwh: Decimal
    most_of_car: Decimal
    """A pack in first life is not worth more than this share of the car it drives."""
    price_fall_per_year: Decimal
    """Expected yearly fall of a new pack's price, as a fraction."""
    fade_calendar: Decimal
    """Lost per square root of a year."""
    fade_cycle: Decimal
    """Lost per full cycle."""
    fade_spread: Decimal
    """P10 and P90 of the loss ahead, as a fraction of its median below and above it."""
    soh_error: Decimal
    """Half width of the 80 % interval of a state of health estimated from charging data, fraction of capacity when new."""


def in_force(policies: Sequence[BatteryPolicy], on: date) -> BatteryPolicy:
    """The edition of a date; the first one before any was in force. PRECONDITION BATTERY_POLICY_MISSING without any."""
    if not policies:
        raise precondition("BATTERY_POLICY_MISSING", "No battery prices are on file.")
    dated = sorted(policies, key=lambda policy: policy.in_force_from)
    return next((policy for policy in reversed(dated) if policy.in_force_from <= on), dated[0])


@dataclass(frozen=True, slots=True)
class Pack:
    """A car's pack. `soh` as a fraction of capacity when new; None where not measured."""

    capacity_kwh: Decimal
    chemistry: str
    soh: Decimal | None = None
    leased: bool = False


@dataclass(frozen=True, slots=True)
class PackValue:
    """One pack at one state of health, net values, None where that use is past; `best` is the highest of the three."""

    soh: Decimal
    first_life: Money | None
    second_life: Money | None
    recycling: Money
    best: Money
    use: Use


@dataclass(frozen=True, slots=True)
class Health:
    """A state of health as a fraction of the capacity when new, with its 80 % interval; `measured` or usual."""

    low: Decimal
    median: Decimal
    high: Decimal
    measured: bool


@dataclass(frozen=True, slots=True)
class PackInCar:
    """A value in car and pack (they sum to it), and the pack's state and uses."""

    car: Money
    pack: Money
    adjustment: Money
    leased: bool
    health: Health
    state: PackValue


@dataclass(frozen=True, slots=True)
class MonthValue:
    """A month ahead: P10, P50, P90 of the state of health, the pack at each, whichever use is best."""

    month: int
    p10: PackValue
    p50: PackValue
    p90: PackValue


@dataclass(frozen=True, slots=True)
class Split:
    """A car's value in car and pack, as collateral: `total` = `car` + `pack`, to the cent."""

    car: Money
    pack: Money
    total: Money
    adjustment: Money
    """What the actual state of health (or a lease) changes against the market value: `total` less market value."""
    use: Use
    leased: bool


def check(pack: Pack, policy: BatteryPolicy, *, whole: bool = False) -> None:
    """INVALID with every bad field. `whole`: capacity and a known chemistry must be there, as for a pack that is to be valued."""
    faults: list[DomainError] = []
    if not 0 <= pack.capacity_kwh <= 1000 or (whole and pack.capacity_kwh == 0):
        faults.append(invalid("vehicle.battery.capacity_new_kwh", "BATTERY_CAPACITY_RANGE", "A pack has between 0 and 1000 kWh."))
    if pack.soh is not None and not 0 < pack.soh <= Decimal("1.1"):
        faults.append(
            invalid("vehicle.battery.state_of_health_percent", "BATTERY_SOH_RANGE", "A state of health lies between 0 and 110 %.")
        )
    if whole and pack.chemistry.upper() not in policy.chemistries:
        names = ", ".join(sorted(policy.chemistries))
        faults.append(invalid("vehicle.battery.chemistry", "BATTERY_CHEMISTRY_UNKNOWN", f"{pack.chemistry!r} is none of {names}."))
    if faults:
        violations: list[FieldViolation] = [violation for fault in faults for violation in fault.violations]
        raise DomainError(faults[0].kind, faults[0].reason, faults[0].message, violations)


KWH_PER_KM = Decimal("0.16")
"""From the battery; turns kilometres into full cycles where nothing better is known."""


def known(pack: Pack, policy: BatteryPolicy) -> bool:
    """Whether enough is stated of a pack to value it."""
    return pack.capacity_kwh > 0 and pack.chemistry.upper() in policy.chemistries


def full_cycles(pack: Pack, km: Decimal) -> Decimal:
    """Equivalent full cycles of a distance."""
    return km * KWH_PER_KM / pack.capacity_kwh if pack.capacity_kwh > 0 else Decimal(0)


def stated_health(soh: Decimal, policy: BatteryPolicy) -> Health:
    """Stated or measured, give or take the policy's error."""
    return Health(max(soh - policy.soh_error, Decimal(0)), soh, min(soh + policy.soh_error, max(soh, Decimal(1))), measured=True)


def typical_health(policy: BatteryPolicy, age_years: Decimal, full_cycles: Decimal) -> Health:
    """What is usual, give or take the policy's spread of what is lost."""
    soh = typical_soh(policy, age_years, full_cycles)
    half = (policy.soh_error**2 + ((1 - soh) * policy.fade_spread) ** 2).sqrt()
    return Health(max(soh - half, Decimal(0)), soh, min(soh + half, Decimal(1)), measured=False)


def typical_soh(policy: BatteryPolicy, age_years: Decimal, full_cycles: Decimal) -> Decimal:
    """State of health that is usual at an age and use: square root of time (calendar) plus linear in full cycles; never below 0."""
    loss = policy.fade_calendar * max(age_years, Decimal(0)).sqrt() + policy.fade_cycle * max(full_cycles, Decimal(0))
    return max(Decimal(1) - loss, Decimal(0))


def value_pack(
    pack: Pack, soh: Decimal, policy: BatteryPolicy, years_ahead: Decimal = Decimal(0), car_value: Money | None = None
) -> PackValue:
    """The pack's three values at a state of health and the best of them. `car_value` caps the first life's."""
    prices = policy.chemistries[pack.chemistry.upper()]
    fall = (Decimal(1) - policy.price_fall_per_year) ** years_ahead
    first: Decimal | None = None
    if soh >= policy.end_of_first_life:
        left = min((soh - policy.end_of_first_life) / (Decimal(1) - policy.end_of_first_life), Decimal(1))
        first = pack.capacity_kwh * prices.new_pack_per_kwh * fall * left
        if car_value is not None:
            first = min(first, car_value.amount * policy.most_of_car)
    costs = policy.removal_cost + pack.capacity_kwh * policy.transport_per_kwh
    second: Decimal | None = None
    if soh >= policy.least_for_second_life:
        gross = pack.capacity_kwh * soh * policy.second_life_yield * prices.second_life_per_kwh * fall
        second = gross * (Decimal(1) - policy.warranty_reserve) - pack.capacity_kwh * policy.repurposing_per_kwh - costs
    recycling = pack.capacity_kwh * (prices.recycling_per_kwh - policy.dismantling_per_kwh) - costs
    possible = {Use.FIRST_LIFE: first, Use.SECOND_LIFE: second, Use.RECYCLING: recycling}
    options = {use: worth for use, worth in possible.items() if worth is not None}
    use = max(options, key=lambda one: options[one])

    def money(amount: Decimal) -> Money:
        return Money(amount, policy.currency).quantized()

    return PackValue(
        soh=soh,
        first_life=None if first is None else money(first),
        second_life=None if second is None else money(second),
        recycling=money(recycling),
        best=money(options[use]),
        use=use,
    )


def split(market_value: Money, pack: Pack, age_years: Decimal, full_cycles: Decimal, policy: BatteryPolicy) -> Split:
    """A market value in car and pack. Raises INVALID (see `check`) and PRECONDITION CURRENCY_MISMATCH."""
    check(pack, policy, whole=True)
    if market_value.currency != policy.currency:
        raise precondition("CURRENCY_MISMATCH", f"Battery prices are in {policy.currency}, the value is in {market_value.currency}.")
    usual = value_pack(pack, typical_soh(policy, age_years, full_cycles), policy, car_value=market_value)
    contained = Money(min(max(usual.best.amount, Decimal(0)), market_value.amount), policy.currency).quantized()
    body = (market_value - contained).quantized()
    if pack.leased:
        nothing = Money(Decimal(0), policy.currency).quantized()
        return Split(body, nothing, body, (body - market_value).quantized(), usual.use, leased=True)
    actual = usual if pack.soh is None else value_pack(pack, pack.soh, policy, car_value=market_value)
    worth = contained if pack.soh is None else Money(max(actual.best.amount, -body.amount), policy.currency).quantized()
    total = (body + worth).quantized()
    return Split(body, worth, total, (total - market_value).quantized(), actual.use, leased=False)


def outlook(
    pack: Pack, age_years: Decimal, cycles_so_far: Decimal, cycles_per_year: Decimal, months: int, policy: BatteryPolicy
) -> list[MonthValue]:
    """Months 0..`months`: the pack's three values along the expected fade from its state today (the typical one where not measured).

    Loss ahead = calendar (difference of square roots) + cycles, with the policy's spread, and the error of today's estimate in quadrature.
    """
    check(pack, policy, whole=True)
    now = pack.soh if pack.soh is not None else typical_soh(policy, age_years, cycles_so_far)
    out: list[MonthValue] = []
    for month in range(months + 1):
        years = Decimal(month) / 12
        calendar = policy.fade_calendar * ((age_years + years).sqrt() - age_years.sqrt())
        loss = calendar + policy.fade_cycle * cycles_per_year * years
        half = (policy.soh_error**2 + (loss * policy.fade_spread) ** 2).sqrt()
        states = [max(now - loss + sign * half, Decimal(0)) for sign in (-1, 0, 1)]
        low, middle, high = (value_pack(pack, state, policy, years) for state in states)
        out.append(MonthValue(month, low, middle, high))
    return out
