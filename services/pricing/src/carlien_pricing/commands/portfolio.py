"""`carlien-pricing portfolio`: re-prices and stress-tests a book of loans."""

import argparse
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json, write_text

EXAMPLE = """example:
  carlien-pricing portfolio --book book.csv --report portfolio.html --loans allowances.csv --json

Scenarios: base, market -30 %, LPR +100 bp (funding and caps), PD x 2, all three. Closed-form loss over the remaining life.
IFRS 9: stages by the economics' staging rules, with the PD of the scenario against that at origination; expected credit losses of twelve
months and of the whole life at the loan's own rate. Stage 1 books the former, stage 2 the latter, stage 3 what is lost of what is owed now.
Where days past due or the PD at origination aren't known, a loan is in stage 2 (IFRS 9 7.2.20)."""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    from carlien_pricing.adapters.book_file import COLUMNS

    columns = "\n".join(f"  {name:16} {meaning}" for name, meaning in COLUMNS.items())
    parser = subparsers.add_parser(
        "portfolio",
        help="re-price and stress-test a book",
        epilog=f"{EXAMPLE}\n\ncolumns of the book (CSV with a header):\n{columns}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--book", type=Path, required=True, metavar="CSV")
    parser.add_argument("--report", type=Path, required=True, metavar="HTML")
    parser.add_argument("--loans", type=Path, metavar="CSV", help="write stage and allowance of each loan under each scenario")
    parser.add_argument("--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="rules and economics of this date; today without")
    parser.add_argument("--policies", type=Path, metavar="FOLDER", help="policy tables; the packaged ones without")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the report."""
    import numpy as np

    from carlien_pricing.adapters.book_file import read_book
    from carlien_pricing.adapters.policies import load_bundle
    from carlien_pricing.commands.allowances import by_segment, loans_csv, stacked_stages
    from carlien_pricing.commands.report import plot, render
    from carlien_pricing.domain.book import STRESSES, reprice, tightest_caps

    on = arguments.date or datetime.now(UTC).date()
    policies = load_bundle(arguments.policies)
    book = read_book(arguments.book)
    started = time.monotonic()
    economics = policies.economics_on(on)
    lpr = float(policies.law.lpr.on(on).rate)
    total = float(book.outstanding.sum())
    figures, results = [], {}
    for scenario in STRESSES:
        found = results[scenario.name] = reprice(book, economics, policies, scenario)
        caps = tightest_caps(policies.law, on, lpr + scenario.lpr)[book.lender]
        figures.append(
            {
                "scenario": scenario.name,
                "expected_loss": round(float(found.expected_loss.sum()), 2),
                "expected_loss_share": round(float(found.expected_loss.sum()) / total, 6),
                "capital": round(float(found.capital.sum()), 2),
                "ltv_p50_mean": round(float(np.average(found.ltv_p50, weights=book.outstanding)), 6),
                "share_ltv_p50_above_1": round(float(book.outstanding[found.ltv_p50 > 1].sum()) / total, 6),
                "share_ltv_p10_above_1": round(float(book.outstanding[found.ltv_p10 > 1].sum()) / total, 6),
                "share_below_hurdle": round(float(book.outstanding[found.raroc < economics.hurdle].sum()) / total, 6),
                "share_above_cap_if_new": round(float(book.outstanding[book.annual_rate_irr > caps].sum()) / total, 6),
            }
        )
    allowances = by_segment(book, results)
    seconds = time.monotonic() - started
    report = {
        "loans": len(book), "outstanding": round(total, 2), "date": on.isoformat(), "policies": policies.version,
        "economics": economics.id, "scenarios": figures,
        "allowances": allowances,
    }  # fmt: skip
    page = render(
        "Book of loans: re-priced and stressed",
        f"{len(book)} loans, {total:,.0f} outstanding, rules of {on}, policies {policies.version}. Shares are of the outstanding amount; "
        "above a cap counts a loan as if it were made anew.",
        [
            _table("Scenarios", figures),
            _table("Loss allowance (IFRS 9), base", [row for row in allowances if row["scenario"] == "base"], without=("scenario",)),
            _table("Loss allowance (IFRS 9) by scenario", [row for row in allowances if row["axis"] in ("book", "stage")]),
        ],
        [
            plot("Expected loss, share of the outstanding amount", lambda axes: _bars(axes, figures, "expected_loss_share")),
            plot("Loan to value on P50", lambda axes: _histogram(axes, results, book.outstanding)),
            plot("Outstanding amount above 100 % loan to value", lambda axes: _bars(axes, figures, "share_ltv_p50_above_1")),
            plot("Loss allowance by stage", lambda axes: stacked_stages(axes, allowances)),
        ],
    )
    write_text(arguments.report, page)
    if arguments.loans:
        write_text(arguments.loans, loans_csv(book, results))
    if arguments.json:
        write_json(None, report)
    say(f"{len(book)} loans, {len(figures)} scenarios in {seconds:.1f} s -> {arguments.report}")
    return 0


def _table(title: str, rows: list[dict[str, Any]], without: tuple[str, ...] = ()) -> dict[str, Any]:
    header = [name for name in rows[0] if name not in without]
    return {"title": title, "header": header, "rows": [[_cell(row[name]) for name in header] for row in rows]}


def _cell(value: object) -> str:
    return f"{value:,.4f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}" if isinstance(value, float) else str(value)


def _bars(axes: Any, figures: list[dict[str, Any]], name: str) -> None:
    axes.barh([row["scenario"] for row in figures][::-1], [100 * row[name] for row in figures][::-1], color="#2f6f9f")
    axes.set_xlabel("%")


def _histogram(axes: Any, results: dict[str, Any], weights: Any) -> None:
    import numpy as np

    edges = np.linspace(0, 2, 41)
    for name in ("base", "market -30 %"):
        axes.hist(np.clip(results[name].ltv_p50, 0, 2), edges, weights=weights / 1e6, histtype="step", linewidth=1.6, label=name)
    axes.axvline(1, color="#a33", linewidth=1)
    axes.set_xlabel("outstanding / P50, more than 2 shown as 2")
    axes.set_ylabel("outstanding, million")
    axes.legend()
