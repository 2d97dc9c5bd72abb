"""Which rows can be believed: dates, odometers and prices that contradict each other are rejected with a reason.

Two kinds of fault are told apart: a bad row (rejected, counted, listed) and a mapping that is wrong for the whole file
(a wrong unit or currency), which stops the run with a message, since a model trained on it would be wrong everywhere.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from carlien_common.domain.errors import invalid, precondition
from carlien_valuation.listings.read import EPOCH, Rejections, Table

DAYS_PER_YEAR = 365.25
MAX_AGE_YEARS = 60.0
MAX_ODOMETER_KM = 1_500_000.0
LOW_ODOMETER_KM = 100.0
"""Less than this on a car older than two years is a reading in another unit or a slip of the pen."""

PRICE_FACTOR_MODEL, PRICE_FACTOR_FILE = 25.0, 200.0
"""A price this many times above or below the median of its model (of the file, where the model is rare) is in another unit."""

MEDIAN_PRICE_USD = (400.0, 400_000.0)
"""Where the median price of a whole file can lie, in US dollars."""

# Orders of magnitude only: units of currency per US dollar, rounded, as of 2024 (IMF and ECB reference rates).
PER_USD = {
    "AED": 3.7,
    "ARS": 900,
    "AUD": 1.5,
    "BRL": 5,
    "CAD": 1.35,
    "CHF": 0.9,
    "CNY": 7.1,
    "CZK": 23,
    "DKK": 6.9,
    "EUR": 0.92,
    "GBP": 0.79,
    "HUF": 360,
    "IDR": 15_800,
    "ILS": 3.7,
    "INR": 83,
    "JPY": 150,
    "KRW": 1_350,
    "KZT": 450,
    "MXN": 18,
    "MYR": 4.7,
    "NGN": 1_400,
    "NOK": 10.6,
    "NZD": 1.65,
    "PHP": 57,
    "PKR": 280,
    "PLN": 4,
    "RON": 4.6,
    "RUB": 90,
    "SAR": 3.75,
    "SEK": 10.5,
    "SGD": 1.35,
    "THB": 36,
    "TRY": 32,
    "TWD": 32,
    "UAH": 40,
    "USD": 1,
    "VND": 25_000,
    "ZAR": 18.5,
}


@dataclass(frozen=True, slots=True)
class Listings:
    """Rows fit for use: a Table's frame plus `age_years` (>= 0) and `year` (of registration), NaN where not known."""

    frame: pd.DataFrame
    currency: str
    as_of: date
    """The latest date in the data."""
    warnings: tuple[str, ...]


def check(table: Table, *, priced: bool = True, as_of: date | None = None) -> Listings:
    """Derive ages and reject what can't be; `priced=False` for listings to be valued, whose price may be missing.

    Raises DomainError for a file that is wrong as a whole: CURRENCY_MIXED, ODOMETER_UNIT, PRICE_UNIT, LISTINGS_REJECTED.
    """
    frame, rejections = table.frame.copy(), table.rejections
    warnings: list[str] = []
    currency = _currency(frame, warnings)
    _dates(frame, warnings, as_of)
    _ages(frame, rejections)
    if priced:
        _file_units(frame, currency)
    _odometers(frame, rejections)
    if priced:
        _prices(frame, rejections)
    _names(frame, rejections)
    frame = frame[~frame["source"].isin(rejections.by_source.keys())].reset_index(drop=True)
    used = table.rows_read - table.filtered
    if rejections.total * 2 > used or not len(frame):
        raise precondition(
            "LISTINGS_REJECTED", f"{rejections.total} of {used} rows can't be used; is the mapping right? {rejections.summary()}"
        )
    last = float(frame["as_of"].max())
    return Listings(frame, currency, EPOCH + timedelta(days=int(last)), tuple(warnings))


def _currency(frame: pd.DataFrame, warnings: list[str]) -> str:
    found = sorted(set(frame["currency"].str.upper()) - {""})
    if len(found) > 1:
        raise invalid(
            "currency", "CURRENCY_MIXED", f"the rows have several currencies ({', '.join(found[:6])}): keep one with the mapping's `keep`"
        )
    if not found:
        warnings.append("The mapping states no currency; amounts are in XXX.")
    return found[0] if found else "XXX"


def _dates(frame: pd.DataFrame, warnings: list[str], as_of: date | None) -> None:
    """Fill missing as_of dates with the given one, else with the latest registration."""
    missing = frame["as_of"].isna()
    if not missing.any():
        return
    if as_of is not None:
        frame.loc[missing, "as_of"] = float((as_of - EPOCH).days)
        return
    known = frame["as_of"].max()
    if np.isnan(known):
        years = frame["model_year"].where(frame["model_year"].between(1900, 2100))
        # One absurd year must not become the market date: the latest year that at least one row in a thousand has.
        latest = np.fmax(frame["registered"].quantile(0.999), _middle_of(years).quantile(0.999))
        known = float(latest) if not np.isnan(latest) else float((date.today() - EPOCH).days)  # noqa: DTZ011
        warnings.append(f"The mapping states no as_of date; {EPOCH + timedelta(days=int(known))}, the latest registration, is taken.")
    else:
        warnings.append(f"{int(missing.sum())} rows have no as_of date; the latest of the file is taken for them.")
    frame.loc[missing, "as_of"] = known


def _middle_of(years: pd.Series) -> pd.Series:
    """1 July of a year, in days since 1970."""
    return (years - 1970.0) * DAYS_PER_YEAR + 181.0


def _ages(frame: pd.DataFrame, rejections: Rejections) -> None:
    bad_year = frame["model_year"].notna() & ~frame["model_year"].between(1900, 2100)
    _reject(frame, bad_year, rejections, "YEAR_IMPLAUSIBLE", lambda row: f"model year {row.model_year:g}")
    as_of_year = 1970 + np.floor(frame["as_of"] / DAYS_PER_YEAR)
    stated = (frame["as_of"] - frame["registered"]) / DAYS_PER_YEAR
    by_year = (frame["as_of"] - _middle_of(frame["model_year"])) / DAYS_PER_YEAR
    age = stated.fillna(frame["age_years"]).fillna(by_year)
    registered_year = 1970 + np.floor(frame["registered"] / DAYS_PER_YEAR)
    # A registration known by its year only may lie up to half a year "ahead"; a model year may lead the calendar by one.
    slack = np.where(
        stated.notna(), np.where(frame["registered_precision"] == 3, 0.55, 0.1), np.where(frame["age_years"].notna(), 0.1, 1.55)
    )
    future = age < -slack
    _reject(
        frame,
        future,
        rejections,
        "FUTURE_REGISTRATION",
        lambda row: f"registered after its as_of date {EPOCH + timedelta(days=int(row.as_of))}",
    )
    _reject(frame, age > MAX_AGE_YEARS, rejections, "AGE_IMPLAUSIBLE", lambda _: f"older than {MAX_AGE_YEARS:.0f} years at its as_of date")
    frame["has_registration"] = stated.notna() | frame["age_years"].notna()
    frame["age_years"] = age.clip(lower=0.0)
    frame["year"] = registered_year.fillna(frame["model_year"]).fillna(as_of_year - np.floor(frame["age_years"]))


def _file_units(frame: pd.DataFrame, currency: str) -> None:
    aged = frame[(frame["age_years"] > 2) & frame["odometer_km"].notna()]
    if len(aged) >= 20:
        median, age = float(aged["odometer_km"].median()), float(aged["age_years"].median())
        if median < 1_000:
            raise invalid(
                "fields.odometer_km.unit",
                "ODOMETER_UNIT",
                f"the median odometer is {median:g} km at {age:.1f} years: is its unit 万公里 or thousand_km?",
            )
        if median > 2_000_000:
            raise invalid(
                "fields.odometer_km.unit",
                "ODOMETER_UNIT",
                f"the median odometer is {median:g} km at {age:.1f} years: the unit is too large",
            )
    priced = frame[frame["price"] > 0]
    both = priced[priced["new_price"] > 0]
    if len(both) >= 20:
        ratio = float((both["price"] / both["new_price"]).median())
        if not 0.02 < ratio < 5:
            raise invalid(
                "fields.price.unit",
                "PRICE_UNIT",
                f"the median price is {ratio:g} of the price when new: price and new_price are in different units",
            )
    median_price = float(priced["price"].median()) if len(priced) else float("nan")
    per_usd = PER_USD.get(currency)
    if per_usd and len(priced) >= 20 and not MEDIAN_PRICE_USD[0] < median_price / per_usd < MEDIAN_PRICE_USD[1]:
        raise invalid(
            "fields.price.unit",
            "PRICE_UNIT",
            f"the median price is {median_price:g} {currency}: is its unit 万, k, lakh or another currency's?",
        )


def _odometers(frame: pd.DataFrame, rejections: Rejections) -> None:
    odometer, age = frame["odometer_km"], frame["age_years"]
    _reject(frame, odometer < 0, rejections, "ODOMETER_NEGATIVE", lambda row: f"odometer {row.odometer_km:g} km")
    _reject(
        frame,
        (odometer < LOW_ODOMETER_KM) & (age > 2),
        rejections,
        "ODOMETER_TOO_LOW",
        lambda row: f"odometer {row.odometer_km:g} km at {row.age_years:.1f} years: another unit?",
    )
    _reject(frame, odometer > MAX_ODOMETER_KM, rejections, "ODOMETER_TOO_HIGH", lambda row: f"odometer {row.odometer_km:g} km")


def _prices(frame: pd.DataFrame, rejections: Rejections) -> None:
    price = frame["price"]
    _reject(frame, price.isna(), rejections, "PRICE_MISSING", lambda _: "no price")
    _reject(frame, price <= 0, rejections, "PRICE_NOT_POSITIVE", lambda row: f"price {row.price:g}")
    good = price > 0
    logs = np.log(price.where(good))
    ratio = frame["price"] / frame["new_price"].where(frame["new_price"] > 0)
    _reject(
        frame,
        good & ((ratio > 4) | (ratio < 0.004)),
        rejections,
        "PRICE_UNIT",
        lambda row: f"price {row.price:g} against {row.new_price:g} when new",
    )
    cell = (frame["make"] + "\0" + frame["model"]).str.casefold()
    common = ((frame["make"] + frame["model"]) != "") & (good.groupby(cell).transform("sum") >= 5)
    centre = logs.groupby(cell).transform("median").where(common, logs.median())
    limit = np.log(np.where(common, PRICE_FACTOR_MODEL, PRICE_FACTOR_FILE))
    far = good & ((logs - centre).abs() > limit) & ~ratio.between(0.004, 4)
    _reject(
        frame,
        far,
        rejections,
        "PRICE_UNIT",
        lambda row: f"price {row.price:g} is far from the usual {np.exp(centre[row.Index]):.0f}: another unit?",
    )


def _names(frame: pd.DataFrame, rejections: Rejections) -> None:
    nameless = (frame["make"] + frame["model"] + frame["trim"]).str.strip() == ""
    _reject(frame, nameless, rejections, "MODEL_MISSING", lambda _: "no make, model or trim")


def _reject(frame: pd.DataFrame, mask: pd.Series, rejections: Rejections, reason: str, message: object) -> None:
    for row in frame[mask.fillna(value=False)].itertuples():
        rejections.add(str(row.source), reason, message(row))  # type: ignore[operator]
