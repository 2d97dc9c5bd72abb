"""`carlien-pricing readiness`: what of a book could be made anew when the caps of end-2027 hold, under LPR scenarios."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json, write_text

EXAMPLE = """example:
  carlien-pricing readiness --book book.csv --report readiness.html --lpr 0.025,0.03,0.035,0.04

By the end of 2027 every new micro-loan must lie within four times the one-year LPR. The report says, for each LPR, which share of the
book is above its lender's cap on --date if made anew, how many points it is above, and what a year's interest it would lose there.
Exit code 1 where anything is above the cap under the first LPR."""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    parser = subparsers.add_parser(
        "readiness", help="rate-cap readiness of a book", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--book", type=Path, required=True, metavar="CSV", help="columns as for portfolio")
    parser.add_argument("--report", type=Path, required=True, metavar="HTML")
    parser.add_argument("--date", type=date.fromisoformat, default=date(2027, 12, 31), metavar="YYYY-MM-DD")
    parser.add_argument("--lpr", default="0.03,0.025,0.035,0.04", metavar="RATES", help="fractions, comma-separated")
    parser.add_argument("--policies", type=Path, metavar="FOLDER", help="policy tables; the packaged ones without")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the report."""
    import numpy as np

    from carlien_common.domain.errors import invalid
    from carlien_pricing.adapters.book_file import read_book
    from carlien_pricing.adapters.policies import load_bundle
    from carlien_pricing.commands.report import plot, render
    from carlien_pricing.domain.book import LENDERS, tightest_caps

    try:
        rates = [float(text) for text in arguments.lpr.split(",")]
    except ValueError as error:
        raise invalid("lpr", "NUMBER_INVALID", "--lpr takes fractions, comma-separated") from error
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise invalid("lpr", "RATE_OUT_OF_RANGE", "an LPR lies between 0 and 1, for example 0.03")
    policies = load_bundle(arguments.policies)
    book = read_book(arguments.book)
    rows: list[dict[str, Any]] = []
    for rate in rates:
        caps = tightest_caps(policies.law, arguments.date, rate)
        excess = np.maximum(book.annual_rate_irr - caps[book.lender], 0.0)
        for number, lender in enumerate(LENDERS):
            mine = book.lender == number
            if not mine.any():
                continue
            above = mine & (excess > 0)
            amount = float(book.outstanding[mine].sum())
            rows.append(
                {
                    "lpr": rate,
                    "lender_type": str(lender),
                    "cap": round(float(caps[number]), 6),
                    "loans": int(mine.sum()),
                    "loans_above": int(above.sum()),
                    "share_above": round(float(book.outstanding[above].sum()) / amount, 6),
                    "mean_excess": round(float(np.average(excess[above], weights=book.outstanding[above])), 6) if above.any() else 0.0,
                    "interest_lost_a_year": round(float((excess * book.outstanding)[above].sum()), 2),
                }
            )
    header = list(rows[0])
    by_rate = {rate: sum(row["interest_lost_a_year"] for row in rows if row["lpr"] == rate) for rate in sorted(set(rates))}

    def draw(axes: Any) -> None:
        axes.bar([f"{rate:.2%}" for rate in by_rate], [lost / 1e6 for lost in by_rate.values()], color="#2f6f9f")
        axes.set_xlabel("one-year LPR")
        axes.set_ylabel("million a year")

    page = render(
        f"Rate-cap readiness on {arguments.date}",
        f"{len(book)} loans as if made anew that day; policies {policies.version}. All-in cost by IRR against the tightest cap.",
        [{"title": "By LPR and lender", "header": header, "rows": [[str(row[name]) for name in header] for row in rows]}],
        [plot("Interest a year above the caps", draw)],
    )
    write_text(arguments.report, page)
    if arguments.json:
        write_json(None, {"date": arguments.date.isoformat(), "policies": policies.version, "rows": rows})
    first = [row for row in rows if row["lpr"] == rates[0]]
    above_first = sum(row["loans_above"] for row in first)
    say(f"at an LPR of {rates[0]:.2%}: {above_first} of {len(book)} loans above their cap -> {arguments.report}")
    return 1 if above_first else 0
