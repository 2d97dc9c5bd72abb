"""IFRS 9 stages and loss allowances of a re-priced book: by segment for the report, and loan by loan as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.book import ENERGIES, LENDERS, PRODUCTS, Book, BookResult

STAGES = (1, 2, 3)


def by_segment(book: Book, results: Mapping[str, BookResult]) -> list[dict[str, Any]]:
    """One row per scenario and segment that has loans: the whole book, and each stage, product, lender type, energy and usage grade.

    `coverage` is the allowance over the outstanding amount.
    """
    rows = []
    for scenario, result in results.items():
        for axis, value, chosen in _segments(book, result):
            outstanding = float(book.outstanding[chosen].sum())
            allowance = float(result.allowance[chosen].sum())
            rows.append(
                {
                    "scenario": scenario,
                    "axis": axis,
                    "segment": value,
                    "loans": int(chosen.sum()),
                    "outstanding": round(outstanding, 2),
                    **{f"share_stage_{stage}": _share(book, chosen & (result.stage == stage), outstanding) for stage in STAGES},
                    "ecl_12m": round(float(result.ecl_12m[chosen].sum()), 2),
                    "ecl_lifetime": round(float(result.ecl_lifetime[chosen].sum()), 2),
                    "allowance": round(allowance, 2),
                    "coverage": round(allowance / outstanding, 6),
                }
            )
    return rows


def _share(book: Book, chosen: npt.NDArray[np.bool_], outstanding: float) -> float:
    return round(float(book.outstanding[chosen].sum()) / outstanding, 6)


def _segments(book: Book, result: BookResult) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    yield "book", "all", np.ones(len(book), dtype=np.bool_)
    axes: list[tuple[str, npt.NDArray[np.int64], Mapping[int, str]]] = [
        ("stage", result.stage, {stage: str(stage) for stage in STAGES}),
        ("product_type", book.product, dict(enumerate(PRODUCTS))),
        ("lender_type", book.lender, dict(enumerate(LENDERS))),
        ("energy", book.energy, dict(enumerate(ENERGIES))),
        ("usage_grade", book.usage_grade, {grade: str(grade) for grade in range(1, 6)}),
    ]
    for axis, codes, names in axes:
        for code, name in names.items():
            chosen = codes == code
            if chosen.any():
                yield axis, name, chosen


def loans_csv(book: Book, results: Mapping[str, BookResult]) -> str:
    """One line per loan and scenario."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["loan_id", "scenario", "stage", "ecl_12m", "ecl_lifetime", "allowance"])
    for scenario, result in results.items():
        amounts = [np.round(column, 2).tolist() for column in (result.ecl_12m, result.ecl_lifetime, result.allowance)]
        for loan_id, stage, *money in zip(book.loan_id.tolist(), result.stage.tolist(), *amounts, strict=True):
            writer.writerow([loan_id, scenario, stage, *(f"{amount:.2f}" for amount in money)])
    return text.getvalue()


def stacked_stages(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Allowance by scenario, its stages on top of each other, in million."""
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    left = np.zeros(len(scenarios))
    for stage, color in zip(STAGES, ("#8fb8d4", "#e0a458", "#a33"), strict=True):
        found = {row["scenario"]: row["allowance"] / 1e6 for row in rows if (row["axis"], row["segment"]) == ("stage", str(stage))}
        width = np.array([found.get(scenario, 0.0) for scenario in scenarios])
        axes.barh(scenarios[::-1], width[::-1], left=left[::-1], color=color, label=f"stage {stage}")
        left += width
    axes.set_xlabel("million")
    axes.legend()
