"""From inputs to a priced quote. Legality first, then policy, then the rate that earns the hurdle.

The price never depends on anything but `QuoteInputs` and the policy bundle: no clock, no random state, no I/O.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_pricing.domain import eligibility
from carlien_pricing.domain.collateral import Recovery, ValuePath
from carlien_pricing.domain.cost import AnnualisedCost, annualised_cost, annualised_interest
from carlien_pricing.domain.credit import cumulative_pd, expected_credit_loss
from carlien_pricing.domain.legality import LoanFacts, default_interest_limit, rate_caps, upfront_interest
from carlien_pricing.domain.matrix import Axis, Cell, Grades, RiskMatrix, borrower_grade, collateral_grade, usage_grade
from carlien_pricing.domain.products import EconomicsRow, PolicyBundle, ProductPack
from carlien_pricing.domain.projection import battery_floor, projected_path
from carlien_pricing.domain.quote import (
    Fee,
    LossFigures,
    MatrixStep,
    PricedQuote,
    QuoteInputs,
    Reason,
    ReasonCode,
)
from carlien_pricing.domain.raroc import ROUGH, Deal, Economics, LoanShape, Profitability, RiskInputs
from carlien_pricing.domain.revisions import CURRENT, Revision
from carlien_pricing.domain.schedule import LoanTerms, RepaymentMethod, build_schedule, round_money
from carlien_pricing.domain.simulation import LossDistribution, simulate_losses

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
    revision: Revision

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

    @property
    def claims_ahead(self) -> Decimal:
        """What is paid before us. A claim that can't be counted takes the car whole: twice its value leaves nothing."""
        lien = self.inputs.lien
        return lien.prior_claims + (2 * self.p50 if lien.uncounted else 0)

    @property
    def limit_basis(self) -> Decimal:
        """What the law's loan-to-value limits are of: the value or, where it is stated and lower, the price of the car."""
        request = self.inputs.request
        return self.p50 if request.down_payment is None else min(self.p50, request.amount + request.down_payment)

    def recoverability(self, usage: int) -> float:
        """Probability of finding and taking the car at a usage grade. What telematics says counts as far as it can be trusted:
        without trust there is as much to go by as without a device, and where nobody could say, the worst is assumed.
        """
        table, telemetry = self.pack.recoverability, self.inputs.usage.telemetry
        if telemetry is None:
            return table[usage - 1]
        if not telemetry.known:
            return table[-1]
        untrusted = min(table[usage - 1], table[self.matrix.grade_rules.no_device_grade - 1])
        return untrusted + (table[usage - 1] - untrusted) * telemetry.trust

    def deal(self, risk: RiskInputs) -> Deal:
        return Deal(self.shape, risk, self.costs())

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
            self.recoverability(usage or self.grades.usage),
            row.unsecured_recovery,
            float(self.claims_ahead),
        )
        curve = cumulative_pd(pd_12m, row.seasoning, self.inputs.request.term_months)
        return RiskInputs(pd_12m, curve, self.path, recovery)


def prepare(inputs: QuoteInputs, policies: PolicyBundle, revision: Revision = CURRENT) -> Setting:
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
    notes.extend(eligibility.assumptions(inputs, matrix.grade_rules))

    usage = usage_grade(matrix.grade_rules, inputs.usage, car.commercial_use is not False, inputs.market)
    spread = float((p50 / p10).ln()) if p10 > 0 else float("inf")
    grades = Grades(
        borrower_grade(matrix.grade_rules, inputs.borrower.pd_12m),
        collateral_grade(matrix.grade_rules, spread, value.low_confidence, inputs.lien.first),
        usage,
    )
    horizon = request.term_months + economics.recovery_lag_months
    path = projected_path(inputs, economics, max(float(p50), 0.01), max(float(p10), 0.001), horizon)
    if floor := battery_floor(inputs, pack):
        path = replace(path, floor=floor * (1 - pack.battery_floor_decline) ** (np.arange(horizon + 1) / 12))
        notes.append(
            Reason(
                ReasonCode.BATTERY_FLOOR,
                f"A pack that still holds {car.battery_kwh:g} kWh brings {floor:.2f} whatever the car's market does.",
                pack.product,
                blocking=False,
            )
        )
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
        revision,
    )


def _total(fees: tuple[Fee, ...], *, upfront: bool) -> Decimal:
    return sum((fee.amount for fee in fees if fee.upfront is upfront), Decimal(0))


@dataclass(frozen=True, slots=True)
class Solution:
    """The rate that earns the hurdle (None: no rate does), and the loss it was found with."""

    rate: float | None
    risk: RiskInputs
    deal: Deal
    loss_factor: float
    losses: LossDistribution


def solve_rate(setting: Setting, risk: RiskInputs) -> Solution:
    """The rate for the hurdle with the joint simulation's loss.

    The closed form finds the neighbourhood; the simulation there says by how much dependence raises the loss; the rate is
    solved again with that factor. The factor moves so little with the rate that one round is enough.
    """
    deal = setting.deal(risk)
    first = deal.rate_for_hurdle(precision=ROUGH)
    at = first if first is not None else 1.0
    closed = deal.profitability(at).expected_loss
    exposure = deal.profitability(at).exposure
    losses = simulate_losses(risk.path, risk.recovery, risk.cumulative_pd, exposure, at, setting.economics.market_correlation)
    # Dependence can only hurt: sampling noise must not make the loan cheaper.
    factor = max(round(losses.expected_loss / closed, _FACTOR_DIGITS), 1.0) if closed > 1e-9 else 1.0
    rate = None if first is None else deal.rate_for_hurdle(factor, first)
    return Solution(rate, risk, deal, factor, losses)


def price(inputs: QuoteInputs, policies: PolicyBundle, revision: Revision = CURRENT) -> PricedQuote:
    """The quote: an offer, or a decline with every reason that blocks it."""
    setting = prepare(inputs, policies, revision)
    reasons = list(setting.notes)
    reasons.extend(eligibility.blocks(setting))
    solution = solve_rate(setting, setting.risk())
    if solution.rate is None:
        reasons.append(Reason(ReasonCode.HURDLE_NOT_REACHED, "No rate up to 500 % a year earns the hurdle."))
    return assemble(setting, solution, reasons)


def rate_alone(inputs: QuoteInputs, policies: PolicyBundle, revision: Revision = CURRENT) -> Decimal | None:
    """The nominal rate that `price` would find, at half the cost; None where no rate earns the hurdle."""
    setting = prepare(inputs, policies, revision)
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
    result = solution.deal.profitability(float(nominal), solution.loss_factor)
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
    return round(float((setting.principal + setting.claims_ahead) / value), _DIGITS)


def _rounded(cost: AnnualisedCost) -> AnnualisedCost:
    return AnnualisedCost(round(cost.monthly, 12), round(cost.irr, 12), round(cost.simple, 12))


def _steps(setting: Setting, nominal: Decimal, solution: Solution) -> tuple[MatrixStep, ...]:
    """The marginal effect of one step on each axis: the other cell's add-on, and the loss that goes with it."""
    steps = []
    for axis in Axis:
        moved = setting.grades.better(axis)
        if moved is None:
            if not setting.revision.steps_from_the_best:
                continue
            moved = setting.grades.worse(axis)
        risk = solution.risk
        if axis is Axis.USAGE:
            risk = setting.risk(usage=moved.usage)
        elif axis is Axis.BORROWER:
            risk = setting.risk(pd_12m=_pd_of_grade(setting, moved.borrower))
        # The collateral axis moves the add-on alone.
        unmoved = risk is solution.risk
        solved = solution.rate if unmoved else setting.deal(risk).rate_for_hurdle(solution.loss_factor, solution.rate, ROUGH)
        if solved is not None:
            cell = setting.matrix.cell(moved)
            steps.append(MatrixStep(axis, cell, nominal_rate(setting, solved, cell) - nominal))
    return tuple(steps)


def _pd_of_grade(setting: Setting, grade: int) -> float:
    """The PD of another grade that is nearest to this borrower's."""
    bounds, pd_12m = setting.matrix.grade_rules.borrower_pd, setting.inputs.borrower.pd_12m
    return min(bounds[grade - 1], pd_12m) if grade < setting.grades.borrower else max(bounds[grade - 2], pd_12m)


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
        cumulative_pd=tuple(np.round(solution.risk.cumulative_pd, _DIGITS).tolist()) if setting.revision.shows_pd_curve else (),
    )
