"""The 3-D risk matrix: borrower x collateral x usage and market. Versioned data; monotone along every axis, checked at load."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import product
from typing import ClassVar

BORROWER_GRADES = 7
COLLATERAL_GRADES = 5
USAGE_GRADES = 5


class Axis(StrEnum):
    """The three axes, each from 1 (best)."""

    BORROWER = "BORROWER"
    COLLATERAL = "COLLATERAL"
    USAGE = "USAGE"


@dataclass(frozen=True, slots=True, order=True)
class Grades:
    """Where a loan stands."""

    borrower: int
    collateral: int
    usage: int

    def better(self, axis: Axis) -> "Grades | None":
        """One step better along the axis; None at its best."""
        match axis:
            case Axis.BORROWER:
                moved = Grades(self.borrower - 1, self.collateral, self.usage)
            case Axis.COLLATERAL:
                moved = Grades(self.borrower, self.collateral - 1, self.usage)
            case Axis.USAGE:
                moved = Grades(self.borrower, self.collateral, self.usage - 1)
        return moved if min(moved.borrower, moved.collateral, moved.usage) >= 1 else None

    def worse(self, axis: Axis) -> "Grades":
        """One step worse along the axis, on which it is not at its worst."""
        match axis:
            case Axis.BORROWER:
                return Grades(self.borrower + 1, self.collateral, self.usage)
            case Axis.COLLATERAL:
                return Grades(self.borrower, self.collateral + 1, self.usage)
            case Axis.USAGE:
                return Grades(self.borrower, self.collateral, self.usage + 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """What holds for loans with these grades."""

    grades: Grades
    lend: bool
    max_ltv: Decimal
    price_add_on_bp: int
    tenor_cap_months: int
    monitoring_tier: int

    def at_least_as_strict_as(self, other: "Cell") -> bool:
        """True where no term of this cell is kinder than the other's."""
        return (
            self.lend <= other.lend
            and self.max_ltv <= other.max_ltv
            and self.price_add_on_bp >= other.price_add_on_bp
            and self.tenor_cap_months <= other.tenor_cap_months
            and self.monitoring_tier >= other.monitoring_tier
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRules:
    """Upper bounds (inclusive) of grades 1, 2, ...; beyond the last bound comes the worst grade."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    borrower_pd: tuple[float, ...]
    collateral_spread: tuple[float, ...]
    """ln(P50 / P10) of the appraisal."""
    low_confidence_steps: int
    no_device_grade: int
    silent_after_hours: float
    """A device that reported later than this is trusted (grade 1)..."""
    lost_after_hours: float
    """...one step less up to here, two beyond."""
    commercial_use_steps: int
    alarm_steps: int
    low_trust_below: float = 0.0
    """Telemetry that is trusted less than this..."""
    low_trust_steps: int = 0
    """...costs so many steps; so does telemetry of which trust could not be asked."""
    high_risk_from: int = 101
    """A usage risk (0 to 100) from this score on..."""
    high_risk_steps: int = 0
    falling_market_below: float = -1.0
    """A market whose index changed by less than this in six months (as a fraction)..."""
    falling_market_steps: int = 0
    unknown_market_steps: int = 0


@dataclass(frozen=True, slots=True)
class RiskMatrix:
    """A complete matrix and the rules that lead to its grades."""

    version: str
    effective_from: date
    grade_rules: GradeRules
    cells: dict[Grades, Cell]

    def __iter__(self) -> Iterator[Cell]:
        return (self.cells[grades] for grades in sorted(self.cells))

    def cell(self, grades: Grades) -> Cell:
        return self.cells[grades]


def check_matrix(matrix: RiskMatrix) -> None:
    """ValueError naming the first cell that is missing, out of range, or kinder than a better one."""
    rules = matrix.grade_rules
    if len(rules.borrower_pd) != BORROWER_GRADES - 1 or len(rules.collateral_spread) != COLLATERAL_GRADES - 1:
        raise ValueError("the matrix needs 6 PD bounds and 4 spread bounds")
    for bounds in (rules.borrower_pd, rules.collateral_spread):
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("grade bounds must rise")
    if not 1 <= rules.no_device_grade <= USAGE_GRADES:
        raise ValueError("no_device_grade must be a usage grade")
    if min(rules.low_trust_steps, rules.high_risk_steps, rules.falling_market_steps, rules.unknown_market_steps) < 0:
        raise ValueError("steps must not be negative: what is worse must not be graded better")
    expected = {
        Grades(*point) for point in product(range(1, BORROWER_GRADES + 1), range(1, COLLATERAL_GRADES + 1), range(1, USAGE_GRADES + 1))
    }
    if missing := expected - set(matrix.cells):
        raise ValueError(f"cell {min(missing)} is missing")
    if extra := set(matrix.cells) - expected:
        raise ValueError(f"cell {min(extra)} is outside the matrix")
    for cell in matrix:
        if not 0 <= cell.max_ltv <= 1 or cell.price_add_on_bp < 0 or not 1 <= cell.monitoring_tier <= 3:
            raise ValueError(f"cell {cell.grades} has a term out of range")
        for axis in Axis:
            better = cell.grades.better(axis)
            if better is not None and not cell.at_least_as_strict_as(matrix.cell(better)):
                raise ValueError(f"cell {cell.grades} is kinder than {better}, one step better on {axis}")


def _grade(value: float, bounds: Sequence[float]) -> int:
    return 1 + sum(value > bound for bound in bounds)


def borrower_grade(rules: GradeRules, pd_12m: float) -> int:
    """1..7 from the 12-month probability of default."""
    return _grade(pd_12m, rules.borrower_pd)


def collateral_grade(rules: GradeRules, spread: float, low_confidence: bool, first_rank: bool) -> int:
    """1..5 from ln(P50/P10); behind another lien always 5."""
    if not first_rank:
        return COLLATERAL_GRADES
    grade = _grade(spread, rules.collateral_spread) + (rules.low_confidence_steps if low_confidence else 0)
    return min(grade, COLLATERAL_GRADES)


@dataclass(frozen=True, slots=True)
class TelemetryFacts:
    """What telematics' profile says of the car. `known` false: it could not be asked, and nothing is trusted."""

    known: bool
    trust: float = 0.0
    """How far the telemetry can be relied on, 0 none to 1 full."""
    risk_score: int = 0
    """Usage risk, 0 gentle to 100."""
    reasons: tuple[str, ...] = ()
    """Why the trust is not higher."""


@dataclass(frozen=True, slots=True)
class UsageFacts:
    """What telematics says. `known` false: it could not be asked, and the worst is assumed."""

    known: bool
    has_device: bool = False
    hours_silent: float = 0.0
    alarm: bool = False
    telemetry: TelemetryFacts | None = None
    """None: there is no device to trust, or nobody asked (quotes of before)."""


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """The market index: its change in six months as a fraction. `known` false: no index that is recent enough is held."""

    known: bool
    change: float = 0.0
    vintage: str = ""


def usage_grade(rules: GradeRules, facts: UsageFacts, commercial_use: bool, market: MarketFacts | None = None) -> int:
    """1..5. Not knowing how the car is used is never better than knowing: no answer is the worst grade."""
    if not facts.known:
        return USAGE_GRADES
    if not facts.has_device:
        base = rules.no_device_grade
    else:
        base = 1 + (facts.hours_silent > rules.silent_after_hours) + (facts.hours_silent > rules.lost_after_hours)
        base += rules.alarm_steps if facts.alarm else 0
        base += _telemetry_steps(rules, facts.telemetry)
    base += rules.commercial_use_steps if commercial_use else 0
    return min(base + _market_steps(rules, market), USAGE_GRADES)


def _telemetry_steps(rules: GradeRules, telemetry: TelemetryFacts | None) -> int:
    if telemetry is None:
        return 0
    if not telemetry.known:
        return rules.low_trust_steps + rules.high_risk_steps
    distrusted = telemetry.trust < rules.low_trust_below
    risky = telemetry.risk_score >= rules.high_risk_from
    return rules.low_trust_steps * distrusted + rules.high_risk_steps * risky


def _market_steps(rules: GradeRules, market: MarketFacts | None) -> int:
    if market is None:
        return 0
    if not market.known:
        return rules.unknown_market_steps
    return rules.falling_market_steps if market.change < rules.falling_market_below else 0
