"""A nowcast of the index from fresh listings: each price over what the model says the car was worth at its cutoff."""

from dataclasses import dataclass
from datetime import date

import numpy as np

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.index_publication import Publication, hash_inputs
from carlien_valuation.domain.market_index import Floats, Nowcast, nowcast
from carlien_valuation.listings.checks import check
from carlien_valuation.listings.read import EPOCH, Table
from carlien_valuation.training.columns import cars_of
from carlien_valuation.training.predict import quantiles_with_caution
from carlien_valuation.training.store import Model

MIN_LISTINGS = 20
"""Of the month; fewer say next to nothing."""


@dataclass(frozen=True, slots=True)
class FreshMarket:
    """What fresh listings say: the month, log ratios of their prices to the model's values at its cutoff (n,), and a hash of them."""

    month: date
    log_ratio: Floats
    left_out: int
    input_hash: str


def fresh_market(model: Model, table: Table, *, make: str = "") -> FreshMarket:
    """Of the last month of a table of listings, `make` only where given. PRECONDITION NOWCAST_TOO_FEW, NOWCAST_NOT_FRESH."""
    listings = check(table)
    frame = listings.frame
    last = EPOCH + (listings.as_of - EPOCH)
    month = date(last.year, last.month, 1)
    cutoff = date.fromisoformat(model.card["data"]["cutoff"])
    if month <= date(cutoff.year, cutoff.month, 1):
        raise precondition("NOWCAST_NOT_FRESH", f"the listings end in {month:%Y-%m}, not after the model's cutoff {cutoff}")
    if listings.currency != model.card["currency"]:
        raise precondition("CURRENCY_MISMATCH", f"the listings are in {listings.currency}, the model is in {model.card['currency']}")
    first_day = float((month - EPOCH).days)
    frame = frame[frame["as_of"] >= first_day]
    if make:
        frame = frame[frame["make"].str.strip().str.casefold() == make]
    frame = frame.reset_index(drop=True)
    if len(frame) < MIN_LISTINGS:
        raise precondition("NOWCAST_TOO_FEW", f"{len(frame)} listings of {month:%Y-%m} are too few; {MIN_LISTINGS} are the least")
    cars = cars_of(frame)
    at_cutoff = np.minimum(cars.numbers["market_years"], (cutoff - EPOCH).days / 365.25)
    cars = model.stack.encoder.completed(model.stack.encoder.with_attributes(cars.with_numbers(market_years=at_cutoff)))
    values, reasons = quantiles_with_caution(model, cars)
    # Not those with a caveat: an unknown model's own error would be taken for the market's.
    good = np.array([reason == "" for reason in reasons])
    price = frame["price"].to_numpy(float)
    rows: list[tuple[str, ...]] = [(str(source), f"{value:.2f}") for source, value in zip(frame["source"], price, strict=True)]
    return FreshMarket(month, np.log(price[good] / values[good, 1]), int((~good).sum()), hash_inputs(rows))


def market_nowcast(fresh: FreshMarket, index: Publication | None, cutoff: date, level_sd: float) -> Nowcast:
    """Level of the month on the base of `index`; 100 at the model's cutoff where there is none.

    The prior is how far a market moves between the last published month and this one; what the index moved between the model's
    cutoff and its own end is known and taken out of the ratios. PRECONDITION INDEX_AHEAD where the index has that month already.
    """
    if index is None:
        return nowcast(100.0, fresh.log_ratio, _months(cutoff, fresh.month), level_sd)
    if index.vintage >= fresh.month:
        raise precondition("INDEX_AHEAD", f"the index has {index.vintage:%Y-%m} already; a nowcast is of a later month")
    last, then = index.points[-1].level, index.level_at(cutoff)
    if then is None:
        raise precondition("INDEX_STARTS_LATER", f"the index starts after the model's cutoff {cutoff}")
    return nowcast(last, fresh.log_ratio - np.log(last / then), _months(index.vintage, fresh.month), level_sd)


def _months(earlier: date, later: date) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month
