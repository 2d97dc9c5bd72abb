"""Sales after the small model's cutoff, from the same simulated market."""

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import yaml

from carlien_valuation.simulation.market import HEADER, MAPPING, simulate

SALES_UNTIL = date(2028, 6, 30)


@pytest.fixture(scope="session")
def make_sales(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Writes sales up to two years after the model's cutoff, at `level` times what sellers ask, and their mapping."""

    def make(level: float = 1.0, rows: int = 700, section: dict[str, object] | None = None) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp("sales")
        sold, mapping = folder / "sales.csv", folder / "sales.yaml"
        with sold.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            for row in simulate(rows, 17, SALES_UNTIL):
                writer.writerow([*row[:-1], round(row[-1] * level)])
        document = yaml.safe_load(MAPPING)
        document["outcomes"] = section or {"source": "Auction A", "price_type": "DEALER_RETAIL", "reference": "listing"}
        mapping.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        return sold, mapping

    return make
