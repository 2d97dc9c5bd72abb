from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pricing_builders import ON, inputs, request, value

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.domain.counteroffers import counteroffers
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.legality import LoanFacts, ltv_limit, rate_caps, tenor_limit
from carlien_pricing.domain.matrix import TelemetryFacts, UsageFacts
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType
from carlien_pricing.domain.quote import BorrowerFacts, CarFacts, Fee, LienFacts, QuoteInputs, ReasonCode
from carlien_pricing.domain.schedule import RepaymentMethod
from carlien_pricing.domain.step_downs import step_downs

BUNDLE = load_bundle()


def codes(quote_inputs: QuoteInputs, blocking: bool = True) -> set[ReasonCode]:
    return {reason.code for reason in price(quote_inputs, BUNDLE).reasons if reason.blocking is blocking}


class TestOffer:
    def test_a_sound_loan_is_offered_at_or_above_the_hurdle(self) -> None:
        quote = price(inputs(), BUNDLE)
        assert quote.offered
        assert quote.reasons == ()
        assert quote.raroc >= quote.hurdle
        assert quote.ltv_p50 == 0.6
        assert quote.ltv_p10 == pytest.approx(60_000 / 85_000)
        assert sum(row.principal for row in quote.schedule) == 60_000
        assert quote.cost.irr > quote.cost.simple > 0
        assert all(cap.kept for cap in quote.caps)
        assert quote.loss.percentile_99 > quote.loss.expected_loss > 0
        assert quote.loss.ecl_lifetime >= quote.loss.ecl_12m > 0
        steps = {step.axis: step for step in quote.steps}
        assert steps["BORROWER"].rate_change <= 0
        assert steps["COLLATERAL"].rate_change <= 0
        assert (steps["USAGE"].cell.grades.usage, steps["USAGE"].rate_change > 0) == (2, True), "at its best, a step worse is shown"
        curve = quote.loss.cumulative_pd
        assert len(curve) == 24
        assert list(curve) == sorted(curve)
        assert curve[11] == pytest.approx(0.02)

    def test_it_is_the_same_every_time(self) -> None:
        assert price(inputs(), BUNDLE) == price(inputs(), BUNDLE)

    def test_fees_raise_the_all_in_cost_only(self) -> None:
        fees = (Fee("GPS", Decimal(600), upfront=True), Fee("GUARANTEE", Decimal(20), upfront=False))
        quote = price(inputs(request=request(fees=fees)), BUNDLE)
        assert quote.cost.irr > quote.cost_without_fees.irr
        assert quote.schedule[0].fees == 20

    def test_withheld_interest_is_not_principal(self) -> None:
        fees = (Fee("INTEREST", Decimal(5000), upfront=True),)
        quote = price(inputs(request=request(fees=fees)), BUNDLE)
        assert quote.principal == 55_000
        assert quote.ltv_p50 == 0.55
        assert [(r.code, r.rule) for r in quote.reasons] == [(ReasonCode.UPFRONT_INTEREST_DEDUCTED, "CIVIL_CODE_670")]
        assert quote.cost.irr == quote.cost_without_fees.irr

    def test_dealer_stock_is_curtailed(self) -> None:
        stock = request(product=ProductType.DEALER_STOCK, method=RepaymentMethod.INTEREST_ONLY, term_months=12)
        quote = price(inputs(request=stock), BUNDLE)
        assert quote.offered
        assert {row.number: row.principal for row in quote.schedule if row.principal} == {
            4: 6_000, 6: 6_000, 9: 12_000, 12: 36_000
        }  # fmt: skip
        assert quote.raroc >= quote.hurdle

    def test_a_leased_battery_is_no_collateral(self) -> None:
        car = CarFacts("V", Energy.NEV, CarAge.USED, commercial_use=False, battery_leased=True)
        quote = price(inputs(car=car, request=request(product=ProductType.NEV, amount=Decimal(30_000))), BUNDLE)
        assert quote.ltv_p50 == pytest.approx(30_000 / 65_000)


class TestDecline:
    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"value": value(abstained=True, abstain_reason="UNKNOWN_MODEL", p50=Decimal(0), p10=Decimal(0))}, "VALUE_ABSTAINED"),
            ({"value": value(valuation_date=ON - timedelta(days=31))}, "VALUE_STALE"),
            ({"lien": LienFacts("C", 9, ("R-1",), Decimal(10_000))}, "LIEN_AHEAD"),
            ({"request": request(amount=Decimal(81_000))}, "LTV_ABOVE_LIMIT"),
            ({"borrower": BorrowerFacts(0.10, "LENDER"), "request": request(amount=Decimal(70_000))}, "LTV_ABOVE_CELL"),
            ({"request": request(term_months=37, purpose=LoanPurpose.PURCHASE_PRIVATE_USE)}, "TERM_ABOVE_LIMIT"),
            ({"borrower": BorrowerFacts(0.10, "LENDER"), "request": request(term_months=36)}, "TERM_ABOVE_CELL"),
            ({"borrower": BorrowerFacts(0.30, "LENDER")}, "CELL_NOT_LENT"),
            ({"request": request(product=ProductType.NEV, method=RepaymentMethod.INTEREST_ONLY)}, "METHOD_NOT_IN_PRODUCT"),
            ({"request": request(balloon=Decimal(60_000)), "value": value(p50=Decimal(90000), p10=Decimal(60000))}, "BALLOON_ABOVE_VALUE"),
            ({"request": request(fees=(Fee("GPS", Decimal(6001), True),))}, "FEE_NOT_ALLOWED"),
            ({"request": request(fees=(Fee("GPS", Decimal(700), False),))}, "RATE_ABOVE_CAP"),
        ],
    )  # fmt: skip
    def test_each_reason(self, change: dict[str, Any], code: str) -> None:
        quote = price(inputs(**change), BUNDLE)
        assert not quote.offered
        assert ReasonCode(code) in {reason.code for reason in quote.reasons if reason.blocking}

    def test_private_lenders_meet_the_tighter_cap(self) -> None:
        # About 17 % all-in: lawful for a licensed lender, not for a private one.
        risky = inputs(borrower=BorrowerFacts(0.06, "LENDER"), request=request(fees=(Fee("GPS", Decimal(4000), True),)))
        assert price(risky, BUNDLE).offered
        private = replace(risky, request=replace(risky.request, lender=LenderType.PRIVATE))
        assert codes(private) == {ReasonCode.RATE_ABOVE_CAP}

    def test_interest_that_eats_the_loan_is_an_error(self) -> None:
        with pytest.raises(DomainError) as caught:
            price(inputs(request=request(fees=(Fee("INTEREST", Decimal(60_000), True),))), BUNDLE)
        assert caught.value.reason == "NET_PROCEEDS_NOT_POSITIVE"


class TestDegraded:
    """What isn't known is never cheaper than anything that might be known."""

    @given(st.booleans(), st.floats(0, 400), st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_telematics_down(self, device: bool, silent: float, alarm: bool) -> None:
        up = price(inputs(usage=UsageFacts(True, device, silent, alarm)), BUNDLE)
        down = price(inputs(usage=UsageFacts(known=False)), BUNDLE)
        assert down.nominal_rate >= up.nominal_rate
        assert down.cell.max_ltv <= up.cell.max_ltv
        assert not (down.offered and not up.offered)
        assert ReasonCode.TELEMATICS_UNKNOWN in {reason.code for reason in down.reasons}

    @pytest.mark.parametrize("energy", list(Energy))
    @pytest.mark.parametrize("commercial", [True, False])
    def test_car_unknown(self, energy: Energy, commercial: bool) -> None:
        known = price(inputs(car=CarFacts("V", energy, CarAge.USED, commercial)), BUNDLE)
        unknown = price(inputs(car=CarFacts("V")), BUNDLE)
        assert unknown.nominal_rate >= known.nominal_rate


def any_inputs() -> st.SearchStrategy[QuoteInputs]:
    """Random products and dates, far beyond what a sane lender asks for."""
    money = st.integers(100, 30_000_000).map(lambda n: Decimal(n) / 100)

    @st.composite
    def build(draw: st.DrawFn) -> QuoteInputs:
        on = draw(st.dates(date(2019, 8, 20), date(2030, 12, 31)))
        term = draw(st.integers(1, 60))
        amount = draw(money)
        fees = draw(
            st.lists(
                st.builds(
                    Fee,
                    st.sampled_from(["GPS", "GUARANTEE", "INTEREST", "OTHER"]),
                    st.integers(1, int(amount * 4) + 1).map(lambda n: Decimal(n) / 100),
                    st.booleans(),
                ),
                max_size=3,
            )
        )
        p50 = draw(money)
        p10 = (p50 * draw(st.integers(30, 100)) / 100).quantize(Decimal("0.01")) or Decimal("0.01")
        return inputs(
            on=on,
            request=request(
                amount=amount,
                term_months=term,
                method=draw(st.sampled_from(list(RepaymentMethod))),
                fees=tuple(fees),
                lender=draw(st.sampled_from(list(LenderType))),
                product=draw(st.sampled_from(list(ProductType))),
                purpose=draw(st.sampled_from(list(LoanPurpose))),
                quote_date=on,
                grace_months=draw(st.integers(0, term - 1)),
            ),
            car=CarFacts(
                "V",
                draw(st.sampled_from([*Energy, None])),
                draw(st.sampled_from([*CarAge, None])),
                draw(st.sampled_from([True, False, None])),
                draw(st.booleans()),
            ),
            value=value(p50=p50, p10=p10, valuation_date=on - timedelta(days=draw(st.integers(0, 60)))),
            borrower=BorrowerFacts(draw(st.floats(0.0001, 0.5)), "LENDER"),
            usage=UsageFacts(draw(st.booleans()), draw(st.booleans()), draw(st.floats(0, 500)), draw(st.booleans())),
        )

    return build()


class TestLaw:
    @given(any_inputs())
    @settings(max_examples=150, deadline=None)
    def test_an_offer_never_breaks_a_rule_in_force_on_its_date(self, quote_inputs: QuoteInputs) -> None:
        asked = quote_inputs.request
        withheld = sum(fee.amount for fee in asked.fees if fee.upfront and fee.kind == "INTEREST")
        upfront = sum(fee.amount for fee in asked.fees if fee.upfront)
        if upfront >= asked.amount or withheld >= asked.amount:
            with pytest.raises(DomainError, match="leave"):
                price(quote_inputs, BUNDLE)
            return
        quote = price(quote_inputs, BUNDLE)
        if not quote.offered:
            assert any(reason.blocking for reason in quote.reasons)
            return
        # Judged again from the tables and the schedule alone, not from what the engine says of itself.
        received = quote.principal - sum(fee.amount for fee in asked.fees if fee.upfront and fee.kind != "INTEREST")
        monthly = quote.cost.monthly
        worth = sum(float(row.total) / (1 + monthly) ** row.number for row in quote.schedule)
        assert worth == pytest.approx(float(received), rel=1e-6)
        for cap in rate_caps(BUNDLE.law, asked.lender, asked.quote_date):
            assert quote.cost.irr <= float(cap.limit) + 1e-9
        car = quote_inputs.car
        facts = LoanFacts(asked.quote_date, asked.lender, asked.product, asked.purpose, car.energy, car.age)
        limit, tenor = ltv_limit(BUNDLE.law, facts), tenor_limit(BUNDLE.law, facts)
        assert limit is None or quote.principal <= limit.value * quote_inputs.value.p50
        assert tenor is None or len(quote.schedule) <= tenor.value
        assert not any(fee.kind == "OTHER" for fee in asked.fees) or not (
            asked.lender is LenderType.MICRO_LOAN and asked.quote_date >= date(2025, 12, 1)
        )
        assert quote.raroc >= quote.hurdle - 1e-6
        assert sum(row.principal for row in quote.schedule) == quote.principal
        assert quote.default_interest_limit <= Decimal("0.24")


class TestCounteroffers:
    def test_a_loan_too_large_is_answered_with_the_largest_lawful_one(self) -> None:
        asked = inputs(request=request(amount=Decimal(95_000)))
        offers = counteroffers(asked, price(asked, BUNDLE), BUNDLE)
        assert offers[0].amount == 80_000
        assert {24, 60} <= {offer.term_months for offer in offers}, "longer at a higher rate is an offer too"
        assert offers == counteroffers(asked, price(asked, BUNDLE), BUNDLE)

    def test_a_device_lowers_the_rate(self) -> None:
        asked = inputs(usage=UsageFacts(known=True))
        quote = price(asked, BUNDLE)
        best = [offer for offer in counteroffers(asked, quote, BUNDLE) if offer.needs_device]
        assert best
        assert all(offer.nominal_rate < quote.nominal_rate for offer in best)

    def test_a_rate_above_the_cap_is_brought_below_it(self) -> None:
        asked = inputs(
            borrower=BorrowerFacts(0.06, "LENDER"),
            request=request(lender=LenderType.PRIVATE, fees=(Fee("GPS", Decimal(5000), True),)),
        )
        quote = price(asked, BUNDLE)
        assert {reason.code for reason in quote.reasons} == {ReasonCode.RATE_ABOVE_CAP}
        offers = counteroffers(asked, quote, BUNDLE)
        assert offers
        assert all(offer.annual_rate_irr <= 0.12 + 1e-9 for offer in offers)

    def test_nothing_helps_against_a_lien_ahead(self) -> None:
        asked = inputs(lien=LienFacts("C", 9, ("R-1",), Decimal(10_000)))
        assert counteroffers(asked, price(asked, BUNDLE), BUNDLE) == ()

    @given(any_inputs())
    @settings(max_examples=30, deadline=None)
    def test_each_is_lawful_and_none_dominates_another(self, asked: QuoteInputs) -> None:
        upfront = sum(fee.amount for fee in asked.request.fees if fee.upfront)
        assume(upfront < asked.request.amount)
        offers = counteroffers(asked, price(asked, BUNDLE), BUNDLE)
        law, wanted = BUNDLE.law, asked.request
        for offer in offers:
            assert offer.annual_rate_irr <= float(rate_caps(law, wanted.lender, wanted.quote_date)[0].limit) + 1e-9
            assert offer.amount <= wanted.amount
            assert not any(other.dominates(offer) for other in offers)


class TestStepDowns:
    def test_a_device_that_reports_lowers_the_rate_from_then_on(self) -> None:
        asked = inputs(usage=UsageFacts(known=True))
        quote = price(asked, BUNDLE)
        (down,) = step_downs(asked, quote, BUNDLE)
        reporting = price(inputs(usage=UsageFacts(True, has_device=True, telemetry=TelemetryFacts(True, 0.9))), BUNDLE)
        assert (down.condition, down.after_months) == ("DEVICE_REPORTS", 3)
        assert down.nominal_rate == reporting.nominal_rate < quote.nominal_rate
        assert reporting.raroc >= reporting.hurdle

    def test_nothing_to_promise(self) -> None:
        for asked in (
            inputs(),
            inputs(usage=UsageFacts(known=True), request=request(term_months=3)),
            inputs(usage=UsageFacts(known=True), lien=LienFacts("C", 9, ("R-1",), Decimal(1))),
        ):
            assert step_downs(asked, price(asked, BUNDLE), BUNDLE) == ()
