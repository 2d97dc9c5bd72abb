"""From inputs to a priced quote. Legality first, then policy, then the rate that earns the hurdle.

The price never depends on anything but `QuoteInputs` and the policy bundle: no clock, no random state, no I/O.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_pricing.domain import eligibility
from carlien_pricing.domain.collateral import Recovery, ValuePath, forecast_path, value_path
from carlien_pricing.domain.cost import AnnualisedCost, annualised_cost, annualised_interest
from carlien_pricing.domain.credit import cumulative_pd, expected_credit_loss
from carlien_pricing.domain.legality import LoanFacts, default_interest_limit, rate_caps, upfront_interest
from carlien_pricing.domain.matrix import Axis, Cell, Grades, RiskMatrix, borrower_grade, collateral_grade, usage_grade
from carlien_pricing.domain.policy import Energy
from carlien_pricing.domain.products import EconomicsRow, PolicyBundle, ProductPack
from carlien_pricing.domain.quote import (
    Fee,
    LossFigures,
    MatrixStep,
    PricedQuote,
    QuoteInputs,
    Reason,
    ReasonCode,
)
from carlien_pricing.domain.raroc import ROUGH, Economics, LoanShape, Profitability, RiskInputs, profitability, rate_for_hurdle
from carlien_pricing.domain.schedule import LoanTerms, RepaymentMethod, build_schedule, round_money
from carlien_pricing.domain.simulation import LossDistribution, simulate_losses

ENGINE_VERSION = "1"
"""Rises with every change that can change a price; a stored quote names the one it was made by."""

HIGHEST_RATE = 5.0
"""Shown where no rate earns the hurdle."""

TICK = Decimal("0.0001")
"""Nominal rates are whole basis points, rounded up: the hurdle holds after rounding."""

# Figures are rounded before they are stored, so that a last-bit difference between processors doesn't show.
_DIGITS = 9
# The simulation computes in single precision: what it says is rounded before anything is built on it.
_FACTOR_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """A request with everything the policies say about it, before any rate."""

    inputs: QuoteInputs
    policies: PolicyBundle
    pack: ProductPack
    economics: EconomicsRow
    matrix: RiskMatrix
    grades: Grades
    cell: Cell
    facts: LoanFacts
    principal: Decimal
    upfront_fees: Decimal
    monthly_fee: Decimal
    income_upfront: Decimal
    income_monthly: Decimal
    p50: Decimal
    p10: Decimal
    path: ValuePath
    notes: tuple[Reason, ...]

    @property
    def shape(self) -> LoanShape:
        request = self.inputs.request
        return LoanShape(
            float(self.principal),
            request.term_months,
            request.method,
            float(request.balloon),
            request.grace_months,
            float(self.income_upfront),
            float(self.income_monthly),
            tuple((month, float(share)) for month, share in self.curtailments),
        )

    @property
    def curtailments(self) -> tuple[tuple[int, Decimal], ...]:
        """What the product pack makes an interest-only loan repay on the way."""
        request = self.inputs.request
        if request.method is not RepaymentMethod.INTEREST_ONLY:
            return ()
        return tuple((part.month, part.share) for part in self.pack.curtailment if part.month < request.term_months)

    def costs(self) -> Economics:
        row, principal = self.economics, float(self.principal)
        return Economics(
            row.funding_rate(self.inputs.request.term_months),
            row.opex_upfront_share * principal,
            row.opex_monthly_share * principal,
            row.tax_rate,
            row.hurdle,
            row.capital_floor,
        )

    def risk(self, usage: int | None = None, pd_12m: float | None = None) -> RiskInputs:
        row = self.economics
        pd_12m = self.inputs.borrower.pd_12m if pd_12m is None else pd_12m
        forced = self.inputs.value.forced_sale_p50
        ratio = row.forced_sale_ratio
        if forced is not None and self.inputs.value.p50 > 0:
            ratio = min(float(forced / self.inputs.value.p50), 1.0)
        recovery = Recovery(
            row.recovery_lag_months,
            row.liquidation_cost,
            ratio,
            self.pack.recoverability[(usage or self.grades.usage) - 1],
            row.unsecured_recovery,
            float(self.inputs.lien.prior_claims),
        )
        curve = cumulative_pd(pd_12m, row.seasoning, self.inputs.request.term_months)
        return RiskInputs(pd_12m, curve, self.path, recovery)


def prepare(inputs: QuoteInputs, policies: PolicyBundle) -> Setting:
    """Looks everything up. INVALID for terms that are no loan, and for dates the tables don't cover."""
    request, car, value = inputs.request, inputs.car, inputs.value
    on = request.quote_date
    pack, economics, matrix = policies.packs[request.product], policies.economics_on(on), policies.matrix_on(on)
    notes: list[Reason] = []

    withheld = upfront_interest(policies.law, on, [(fee.kind, fee.amount) for fee in request.fees if fee.upfront])
    principal = request.amount
    fees = request.fees
    if withheld is not None:
        if withheld.amount >= request.amount:
            raise invalid("fees", "NET_PROCEEDS_NOT_POSITIVE", "interest withheld up front leaves no loan")
        principal -= withheld.amount
        kinds = next(row for row in policies.law.upfront_interest if row.id == withheld.rule).fee_kinds
        fees = tuple(fee for fee in fees if not (fee.upfront and fee.kind.upper() in kinds))
        notes.append(
            Reason(
                ReasonCode.UPFRONT_INTEREST_DEDUCTED,
                f"Interest of {withheld.amount} withheld up front is not principal: the loan is {principal}.",
                withheld.rule,
                blocking=False,
            )
        )
    # Fees for others (GPS, guarantee, insurance) cost the borrower but earn the lender nothing.
    own = tuple(fee for fee in fees if fee.kind.upper() in economics.income_fee_kinds)
    p50, p10 = value.p50, value.p10
    if car.battery_leased and not value.leased_battery_excluded:
        keep = 1 - pack.battery_value_share
        p50, p10 = round_money(p50 * keep, request.minor_unit), round_money(p10 * keep, request.minor_unit)
        notes.append(Reason(ReasonCode.LEASED_BATTERY_EXCLUDED, "The leased battery is not collateral.", blocking=False))
    notes.extend(eligibility.assumptions(inputs))

    usage = usage_grade(matrix.grade_rules, inputs.usage, car.commercial_use is not False)
    spread = float((p50 / p10).ln()) if p10 > 0 else float("inf")
    grades = Grades(
        borrower_grade(matrix.grade_rules, inputs.borrower.pd_12m),
        collateral_grade(matrix.grade_rules, spread, value.low_confidence, not inputs.lien.live_registrations),
        usage,
    )
    horizon = request.term_months + economics.recovery_lag_months
    path = _path(inputs, economics, max(float(p50), 0.01), max(float(p10), 0.001), horizon)
    return Setting(
        inputs,
        policies,
        pack,
        economics,
        matrix,
        grades,
        matrix.cell(grades),
        LoanFacts(on, request.lender, request.product, request.purpose, car.energy, car.age),
        principal,
        _total(fees, upfront=True),
        _total(fees, upfront=False),
        _total(own, upfront=True),
        _total(own, upfront=False),
        p50,
        p10,
        path,
        tuple(notes),
    )


def _path(inputs: QuoteInputs, economics: EconomicsRow, p50: float, p10: float, horizon: int) -> ValuePath:
    """Along valuation's forecast; without one by the policy, with its margin."""
    # Not knowing what drives the car, its value is assumed to fall like the faster of the two.
    parameters = economics.value_paths[inputs.car.energy or Energy.NEV]
    if inputs.forecast:
        ahead, middle, low = (
            np.array([float(value) for value in column], dtype=np.float64)
            for column in zip(*((point.month, point.p50, point.p10) for point in inputs.forecast), strict=True)
        )
        return forecast_path(p50, p10, ahead, middle, low, parameters.market_volatility, parameters.annual_decline, horizon)
    decline = parameters.annual_decline + economics.unforecast_decline_margin
    return value_path(p50, p10, decline, parameters.market_volatility, parameters.own_volatility, horizon)


def _total(fees: tuple[Fee, ...], *, upfront: bool) -> Decimal:
    return sum((fee.amount for fee in fees if fee.upfront is upfront), Decimal(0))


def simulate(setting: Setting, risk: RiskInputs, rate: float) -> LossDistribution:
    """The joint loss distribution at this nominal rate."""
    found = profitability(setting.shape, risk, setting.costs(), rate)
    return simulate_losses(
        risk.path,
        risk.recovery,
        risk.cumulative_pd,
        found.exposure,
        rate,
        setting.economics.market_correlation,
    )


@dataclass(frozen=True, slots=True)
class Solution:
    """The rate that earns the hurdle (None: no rate does), and the loss it was found with."""

    rate: float | None
    risk: RiskInputs
    loss_factor: float
    losses: LossDistribution


def solve_rate(setting: Setting, risk: RiskInputs) -> Solution:
    """The rate for the hurdle with the joint simulation's loss.

    The closed form finds the neighbourhood; the simulation there says by how much dependence raises the loss; the rate is
    solved again with that factor. The factor moves so little with the rate that one round is enough.
    """
    shape, costs = setting.shape, setting.costs()
    first = rate_for_hurdle(shape, risk, costs, precision=ROUGH)
    at = first if first is not None else 1.0
    closed = profitability(shape, risk, costs, at).expected_loss
    losses = simulate(setting, risk, at)
    # Dependence can only hurt: sampling noise must not make the loan cheaper.
    factor = max(round(losses.expected_loss / closed, _FACTOR_DIGITS), 1.0) if closed > 1e-9 else 1.0
    rate = None if first is None else rate_for_hurdle(shape, risk, costs, factor, first)
    return Solution(rate, risk, factor, losses)


def price(inputs: QuoteInputs, policies: PolicyBundle) -> PricedQuote:
    """The quote: an offer, or a decline with every reason that blocks it."""
    setting = prepare(inputs, policies)
    reasons = list(setting.notes)
    reasons.extend(eligibility.blocks(setting))
    solution = solve_rate(setting, setting.risk())
    if solution.rate is None:
        reasons.append(Reason(ReasonCode.HURDLE_NOT_REACHED, "No rate up to 500 % a year earns the hurdle."))
    return assemble(setting, solution, reasons)


def rate_alone(inputs: QuoteInputs, policies: PolicyBundle) -> Decimal | None:
    """The nominal rate that `price` would find, at half the cost; None where no rate earns the hurdle."""
    setting = prepare(inputs, policies)
    solved = solve_rate(setting, setting.risk()).rate
    return None if solved is None else nominal_rate(setting, solved, setting.cell)


def nominal_rate(setting: Setting, solved: float, cell: Cell) -> Decimal:
    """Solved rate plus the cell's add-on, at least the policy's minimum, up to the next basis point."""
    rate = Decimal(repr(solved)) + Decimal(cell.price_add_on_bp) / 10_000
    return max(rate, setting.economics.min_nominal_rate).quantize(TICK, rounding=ROUND_CEILING)


def terms_at(setting: Setting, nominal: Decimal) -> LoanTerms:
    """The request at this rate, as exact terms."""
    request = setting.inputs.request
    return LoanTerms(
        setting.principal,
        request.term_months,
        nominal,
        request.method,
        request.quote_date,
        request.minor_unit,
        request.balloon,
        request.grace_months,
        request.day_count,
        setting.curtailments,
    )


def assemble(setting: Setting, solution: Solution, reasons: list[Reason]) -> PricedQuote:
    """Schedule, cost, caps and figures at the solved rate; adds RATE_ABOVE_CAP where a cap is broken."""
    nominal = nominal_rate(setting, HIGHEST_RATE if solution.rate is None else solution.rate, setting.cell)
    request, law = setting.inputs.request, setting.policies.law
    schedule = build_schedule(terms_at(setting, nominal), setting.monthly_fee)
    cost = annualised_cost(setting.principal, schedule, setting.upfront_fees)
    caps = rate_caps(law, request.lender, request.quote_date, cost)
    reasons.extend(
        Reason(
            ReasonCode.RATE_ABOVE_CAP,
            f"The loan needs {cost.irr:.4%} a year all-in; {cap.explanation}",
            cap.rule,
        )
        for cap in caps
        if not cap.kept
    )
    default_limit = default_interest_limit(law, request.lender, request.quote_date, nominal)
    result = profitability(setting.shape, solution.risk, setting.costs(), float(nominal), solution.loss_factor)
    return PricedQuote(
        offered=not any(reason.blocking for reason in reasons),
        principal=setting.principal,
        nominal_rate=nominal,
        cost=_rounded(cost),
        cost_without_fees=_rounded(annualised_interest(setting.principal, schedule)),
        ltv_p50=ltv(setting, setting.p50),
        ltv_p10=ltv(setting, setting.p10),
        caps=tuple(caps),
        default_interest_limit=default_limit.value,
        default_interest_rule=default_limit.rule,
        cell=setting.cell,
        steps=_steps(setting, nominal, solution),
        loss=_loss_figures(setting, solution, result, nominal),
        raroc=round(result.raroc, _DIGITS),
        hurdle=setting.economics.hurdle,
        schedule=schedule,
        reasons=tuple(reasons),
        matrix_version=setting.matrix.version,
        economics_id=setting.economics.id,
        policies_version=setting.policies.version,
    )


def ltv(setting: Setting, value: Decimal) -> float:
    """Principal and all claims that rank ahead, over the value."""
    if value <= 0:
        return 9.99
    return round(float((setting.principal + setting.inputs.lien.prior_claims) / value), _DIGITS)


def _rounded(cost: AnnualisedCost) -> AnnualisedCost:
    return AnnualisedCost(round(cost.monthly, 12), round(cost.irr, 12), round(cost.simple, 12))


def _steps(setting: Setting, nominal: Decimal, solution: Solution) -> tuple[MatrixStep, ...]:
    """The marginal effect of one step on each axis: the other cell's add-on, and the loss that goes with it."""
    steps = []
    costs, shape = setting.costs(), setting.shape
    for axis in Axis:
        better = setting.grades.better(axis)
        if better is None:
            continue
        moved = solution.risk
        if axis is Axis.USAGE:
            moved = setting.risk(usage=better.usage)
        elif axis is Axis.BORROWER:
            bound = setting.matrix.grade_rules.borrower_pd[better.borrower - 1]
            moved = setting.risk(pd_12m=min(bound, moved.pd_12m))
        # The collateral axis moves the add-on alone.
        unmoved = moved is solution.risk
        solved = solution.rate if unmoved else rate_for_hurdle(shape, moved, costs, solution.loss_factor, solution.rate, ROUGH)
        if solved is not None:
            cell = setting.matrix.cell(better)
            steps.append(MatrixStep(axis, cell, nominal_rate(setting, solved, cell) - nominal))
    return tuple(steps)


def _loss_figures(setting: Setting, solution: Solution, result: Profitability, nominal: Decimal) -> LossFigures:
    unit = setting.inputs.request.minor_unit
    allowance = expected_credit_loss(
        solution.risk.marginal_pd * solution.loss_factor, result.lgd, result.exposure, float(nominal) / 12, stage=1
    )

    def money(amount: float) -> Decimal:
        return round_money(Decimal(repr(round(amount, 6))), unit)

    return LossFigures(
        expected_loss=money(result.expected_loss),
        percentile_99=money(solution.losses.percentile_99),
        ecl_12m=money(allowance.twelve_month),
        ecl_lifetime=money(allowance.lifetime),
        ifrs9_stage=allowance.stage,
        lgd=round(float(result.lgd.mean()), _DIGITS),
        shortfall_probability=tuple(np.round(solution.losses.shortfall_probability, 6).tolist()),
        seed=solution.losses.seed,
    )
