"""Dates of a loan: due dates and day counts."""

import calendar
from datetime import date
from decimal import Decimal
from enum import StrEnum


class DayCount(StrEnum):
    """How the length of an interest period is measured, in years."""

    THIRTY_360 = "30/360"
    """Every month is 1/12 year: the market's monthly rate. Due dates are whole months apart."""
    ACT_365 = "ACT/365"
    """Days over 365, in leap years too."""
    ACT_360 = "ACT/360"
    """Days over 360: the convention of Chinese interbank and most bank loans."""
    ACT_ACT = "ACT/ACT"
    """ISDA: days in leap years over 366, the others over 365."""


_IN_EVERY_MONTH = 28


def add_months(start: date, months: int) -> date:
    """The same day `months` later, or the month's last day where it has no such day (31 January + 1 = 28 February)."""
    month_index = start.year * 12 + start.month - 1 + months
    year, month = divmod(month_index, 12)
    if start.day <= _IN_EVERY_MONTH:
        return date(year, month + 1, start.day)
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


def months_between(start: date, end: date) -> int:
    """Whole months from `start` to `end`; negative where `end` is earlier."""
    months = (end.year - start.year) * 12 + end.month - start.month
    if months > 0 and add_months(start, months) > end:
        return months - 1
    if months < 0 and add_months(start, months) < end:
        return months + 1
    return months


def year_fraction(start: date, end: date, convention: DayCount) -> Decimal:
    """Length of [start, end) in years.

    30/360 follows the bond basis (ISDA 2006 section 4.16(f)): a 31st counts as a 30th.
    """
    days = (end - start).days
    match convention:
        case DayCount.THIRTY_360:
            first = min(start.day, 30)
            last = 30 if end.day == 31 and first == 30 else end.day
            thirties = (end.year - start.year) * 360 + (end.month - start.month) * 30 + last - first
            return Decimal(thirties) / 360
        case DayCount.ACT_365:
            return Decimal(days) / 365
        case DayCount.ACT_360:
            return Decimal(days) / 360
        case DayCount.ACT_ACT:
            total = Decimal(0)
            for year in range(start.year, end.year + 1):
                begin, stop = max(start, date(year, 1, 1)), min(end, date(year + 1, 1, 1))
                total += Decimal((stop - begin).days) / (366 if calendar.isleap(year) else 365)
            return total
