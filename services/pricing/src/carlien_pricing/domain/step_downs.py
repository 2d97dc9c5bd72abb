"""What would lower the rate later, promised with the offer: from the month after the condition has held, the lower rate applies.

The loan earns the hurdle at the lower rate by itself, so it earns more with dearer months before; and a lower rate keeps every cap.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from carlien_pricing.domain.engine import rate_alone
from carlien_pricing.domain.matrix import TelemetryFacts, UsageFacts
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import PricedQuote, QuoteInputs
from carlien_pricing.domain.revisions import CURRENT, Revision


@dataclass(frozen=True, slots=True)
class StepDown:
    """`condition` holds for `after_months` in a row: `nominal_rate` from then on."""

    condition: str
    after_months: int
    nominal_rate: Decimal
    description: str


def step_downs(inputs: QuoteInputs, quote: PricedQuote, policies: PolicyBundle, revision: Revision = CURRENT) -> tuple[StepDown, ...]:
    """For an offer only; empty where nothing the borrower can do would lower the rate."""
    economics = policies.economics_on(inputs.request.quote_date)
    months, trust = economics.step_down_after_months, economics.step_down_trust
    telemetry = TelemetryFacts(known=True, trust=trust) if trust < 1 else None
    reporting = replace(inputs, usage=UsageFacts(known=True, has_device=True, telemetry=telemetry))
    if not quote.offered or months >= inputs.request.term_months:
        return ()
    if quote.cell.grades.usage == 1 and _trusted(inputs.usage, trust):
        return ()
    # What is offered at a worse grade is offered at a better one: the matrix is monotone, and no rule looks at the grade.
    proven = rate_alone(reporting, policies, revision)
    if proven is None or proven >= quote.nominal_rate:
        return ()
    proof = f" and with {trust:.0%} trust in what it reports" if trust < 1 else ""
    text = f"A device that reports daily without an alarm{proof} for {months} months: {proven:.2%} from then on."
    return (StepDown("DEVICE_REPORTS", months, proven, text),)


def _trusted(usage: UsageFacts, trust: float) -> bool:
    return usage.telemetry is None or (usage.telemetry.known and usage.telemetry.trust >= trust)
