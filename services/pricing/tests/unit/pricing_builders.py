"""Quote inputs for tests: a sound loan, one change at a time."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from carlien_pricing.domain.matrix import UsageFacts
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType
from carlien_pricing.domain.quote import BorrowerFacts, CarFacts, ForecastPoint, LienFacts, LoanRequest, QuoteInputs, ValueFacts
from carlien_pricing.domain.schedule import RepaymentMethod

ON = date(2026, 3, 2)
VIN = "1M8GDM9AXKP042788"


def request(**changes: Any) -> LoanRequest:
    base = LoanRequest(
        amount=Decimal(60_000),
        minor_unit=Decimal("0.01"),
        term_months=24,
        method=RepaymentMethod.EQUAL_PAYMENT,
        fees=(),
        lender=LenderType.LICENSED,
        product=ProductType.OWNER,
        purpose=LoanPurpose.OPERATING,
        quote_date=ON,
    )
    return replace(base, **changes)


def value(**changes: Any) -> ValueFacts:
    base = ValueFacts(
        appraisal_id="A-1",
        currency="CNY",
        price_type="WHOLESALE",
        p50=Decimal(100_000),
        p10=Decimal(85_000),
        forced_sale_p50=None,
        low_confidence=False,
        abstained=False,
        abstain_reason="",
        valuation_date=ON,
        model_version="model-1",
        valued_at=datetime(2026, 3, 2, 8, tzinfo=UTC),
    )
    return replace(base, **changes)


def forecast(p50: float = 0.988, p10: float = 0.982) -> tuple[ForecastPoint, ...]:
    """A forecast falling by these monthly factors."""
    return tuple(
        ForecastPoint(month, Decimal(round(100_000 * p50**month)), Decimal(round(85_000 * p10**month))) for month in range(0, 61, 3)
    )


def inputs(**changes: Any) -> QuoteInputs:
    base = QuoteInputs(
        request=request(quote_date=changes.pop("on", ON)),
        car=CarFacts(VIN, Energy.ICE, CarAge.USED, commercial_use=False),
        value=value(),
        lien=LienFacts("C-1", 7, (), Decimal(0)),
        usage=UsageFacts(known=True, has_device=True, hours_silent=1.0),
        borrower=BorrowerFacts(0.02, "LENDER"),
        forecast=forecast(),
    )
    return replace(base, **changes)
