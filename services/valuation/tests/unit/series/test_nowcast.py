"""The market's level from fresh listings of the simulated market, whose level is known."""

import csv
import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from carlien_common.domain.errors import DomainError
from carlien_valuation.cli import main
from carlien_valuation.domain.index_publication import IndexKey, IndexPoint, Publication
from carlien_valuation.series.nowcast import FreshMarket, market_nowcast
from carlien_valuation.simulation.market import HEADER, MAPPING, simulate

CUTOFF = date(2026, 6, 29)


def index(*levels: float) -> Publication:
    months = [date(2026, 5 + place, 1) for place in range(len(levels))]
    points = tuple(IndexPoint(month, level, 0.002, 500) for month, level in zip(months, levels, strict=True))
    return Publication(IndexKey("all", "all"), months[-1], months[0], points, "h", datetime(2026, 9, 1, tzinfo=UTC))


def fresh(change: float, n: int = 200, month: int = 9) -> FreshMarket:
    noise = np.random.default_rng(1).normal(0, 0.08, n)
    return FreshMarket(date(2026, month, 1), change + noise - np.median(noise), 0, "h")


def test_what_the_index_told_since_the_models_cutoff_is_not_counted_twice() -> None:
    """The index fell by 5 % since the cutoff already; prices 5 % below the model's values then say that nothing more happened."""
    found = market_nowcast(fresh(np.log(0.95)), index(100.0, 100.0, 95.0), CUTOFF, 0.015)
    assert found.level == pytest.approx(95.0, rel=1e-6)
    further = market_nowcast(fresh(np.log(0.90)), index(100.0, 100.0, 95.0), CUTOFF, 0.015)
    assert 90.0 < further.level < 91.5
    assert further.standard_error < 0.01


def test_few_prices_say_little_and_without_an_index_the_cutoff_is_100() -> None:
    few, many = (market_nowcast(fresh(np.log(0.9), n), None, CUTOFF, 0.015) for n in (5, 2000))
    assert 100 > few.level > many.level > 90
    assert few.weight < many.weight


def test_a_month_the_index_has_is_not_nowcast() -> None:
    with pytest.raises(DomainError) as raised:
        market_nowcast(fresh(0.0, month=7), index(100.0, 100.0, 95.0), CUTOFF, 0.015)
    assert raised.value.reason == "INDEX_AHEAD"


@pytest.mark.parametrize(
    ("segment", "until", "code"), [("all", "2026-09-30", 0), ("fuel:diesel", "2026-09-30", 2), ("all", "2026-06-30", 2)]
)
def test_the_command_tells_the_level_of_the_last_month(segment: str, until: str, code: int, model_directory: Path, tmp_path: Path) -> None:
    listings, mapping, report = tmp_path / "fresh.csv", tmp_path / "mapping.yaml", tmp_path / "r.json"
    with listings.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([*row[:-1], round(row[-1] * 0.9)] for row in simulate(1200, 8, date.fromisoformat(until)))
    mapping.write_text(MAPPING, encoding="utf-8")
    arguments = ["--model", str(model_directory), "--listings", str(listings), "--mapping", str(mapping), "--segment", segment]
    assert main(["nowcast", *arguments, "--report", str(report)]) == code
    if code == 0:
        told = json.loads(report.read_text())
        assert (told["month"], told["stored"]) == ("2026-09", False)
        # Sellers ask 10 % less than in the market the model learned from; its own slow swing is in there too.
        assert 84 < told["level"] < 97
