"""Trust, rank, market and battery in the price: each moves it in its direction, and what isn't known is never cheaper."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pricing_builders import inputs, request, value

from carlien_pricing.adapters.policies import load_bundle
from carlien_pricing.domain.counteroffers import counteroffers
from carlien_pricing.domain.engine import prepare, price
from carlien_pricing.domain.matrix import MarketFacts, TelemetryFacts, UsageFacts
from carlien_pricing.domain.policy import CarAge, Energy, LoanPurpose, ProductType
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import CarFacts, LienFacts, PricedQuote, QuoteInputs, ReasonCode
from carlien_pricing.domain.raroc import Deal, RiskInputs
from carlien_pricing.domain.simulation import simulate_losses
from carlien_pricing.domain.step_downs import step_downs
from carlien_pricing.domain.watch_state import IndexLevels

BUNDLE = load_bundle()


def notes(quote: PricedQuote) -> set[ReasonCode]:
    return {reason.code for reason in quote.reasons if not reason.blocking}


def with_telemetry(telemetry: TelemetryFacts | None, silent: float = 1.0) -> QuoteInputs:
    return inputs(usage=UsageFacts(known=True, has_device=True, hours_silent=silent, telemetry=telemetry))


class TestTrust:
    def test_full_trust_is_what_the_grade_says_and_less_is_dearer(self) -> None:
        full, half, none = (price(with_telemetry(TelemetryFacts(True, trust)), BUNDLE) for trust in (1.0, 0.5, 0.0))
        assert full.loss.lgd == price(with_telemetry(None), BUNDLE).loss.lgd
        assert full.loss.lgd < half.loss.lgd < none.loss.lgd
        assert full.nominal_rate <= half.nominal_rate <= none.nominal_rate

    def test_without_trust_there_is_as_much_to_go_by_as_without_a_device(self) -> None:
        setting = prepare(with_telemetry(TelemetryFacts(True, 0.0)), BUNDLE)
        no_device = prepare(inputs(usage=UsageFacts(known=True)), BUNDLE)
        assert setting.recoverability(1) == no_device.recoverability(no_device.grades.usage)

    @given(st.floats(0, 1), st.integers(0, 100), st.floats(0, 400))
    @settings(max_examples=25, deadline=None)
    def test_a_profile_that_could_not_be_had_is_never_cheaper(self, trust: float, risk: int, silent: float) -> None:
        known = price(with_telemetry(TelemetryFacts(True, trust, risk), silent), BUNDLE)
        unknown = price(with_telemetry(TelemetryFacts(known=False), silent), BUNDLE)
        assert unknown.nominal_rate >= known.nominal_rate
        assert unknown.loss.lgd >= known.loss.lgd
        assert not (unknown.offered and not known.offered)
        assert ReasonCode.TRUST_UNKNOWN in notes(unknown)

    def test_low_trust_is_said_with_its_reasons(self) -> None:
        quote = price(with_telemetry(TelemetryFacts(True, 0.3, reasons=("UNSIGNED",))), BUNDLE)
        (reason,) = [reason for reason in quote.reasons if reason.code is ReasonCode.TRUST_LOW]
        assert "30%" in reason.message
        assert "UNSIGNED" in reason.message

    def test_proving_it_is_what_lowers_the_rate(self) -> None:
        asked = with_telemetry(TelemetryFacts(True, 0.2))
        quote = price(asked, BUNDLE)
        (down,) = step_downs(asked, quote, BUNDLE)
        trust = BUNDLE.economics_on(asked.request.quote_date).step_down_trust
        proven = price(with_telemetry(TelemetryFacts(True, trust), 0.0), BUNDLE)
        assert down.nominal_rate == proven.nominal_rate < quote.nominal_rate
        assert proven.raroc >= proven.hurdle
        assert (
            step_downs(with_telemetry(TelemetryFacts(True, 0.95)), price(with_telemetry(TelemetryFacts(True, 0.95)), BUNDLE), BUNDLE) == ()
        )


def bundle_for_rank(rank: int) -> PolicyBundle:
    packs = {product: replace(pack, max_rank=rank) for product, pack in BUNDLE.packs.items()}
    return replace(BUNDLE, packs=packs)


def behind(claim: int, **changes: Any) -> QuoteInputs:
    base = LienFacts("C", 9, ("R-1",), Decimal(claim), rank=2, rule="CIVIL_CODE_414")
    return inputs(lien=replace(base, **changes), request=request(amount=Decimal(20_000)))


class TestRank:
    def test_first_rank_is_required_unless_the_pack_says_otherwise(self) -> None:
        assert not price(behind(10_000), BUNDLE).offered
        second = price(behind(10_000), bundle_for_rank(2))
        assert second.offered
        assert second.ltv_p50 == pytest.approx(0.3)
        assert second.cell.grades.collateral == 5, "behind another lien the collateral is of the last grade"

    def test_a_registration_behind_ours_is_no_obstacle(self) -> None:
        first = inputs(lien=LienFacts("C", 9, ("R-1",), Decimal(0), rank=1, rule="CIVIL_CODE_414"))
        assert price(first, BUNDLE) == price(inputs(), BUNDLE)

    def test_our_lien_recovers_what_is_left_behind_earlier_ones(self) -> None:
        policies = bundle_for_rank(2)
        lgds = [price(behind(claim), policies).loss.lgd for claim in (0, 20_000, 50_000, 90_000)]
        assert lgds == sorted(lgds)
        assert lgds[0] < lgds[-1]

    def test_a_rank_that_could_not_be_had_is_never_cheaper(self) -> None:
        # Assumed: everything registered is ahead; ranked: some of it is.
        assumed = behind(30_000, rank=0, rank_assumed=True)
        for policies in (BUNDLE, bundle_for_rank(2)):
            unknown = price(assumed, policies)
            assert not unknown.offered
            assert ReasonCode.RANK_ASSUMED in notes(unknown)
            for claim in (0, 10_000, 30_000):
                assert unknown.nominal_rate >= price(behind(claim), policies).nominal_rate
        assert not counteroffers(assumed, price(assumed, BUNDLE), BUNDLE)

    def test_a_claim_that_cannot_be_counted_leaves_nothing(self) -> None:
        policies = bundle_for_rank(2)
        quote = price(behind(0, uncounted=("R-9",)), policies)
        assert not quote.offered
        assert ReasonCode.CLAIM_NOT_COUNTED in notes(quote)
        assert quote.loss.lgd == pytest.approx(0.9), "what remains is the borrower's own"
        assert quote.nominal_rate >= price(behind(90_000), policies).nominal_rate


class TestMarket:
    def test_a_falling_market_costs_a_step_and_is_said(self) -> None:
        calm = price(inputs(market=MarketFacts(True, -0.02, "2026-02")), BUNDLE)
        falls = price(inputs(market=MarketFacts(True, -0.12, "2026-02")), BUNDLE)
        assert (calm.cell.grades.usage, falls.cell.grades.usage) == (1, 2)
        assert falls.nominal_rate > calm.nominal_rate
        assert ReasonCode.MARKET_FALLS in notes(falls)
        assert notes(price(inputs(market=MarketFacts(known=False)), BUNDLE)) == {ReasonCode.MARKET_UNKNOWN}

    def test_six_months_of_one_vintage(self) -> None:
        points = tuple((f"2025-{month:02d}", 100.0 - month) for month in range(1, 13))
        levels = IndexLevels("2025-12", points)
        assert levels.market(date(2026, 3, 2)) == MarketFacts(True, round(88 / 94 - 1, 6), "2025-12")
        assert not levels.market(date(2026, 5, 1)).known, "five months old"
        assert not IndexLevels("2025-12", points[-6:]).market(date(2026, 1, 1)).known, "six months before there was none"


class TestBattery:
    CAR = CarFacts("V", Energy.NEV, CarAge.USED, commercial_use=False, battery_kwh=60.0)

    def quoted(self, car: CarFacts, amount: int = 40_000) -> PricedQuote:
        nev = request(product=ProductType.NEV, amount=Decimal(amount), term_months=36)
        return price(inputs(car=car, request=nev, value=value(p50=Decimal(60_000), p10=Decimal(45_000)), forecast=()), BUNDLE)

    def test_an_own_pack_is_a_floor(self) -> None:
        plain, floored = self.quoted(replace(self.CAR, battery_kwh=0.0)), self.quoted(self.CAR)
        assert floored.loss.lgd < plain.loss.lgd
        assert floored.loss.percentile_99 <= plain.loss.percentile_99
        assert ReasonCode.BATTERY_FLOOR in notes(floored)
        assert ReasonCode.BATTERY_FLOOR not in notes(plain)

    def test_a_leased_pack_is_none(self) -> None:
        leased = self.quoted(replace(self.CAR, battery_leased=True), 20_000)
        assert ReasonCode.BATTERY_FLOOR not in notes(leased)

    @given(st.floats(0, 1e6))
    @settings(max_examples=20, deadline=None)
    def test_no_stated_capacity_is_worth_more_than_a_share_of_the_car(self, kwh: float) -> None:
        setting = prepare(
            inputs(car=replace(self.CAR, battery_kwh=kwh), request=request(product=ProductType.NEV, amount=Decimal(30_000))), BUNDLE
        )
        if setting.path.floor is not None:
            assert setting.path.floor[0] <= 0.35 * 85_000 + 1e-9
            assert (setting.path.floor[1:] < setting.path.floor[:-1]).all()

    @given(st.floats(1, 60_000))
    @settings(max_examples=20, deadline=None)
    def test_closed_form_and_simulation_agree_on_what_a_floor_is_worth(self, floor: float) -> None:
        """Independent default and market: the simulation's loss is the closed form's."""
        setting = prepare(inputs(forecast=(), value=value(p50=Decimal(60_000), p10=Decimal(45_000))), BUNDLE)
        plain = setting.risk()
        path = replace(plain.path, floor=np.full(len(plain.path.median), floor))
        risk = RiskInputs(plain.pd_12m, plain.cumulative_pd, path, plain.recovery)
        exposure = Deal(setting.shape, risk, setting.costs()).profitability(0.08).exposure
        simulated = simulate_losses(risk.path, risk.recovery, risk.cumulative_pd, exposure, 0.08, 0.0).expected_loss
        discount = (1 + 0.08 / 12) ** -(1.0 + np.arange(len(exposure)))
        closed = float((risk.marginal_pd * risk.losses.loss(exposure, 0.08)) @ discount)
        assert simulated == pytest.approx(closed, rel=0.03)


class TestDownPayment:
    def test_the_limit_is_of_the_lower_of_price_and_value(self) -> None:
        bought = {"purpose": LoanPurpose.PURCHASE_PRIVATE_USE, "amount": Decimal(60_000)}
        dear, cheap = (price(inputs(request=request(**bought, down_payment=Decimal(paid))), BUNDLE) for paid in (40_000, 10_000))
        assert dear.offered
        assert ReasonCode.LTV_ABOVE_LIMIT in {reason.code for reason in cheap.reasons if reason.blocking}, "60,000 of 70,000 are 86 %"
        asked = inputs(request=request(**bought, down_payment=Decimal(10_000)))
        assert counteroffers(asked, cheap, BUNDLE)[0].amount == 49_000, "70 % of the price, the rest paid down"
