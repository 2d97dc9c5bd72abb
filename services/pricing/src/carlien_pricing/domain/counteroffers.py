"""What the borrower could have instead: the Pareto set over amount, term, rate, fees and device.

Amounts and terms are solved for, not tried on a grid: the largest amount within every limit, then within the cap; the term
with the lowest rate. Each point is priced in full before it is offered, so it is lawful and earns the hurdle like any quote.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

from carlien_pricing.domain.engine import Setting, nominal_rate, prepare, price
from carlien_pricing.domain.legality import ltv_limit, tenor_limit
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import LoanRequest, PricedQuote, QuoteInputs, ReasonCode
from carlien_pricing.domain.revisions import CURRENT, Revision

# Nothing the borrower can change about the request helps against these.
_BEYOND_THE_REQUEST = {ReasonCode.VALUE_ABSTAINED, ReasonCode.VALUE_STALE, ReasonCode.LIEN_AHEAD}
_MIN_TERM = 3
_SMALLEST_SHARE = Decimal("0.2")  # of the amount asked for; less is another loan


@dataclass(frozen=True, slots=True)
class Counteroffer:
    """A loan that would be offered. `payment` = first instalment with its fees."""

    amount: Decimal
    term_months: int
    nominal_rate: Decimal
    annual_rate_irr: float
    payment: Decimal
    needs_device: bool
    without_fees: bool
    description: str

    def dominates(self, other: "Counteroffer", *, longer_is_better: bool = False) -> bool:
        """At least as good in every respect, and not the same offer.

        A longer term means lower payments and more interest in all: neither is better, so only offers of one term compare. (Engine 1
        took the longer one for better.)
        """
        same_or_longer = self.term_months >= other.term_months if longer_is_better else self.term_months == other.term_months
        return (
            same_or_longer
            and self.amount >= other.amount
            and self.annual_rate_irr <= other.annual_rate_irr
            and self.needs_device <= other.needs_device
            and self.without_fees <= other.without_fees
            and self != other
        )


def counteroffers(
    inputs: QuoteInputs, quote: PricedQuote, policies: PolicyBundle, revision: Revision = CURRENT
) -> tuple[Counteroffer, ...]:
    """The Pareto set, in falling order of amount, then rising rate; without what the quote itself offers or beats."""
    if any(reason.code in _BEYOND_THE_REQUEST for reason in quote.reasons if reason.blocking):
        return ()
    points: dict[tuple[Decimal, int, bool, bool], Counteroffer] = {}
    asked = inputs.request
    for without_fees in (False, True) if asked.fees else (False,):
        for needs_device in (False, True) if _device_helps(inputs) else (False,):
            for variant in _solved(_variant(inputs, without_fees, needs_device), policies, revision):
                request = variant.request
                key = (request.amount, request.term_months, needs_device, without_fees)
                if key in points or (quote.offered and variant == inputs):
                    continue
                priced = price(variant, policies, revision)
                if priced.offered:
                    points[key] = _offer(inputs, variant, priced, needs_device, without_fees)
    found, longer = list(points.values()), not revision.offers_longer_terms
    if quote.offered:
        itself = _offer(inputs, inputs, quote, needs_device=False, without_fees=False)
        found = [offer for offer in found if not itself.dominates(offer, longer_is_better=longer)]
    pareto = [offer for offer in found if not any(other.dominates(offer, longer_is_better=longer) for other in found)]
    return tuple(sorted(pareto, key=lambda offer: (-offer.amount, offer.annual_rate_irr, offer.term_months)))


def _device_helps(inputs: QuoteInputs) -> bool:
    return inputs.usage.known and not inputs.usage.has_device


def _variant(inputs: QuoteInputs, without_fees: bool, needs_device: bool) -> QuoteInputs:
    request = replace(inputs.request, fees=()) if without_fees else inputs.request
    usage = UsageFacts(known=True, has_device=True) if needs_device else inputs.usage
    return replace(inputs, request=request, usage=usage)


def _solved(inputs: QuoteInputs, policies: PolicyBundle, revision: Revision) -> list[QuoteInputs]:
    """The largest loan within every limit; the same with the term of the lowest rate and with the longest; and where the cap stands
    in the way, the largest amount below it."""
    setting = prepare(inputs, policies)
    if not setting.cell.lend:
        return []
    request = inputs.request
    method = request.method if request.method in setting.pack.methods else setting.pack.methods[0]
    term = min(request.term_months, _longest_term(setting))
    amount = min(request.amount, _largest_amount(setting))
    grace = min(request.grace_months, term - 1)
    balloon = min(request.balloon, amount)
    changed = replace(request, method=method, term_months=term, balloon=balloon, grace_months=grace)
    base = replace(inputs, request=_with_amount(changed, amount))
    if amount < _SMALLEST_SHARE * request.amount:
        return []
    candidates = [base]
    cheapest = _cheapest_term(base, policies)
    if cheapest != term:
        candidates.append(_with_term(base, cheapest))
    if revision.offers_longer_terms and _longest_term(setting) > term:
        candidates.append(_with_term(base, _longest_term(setting)))
    if not _within_caps(base, policies):
        candidates = [found for variant in candidates if (found := _largest_within_caps(variant, policies)) is not None]
    return candidates


def _longest_term(setting: Setting) -> int:
    limit = tenor_limit(setting.policies.law, setting.facts)
    return min(setting.cell.tenor_cap_months, int(limit.value) if limit else setting.cell.tenor_cap_months)


def _largest_amount(setting: Setting) -> Decimal:
    limit = ltv_limit(setting.policies.law, setting.facts)
    ratio = min(setting.cell.max_ltv, limit.value if limit else setting.cell.max_ltv)
    limit_ratio = limit.value if limit else Decimal(1)
    most = min(ratio * setting.p50, limit_ratio * setting.limit_basis)
    return _round_down(most - setting.claims_ahead, setting.inputs.request.minor_unit)


def _round_down(amount: Decimal, minor_unit: Decimal) -> Decimal:
    """To whole hundreds of the currency; small loans to the minor unit."""
    step = Decimal(100) if amount >= 1000 else minor_unit
    return (amount / step).to_integral_value(rounding=ROUND_FLOOR) * step


def _with_amount(request: LoanRequest, amount: Decimal) -> LoanRequest:
    """Of the same car: what is not lent is paid down."""
    paid = request.down_payment
    return replace(request, amount=amount, down_payment=None if paid is None else paid + request.amount - amount)


def _with_term(inputs: QuoteInputs, term: int) -> QuoteInputs:
    request = inputs.request
    return replace(inputs, request=replace(request, term_months=term, grace_months=min(request.grace_months, term - 1)))


def _closed_form_rate(inputs: QuoteInputs, policies: PolicyBundle) -> float:
    setting = prepare(inputs, policies)
    solved = setting.deal(setting.risk()).rate_for_hurdle()
    return float(nominal_rate(setting, solved, setting.cell)) if solved is not None else float("inf")


def _cheapest_term(inputs: QuoteInputs, policies: PolicyBundle) -> int:
    """Term with the lowest rate up to the one given: ternary search, the rate being cost spread (falling) plus risk (rising)."""
    low, high = min(_MIN_TERM, inputs.request.term_months), inputs.request.term_months
    while high - low > 2:
        left, right = low + (high - low) // 3, high - (high - low) // 3
        if _closed_form_rate(_with_term(inputs, left), policies) <= _closed_form_rate(_with_term(inputs, right), policies):
            high = right
        else:
            low = left
    return min(range(low, high + 1), key=lambda term: (_closed_form_rate(_with_term(inputs, term), policies), -term))


def _within_caps(inputs: QuoteInputs, policies: PolicyBundle) -> bool:
    return not any(reason.code is ReasonCode.RATE_ABOVE_CAP for reason in price(inputs, policies).reasons)


def _largest_within_caps(inputs: QuoteInputs, policies: PolicyBundle) -> QuoteInputs | None:
    """Largest amount whose all-in cost keeps the caps: less is lent on the same car, so less is lost; by bisection."""

    def at(amount: Decimal) -> QuoteInputs:
        request = _with_amount(inputs.request, amount)
        return replace(inputs, request=replace(request, balloon=min(request.balloon, amount)))

    unit = inputs.request.minor_unit
    high = inputs.request.amount
    low = _round_down(high * _SMALLEST_SHARE, unit)
    if low <= 0 or not _within_caps(at(low), policies):
        return None
    while high - low > max(high / 50, unit):
        middle = _round_down((low + high) / 2, unit)
        if middle <= low:
            break
        if _within_caps(at(middle), policies):
            low = middle
        else:
            high = middle
    return at(low)


def _offer(asked: QuoteInputs, variant: QuoteInputs, priced: PricedQuote, needs_device: bool, without_fees: bool) -> Counteroffer:
    request, wanted = variant.request, asked.request
    parts = []
    if request.amount != wanted.amount:
        parts.append(f"{request.amount} instead of {wanted.amount}")
    if request.term_months != wanted.term_months:
        parts.append(f"{request.term_months} months instead of {wanted.term_months}")
    if request.method != wanted.method:
        parts.append(f"{request.method} instead of {wanted.method}")
    if needs_device:
        parts.append("with a device that reports")
    if without_fees:
        parts.append("without the fees")
    return Counteroffer(
        request.amount,
        request.term_months,
        priced.nominal_rate,
        priced.cost.irr,
        priced.schedule[0].total,
        needs_device,
        without_fees,
        ", ".join(parts) or "as asked",
    )
