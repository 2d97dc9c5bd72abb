"""Whether the loan may and should be made at all, whatever it costs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from carlien_pricing.domain.legality import fee_breaches, ltv_limit, tenor_limit
from carlien_pricing.domain.matrix import GradeRules
from carlien_pricing.domain.quote import QuoteInputs, Reason, ReasonCode

if TYPE_CHECKING:
    from carlien_pricing.domain.engine import Setting


def assumptions(inputs: QuoteInputs, rules: GradeRules) -> list[Reason]:
    """What wasn't known, and what was assumed instead: never the kinder."""
    notes = []
    if not inputs.usage.known:
        notes.append(
            Reason(
                ReasonCode.TELEMATICS_UNKNOWN,
                "Telematics did not answer: the worst usage grade is assumed.",
                blocking=False,
            )
        )
    elif not inputs.usage.has_device:
        notes.append(Reason(ReasonCode.NO_DEVICE, "No device reports for this car.", blocking=False))
    if inputs.borrower.origin == "POLICY":
        notes.append(
            Reason(
                ReasonCode.BORROWER_RISK_ASSUMED,
                f"Nothing usable is known of the borrower: a default probability of {inputs.borrower.pd_12m:.2%} is assumed.",
                blocking=False,
            )
        )
    if inputs.car.commercial_use is None:
        notes.append(Reason(ReasonCode.USAGE_ASSUMED_COMMERCIAL, "The car's use is not known: commercial is assumed.", blocking=False))
    if inputs.car.energy is None:
        notes.append(
            Reason(
                ReasonCode.ENERGY_ASSUMED,
                "What drives the car is not known: the faster loss of value and the tighter limits are assumed.",
                blocking=False,
            )
        )
    if not inputs.forecast:
        notes.append(
            Reason(
                ReasonCode.VALUE_PATH_ASSUMED,
                "There is no forecast for this car: the policy's loss of value, with its margin, is assumed.",
                blocking=False,
            )
        )
    return [*notes, *_telemetry(inputs, rules), *_market(inputs, rules), *_usage_model(inputs), *_rank(inputs)]


def _note(code: ReasonCode, message: str, rule: str = "") -> Reason:
    return Reason(code, message, rule, blocking=False)


def _telemetry(inputs: QuoteInputs, rules: GradeRules) -> list[Reason]:
    telemetry = inputs.usage.telemetry
    if telemetry is None:
        return []
    if not telemetry.known:
        return [_note(ReasonCode.TRUST_UNKNOWN, "Telematics did not say how far the device can be trusted: not at all is assumed.")]
    if telemetry.trust < rules.low_trust_below:
        why = f" ({', '.join(telemetry.reasons)})" if telemetry.reasons else ""
        return [_note(ReasonCode.TRUST_LOW, f"The device's reports are trusted by {telemetry.trust:.0%}{why}.")]
    return []


def _market(inputs: QuoteInputs, rules: GradeRules) -> list[Reason]:
    market = inputs.market
    if market is None:
        return []
    if not market.known:
        return [_note(ReasonCode.MARKET_UNKNOWN, "No recent market index is held: where the market goes is not taken into account.")]
    if market.change < rules.falling_market_below:
        return [_note(ReasonCode.MARKET_FALLS, f"The market index changed by {market.change:.1%} in six months.", market.vintage)]
    return []


def _usage_model(inputs: QuoteInputs) -> list[Reason]:
    borrower = inputs.borrower
    if not borrower.usage_model:
        return []
    if borrower.usage_model_outdated:
        text = "The usage-to-credit model was validated more than a quarter ago: it is not used."
        return [_note(ReasonCode.USAGE_MODEL_OUTDATED, text, borrower.usage_model)]
    text = f"Usage moved the log-odds of default by {borrower.usage_log_odds:+.3f} (measured on a simulator, no evidence about drivers)."
    return [_note(ReasonCode.USAGE_MODEL_APPLIED, text, borrower.usage_model)]


def _rank(inputs: QuoteInputs) -> list[Reason]:
    lien, notes = inputs.lien, []
    if lien.rank_assumed:
        text = "The registry did not say how our lien would rank: every live registration counts as ahead."
        notes.append(_note(ReasonCode.RANK_ASSUMED, text))
    if lien.uncounted:
        text = f"{', '.join(lien.uncounted[:5])} secure claims without an amount in this currency: nothing is left behind them."
        notes.append(_note(ReasonCode.CLAIM_NOT_COUNTED, text))
    return notes


def blocks(setting: Setting) -> list[Reason]:
    """Every reason that declines the loan, law before house policy."""
    return [*_collateral(setting), *_limits(setting), *_cell(setting), *_product(setting)]


def _collateral(setting: Setting) -> list[Reason]:
    inputs, value = setting.inputs, setting.inputs.value
    found = []
    if value.abstained:
        found.append(Reason(ReasonCode.VALUE_ABSTAINED, f"No honest value can be given: {value.abstain_reason or 'abstained'}."))
    age_days = (inputs.request.quote_date - value.valuation_date).days
    if age_days > setting.economics.appraisal_validity_days:
        found.append(
            Reason(
                ReasonCode.VALUE_STALE,
                f"The appraisal is {age_days} days old; {setting.economics.appraisal_validity_days} are allowed.",
                setting.economics.id,
            )
        )
    lien = inputs.lien
    if not lien.first and (lien.rank == 0 or lien.rank > setting.pack.max_rank):
        numbers = ", ".join(lien.live_registrations[:5])
        required = "first rank is required" if setting.pack.max_rank == 1 else f"rank {setting.pack.max_rank} or better is required"
        found.append(
            Reason(
                ReasonCode.LIEN_AHEAD,
                f"Registered before: {numbers} (as of block {lien.as_of_block}); {required}.",
                lien.rule or "CIVIL_CODE_414",
            )
        )
    return found


def _limits(setting: Setting) -> list[Reason]:
    law, request = setting.policies.law, setting.inputs.request
    found = []
    value = setting.limit_basis
    claims = setting.principal + setting.claims_ahead
    if (limit := ltv_limit(law, setting.facts)) and claims > limit.value * value:
        found.append(
            Reason(
                ReasonCode.LTV_ABOVE_LIMIT,
                f"Loan to value {_ratio(claims, value)} exceeds {limit.value:.0%} ({limit.source}).",
                limit.rule,
            )
        )
    if (tenor := tenor_limit(law, setting.facts)) and request.term_months > tenor.value:
        found.append(
            Reason(
                ReasonCode.TERM_ABOVE_LIMIT,
                f"{request.term_months} months exceed {tenor.value} ({tenor.source}).",
                tenor.rule,
            )
        )
    kinds = [fee.kind for fee in request.fees]
    found.extend(
        Reason(ReasonCode.FEE_NOT_ALLOWED, breach.message, breach.rule)
        for breach in fee_breaches(law, request.lender, request.quote_date, setting.principal, setting.upfront_fees, kinds)
    )
    return found


def _cell(setting: Setting) -> list[Reason]:
    cell, version = setting.cell, setting.matrix.version
    place = f"cell {cell.grades.borrower}-{cell.grades.collateral}-{cell.grades.usage}"
    found = []
    if not cell.lend:
        found.append(Reason(ReasonCode.CELL_NOT_LENT, f"No loans are made in {place}.", version))
    claims = setting.principal + setting.claims_ahead
    if claims > cell.max_ltv * setting.p50:
        found.append(
            Reason(
                ReasonCode.LTV_ABOVE_CELL,
                f"Loan to value {_ratio(claims, setting.p50)} exceeds {cell.max_ltv:.0%} of {place}.",
                version,
            )
        )
    if setting.inputs.request.term_months > cell.tenor_cap_months:
        found.append(
            Reason(
                ReasonCode.TERM_ABOVE_CELL,
                f"{setting.inputs.request.term_months} months exceed {cell.tenor_cap_months} of {place}.",
                version,
            )
        )
    return found


def _product(setting: Setting) -> list[Reason]:
    request, pack = setting.inputs.request, setting.pack
    found = []
    if request.method not in pack.methods:
        found.append(Reason(ReasonCode.METHOD_NOT_IN_PRODUCT, f"{pack.product} does not offer {request.method}.", pack.product))
    floor = Decimal(repr(round(float(setting.path.percentile_10()[request.term_months]), 2)))
    allowed = pack.max_balloon_of_projected_p10 * floor
    if request.balloon > allowed:
        found.append(
            Reason(
                ReasonCode.BALLOON_ABOVE_VALUE,
                f"A balloon of {request.balloon} exceeds {allowed:.2f}, what the car is worth then with 90 % probability.",
                pack.product,
            )
        )
    return found


def _ratio(claims: Decimal, value: Decimal) -> str:
    return f"{claims / value:.1%}" if value > 0 else "without value"
