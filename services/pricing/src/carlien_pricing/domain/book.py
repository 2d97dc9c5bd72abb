"""A whole book at once: closed-form loss, LTV, profitability and caps for many running loans, as arrays.

The same formulas as a single quote's, in blocks of loans x months, without the joint simulation (its factor is a quote's matter).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.collateral import Z90
from carlien_pricing.domain.credit import Codes, ifrs9_stages, irb_correlation
from carlien_pricing.domain.legality import rate_caps
from carlien_pricing.domain.normal import normal_cdf
from carlien_pricing.domain.policy import Energy, LawTables, LenderType, LprRow, LprTable, ProductType
from carlien_pricing.domain.products import EconomicsRow, PolicyBundle

Array = npt.NDArray[np.float64]

_BLOCK = 4000
LENDERS = tuple(LenderType)
PRODUCTS = tuple(ProductType)
ENERGIES = tuple(Energy)


@dataclass(frozen=True, slots=True)
class Book:
    """One entry per loan; money in one currency, rates as fractions a year. Codes index LENDERS, PRODUCTS, ENERGIES.

    `days_past_due` and `pd_at_origination` are NaN where they aren't known.
    """

    loan_id: npt.NDArray[np.str_]
    outstanding: Array
    months_left: Codes
    nominal_rate: Array
    annual_rate_irr: Array
    pd_12m: Array
    value_p50: Array
    value_p10: Array
    amortising: npt.NDArray[np.bool_]
    lender: Codes
    product: Codes
    energy: Codes
    usage_grade: Codes
    days_past_due: Array
    pd_at_origination: Array

    def __len__(self) -> int:
        return len(self.outstanding)

    def blocks(self) -> Iterator["Book"]:
        """Slices small enough for the cache."""
        for start in range(0, len(self), _BLOCK):
            yield Book(*(getattr(self, field.name)[start : start + _BLOCK] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A state of the world. `market` multiplies values, `pd` default probabilities, `lpr` and `funding` are added to rates."""

    name: str
    market: float = 1.0
    pd: float = 1.0
    lpr: float = 0.0
    funding: float = 0.0


STRESSES = (
    Scenario("base"),
    Scenario("market -30 %", market=0.7),
    Scenario("LPR +100 bp", lpr=0.01, funding=0.01),
    Scenario("PD x 2", pd=2.0),
    Scenario("all three", market=0.7, pd=2.0, lpr=0.01, funding=0.01),
)


@dataclass(frozen=True, slots=True)
class BookResult:
    """Per loan: expected loss in currency, RAROC a year, loan to value, capital in currency; IFRS 9 stage and expected credit losses.

    `allowance` is what the stage books: 12-month (1), lifetime (2), or what a default that has happened loses of what is owed now (3).
    """

    expected_loss: Array
    raroc: Array
    ltv_p50: Array
    ltv_p10: Array
    capital: Array
    stage: Codes
    ecl_12m: Array
    ecl_lifetime: Array
    allowance: Array


def reprice(book: Book, economics: EconomicsRow, policies: PolicyBundle, scenario: Scenario) -> BookResult:
    """Every loan under a scenario, over its remaining life."""
    parts = [_block(block, economics, policies, scenario) for block in book.blocks()]
    return BookResult(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(BookResult)))


def _block(book: Book, economics: EconomicsRow, policies: PolicyBundle, scenario: Scenario) -> BookResult:
    horizon = int(book.months_left.max())
    month = np.arange(1, horizon + 1, dtype=np.float64)
    left = book.months_left[:, None].astype(np.float64)
    running = month <= left
    exposure = np.where(running, _exposure(book, month, left), 0.0)

    p50, p10 = book.value_p50 * scenario.market, book.value_p10 * scenario.market
    parameters = [economics.value_paths[energy] for energy in ENERGIES]
    decline = np.array([np.log1p(-p.annual_decline - economics.unforecast_decline_margin) / 12 for p in parameters])[book.energy][:, None]
    walk = np.array([(p.market_volatility**2 + p.own_volatility**2) / 12 for p in parameters])[book.energy][:, None]
    spread = np.log(np.maximum(p50 / np.maximum(p10, 1e-9), 1.0))[:, None] / Z90
    sale = month + economics.recovery_lag_months
    sigma = np.sqrt(np.maximum(spread**2 + walk * sale, 1e-18))
    rate = book.nominal_rate[:, None]
    net = (1 - economics.liquidation_cost) * economics.forced_sale_ratio * (1 + rate / 12) ** -economics.recovery_lag_months
    median = np.maximum(p50, 1e-9)[:, None] * np.exp(decline * sale) * net
    strike = np.maximum(exposure, 1e-12)
    d = np.log(strike / median) / sigma
    put = strike * normal_cdf(d) - median * np.exp(0.5 * sigma * sigma) * normal_cdf(d - sigma)
    table = np.array([policies.packs[product].recoverability for product in PRODUCTS])
    found = table[book.product, book.usage_grade - 1][:, None]
    loss = (1 - economics.unsecured_recovery) * (found * np.minimum(put, exposure) + (1 - found) * exposure)

    pd = np.minimum(book.pd_12m * scenario.pd, 0.99)[:, None]
    survival = (1 - pd) ** (month / 12)
    before = (1 - pd) ** ((month - 1) / 12)
    points, rates = zip(*economics.funding_curve, strict=True)
    funding = np.asarray(np.interp(book.months_left, points, rates), dtype=np.float64)
    funding = funding + economics.liquidity_add_on + scenario.funding
    discount = (1 + funding[:, None] / 12) ** -month
    held = exposure * before * discount
    expected = ((before - survival) * loss * discount).sum(axis=1)
    margin = (book.nominal_rate - funding) / 12 * held.sum(axis=1)
    opex = economics.opex_monthly_share * book.outstanding * (running * before * discount).sum(axis=1)
    lgd = np.minimum(loss / np.maximum(exposure, 1e-9), 1.0)
    capital = (np.maximum(_capital(pd[:, 0])[:, None] * lgd, economics.capital_floor) * held).sum(axis=1) / 12
    raroc = (1 - economics.tax_rate) * (margin - opex - expected) / np.maximum(capital, 1e-9)
    # As credit.expected_credit_loss, at the loan's own rate.
    monthly = (before - survival) * loss * (1 + rate / 12) ** -month
    twelve, lifetime = monthly[:, :12].sum(axis=1), monthly.sum(axis=1)
    stage = ifrs9_stages(book.days_past_due, pd[:, 0], book.pd_at_origination, economics.staging)
    return BookResult(
        expected,
        raroc,
        book.outstanding / np.maximum(p50, 1e-9),
        book.outstanding / np.maximum(p10, 1e-9),
        capital,
        stage,
        twelve,
        lifetime,
        np.choose(stage - 1, [twelve, lifetime, loss[:, 0]]),
    )


def _exposure(book: Book, month: Array, left: Array) -> Array:
    """Principal owed at the start of each month: an annuity, or all of it until the end."""
    i = np.maximum(book.nominal_rate[:, None] / 12, 1e-9)
    growth = (1 + i) ** (month - 1)
    whole = (1 + i) ** left
    annuity = (whole - growth) / (whole - 1)
    return np.asarray(book.outstanding[:, None] * np.where(book.amortising[:, None], np.maximum(annuity, 0.0), 1.0))


def _capital(pd: Array) -> Array:
    """IRB 'other retail' K per unit of LGD; PD to the nearest basis point, of which there are few."""
    normal = NormalDist()
    bp, inverse = np.unique(np.maximum(np.rint(pd * 1e4), 5), return_inverse=True)
    k = []
    for value in bp / 1e4:
        value = min(float(value), 0.9999)
        rho = irb_correlation(value)
        k.append(normal.cdf((normal.inv_cdf(value) + rho**0.5 * normal.inv_cdf(0.999)) / (1 - rho) ** 0.5) - value)
    return np.asarray(np.maximum(np.array(k), 0.0)[inverse], dtype=np.float64)


def tightest_caps(law: LawTables, on: date, lpr: float | None = None) -> Array:
    """The tightest cap by lender type (in LENDERS' order) on a date, with the LPR as published or as a scenario has it."""
    if lpr is not None:
        row = LprRow(id="SCENARIO", effective_from=date.min, source="scenario", evidence="S", rate=Decimal(repr(round(lpr, 6))))
        law = replace(law, lpr=LprTable(verified_until=date.max, rows=(row,)))
    return np.array([float(rate_caps(law, lender, on)[0].limit) for lender in LENDERS])
