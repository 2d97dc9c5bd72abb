"""What would lower the rate later, promised with the offer: from the month after the condition has held, the lower rate applies.

The loan earns the hurdle at the lower rate by itself, so it earns more with dearer months before; and a lower rate keeps every cap.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from carlien_pricing.domain.engine import rate_alone
from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import PricedQuote, QuoteInputs


@dataclass(frozen=True, slots=True)
class StepDown:
    """`condition` holds for `after_months` in a row: `nominal_rate` from then on."""

    condition: str
    after_months: int
    nominal_rate: Decimal
    description: str


def step_downs(inputs: QuoteInputs, quote: PricedQuote, policies: PolicyBundle) -> tuple[StepDown, ...]:
    """For an offer only; empty where nothing the borrower can do would lower the rate."""
    months = policies.economics_on(inputs.request.quote_date).step_down_after_months
    reporting = replace(inputs, usage=UsageFacts(known=True, has_device=True))
    if not quote.offered or quote.cell.grades.usage == 1 or months >= inputs.request.term_months:
        return ()
    # What is offered at a worse grade is offered at a better one: the matrix is monotone, and no rule looks at the grade.
    proven = rate_alone(reporting, policies)
    if proven is None or proven >= quote.nominal_rate:
        return ()
    text = f"A device that reports daily without an alarm for {months} months: {proven:.2%} from then on."
    return (StepDown("DEVICE_REPORTS", months, proven, text),)
