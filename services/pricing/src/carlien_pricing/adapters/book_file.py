"""Loan books as CSV."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from carlien_common.domain.errors import invalid
from carlien_pricing.domain.book import ENERGIES, LENDERS, PRODUCTS, Book
from carlien_pricing.domain.schedule import MAX_TERM_MONTHS

T = TypeVar("T")

COLUMNS = {
    "loan_id": "the loan's name in the answer (optional: its line)",
    "outstanding": "principal owed now, positive",
    "months_left": f"whole months to the last instalment, 1 to {MAX_TERM_MONTHS}",
    "nominal_rate": "nominal annual rate, as a fraction",
    "annual_rate_irr": "annualised all-in cost by IRR, as a fraction",
    "pd_12m": "probability of default in 12 months, between 0 and 1",
    "value_p50": "value of the car now",
    "value_p10": "value that is undercut with 10 % probability",
    "method": "EQUAL_PAYMENT, EQUAL_PRINCIPAL or INTEREST_ONLY (optional: EQUAL_PAYMENT)",
    "lender_type": "LICENSED, MICRO_LOAN, PRIVATE, FACILITATION, OTHER_FINANCIAL",
    "product_type": "OWNER, NEV, DEALER_STOCK (optional: OWNER)",
    "energy": "ICE or NEV (optional: NEV, the faster loss of value)",
    "usage_grade": "1 to 5 (optional: 5)",
    "days_past_due": "days the oldest payment due is late, 0 for none (optional: not known, lifetime losses are booked)",
    "pd_at_origination": "pd_12m when the loan was made (optional: not known, lifetime losses are booked)",
}
_DEFAULTS = {
    "loan_id": "",
    "method": "EQUAL_PAYMENT",
    "product_type": "OWNER",
    "energy": "NEV",
    "usage_grade": "5",
    "days_past_due": "",
    "pd_at_origination": "",
}
_MAX_PROBLEMS = 20


def read_book(path: Path) -> Book:
    """The book; INVALID naming line and column of the first problems. No bad line is left out in silence."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    problems: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(_DEFAULTS) - set(reader.fieldnames or ())
            if missing:
                raise invalid("book", "COLUMN_MISSING", f"{path.name} lacks {', '.join(sorted(missing))}")
            for line, row in enumerate(reader, 2):
                for name in COLUMNS:
                    text = (row.get(name) or _DEFAULTS.get(name, "")).strip()
                    try:
                        columns[name].append(_PARSERS[name](text))
                    except ValueError:
                        problems.append(f"line {line}: {name} is {text!r}, expected {COLUMNS[name]}")
                if len(problems) >= _MAX_PROBLEMS:
                    break
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise invalid("book", "FILE_UNREADABLE", f"{path}: {error}") from error
    if problems:
        raise invalid("book", "ROW_INVALID", "; ".join(problems))
    if not columns["outstanding"]:
        raise invalid("book", "EMPTY", f"{path.name} has no loans")
    return Book(
        loan_id=np.array([loan_id or f"line {line}" for line, loan_id in enumerate(columns["loan_id"], 2)]),
        outstanding=np.array(columns["outstanding"]),
        months_left=np.array(columns["months_left"], dtype=np.int64),
        nominal_rate=np.array(columns["nominal_rate"]),
        annual_rate_irr=np.array(columns["annual_rate_irr"]),
        pd_12m=np.array(columns["pd_12m"]),
        value_p50=np.array(columns["value_p50"]),
        value_p10=np.array(columns["value_p10"]),
        amortising=np.array(columns["method"]) != "INTEREST_ONLY",
        lender=np.array(columns["lender_type"], dtype=np.int64),
        product=np.array(columns["product_type"], dtype=np.int64),
        energy=np.array(columns["energy"], dtype=np.int64),
        usage_grade=np.array(columns["usage_grade"], dtype=np.int64),
        days_past_due=np.array(columns["days_past_due"]),
        pd_at_origination=np.array(columns["pd_at_origination"]),
    )


def _number(low: float, high: float, *, open_low: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value > high or value < low or (open_low and value == low):
            raise ValueError
        return value

    return parse


def _if_known(parse: Callable[[str], float]) -> Callable[[str], float]:
    return lambda text: parse(text) if text else math.nan


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


def _one_of(values: tuple[str, ...]) -> Callable[[str], int]:
    return lambda text: values.index(text.upper())


_PARSERS: dict[str, Callable[[str], Any]] = {
    "loan_id": str,
    "outstanding": _number(0, 1e12, open_low=True),
    "months_left": _whole(1, MAX_TERM_MONTHS),
    "nominal_rate": _number(0, 10),
    "annual_rate_irr": _number(0, 100),
    "pd_12m": _number(0, 1, open_low=True),
    "value_p50": _number(0, 1e12),
    "value_p10": _number(0, 1e12),
    "method": lambda text: ("EQUAL_PAYMENT", "EQUAL_PRINCIPAL", "INTEREST_ONLY")[
        _one_of(("EQUAL_PAYMENT", "EQUAL_PRINCIPAL", "INTEREST_ONLY"))(text)
    ],
    "lender_type": _one_of(LENDERS),
    "product_type": _one_of(PRODUCTS),
    "energy": _one_of(ENERGIES),
    "usage_grade": _whole(1, 5),
    "days_past_due": _if_known(_number(0, 36_500)),
    "pd_at_origination": _if_known(_number(0, 1, open_low=True)),
}
