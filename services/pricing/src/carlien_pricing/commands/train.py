"""`carlien-pricing train`: fits the scorecard the service uses (CARLIEN_BORROWER_MODEL_FILE)."""

import argparse
from pathlib import Path
from typing import Any

from carlien_pricing.commands.options import say, write_json, write_text

EXAMPLE = """example:
  carlien-pricing train --loans CreditScoring.csv --mapping mappings/creditscoring_es.yaml --out scorecard.json --report report.json"""


def add_parser(subparsers: Any) -> None:
    """Registers the subcommand."""
    parser = subparsers.add_parser(
        "train", help="fit the borrower scorecard", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loans", type=Path, required=True, metavar="CSV")
    parser.add_argument("--mapping", type=Path, required=True, metavar="YAML")
    parser.add_argument("--out", type=Path, default=Path("scorecard.json"), metavar="JSON", help="the model (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="report file; standard output without it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fits on all rows; the report's measures are in-sample: `evaluate` gives honest ones."""
    from carlien_pricing.adapters.codec import to_json
    from carlien_pricing.training.loans import read_loans, read_mapping
    from carlien_pricing.training.measure import measures
    from carlien_pricing.training.refinement import fit_borrower_model, log_odds

    mapping = read_mapping(arguments.mapping)
    loans = read_loans(arguments.loans, mapping)
    card = fit_borrower_model(loans.attributes, loans.x, loans.y, mapping.get("ratios"))
    write_text(arguments.out, to_json(card) + "\n")
    found = measures(log_odds(card, loans.attributes, loans.x), loans.y)
    report = {
        "model_version": card.version,
        "description": loans.description,
        "n": len(loans.y),
        "default_rate": round(float(loans.y.mean()), 6),
        "monotone": all(part.monotone for part in card.attributes),
        "refined": card.refinement is not None,
        "attributes_without_direction": list(card.refinement.turning) if card.refinement else [],
        "in_sample": found,
        "attributes": [
            {
                "name": part.name,
                "points": [round(-value * card.pdo / 0.6931471805599453, 1) for value in part.log_odds],
                "edges": list(part.edges),
                "codes": list(part.codes),
                "missing_points": round(-part.missing * card.pdo / 0.6931471805599453, 1),
            }
            for part in card.attributes
        ],
        "category_codes": {attribute.name: attribute.codes for attribute in loans.attributes if attribute.category},
    }
    write_json(arguments.report, report)
    say(f"{card.version}: {len(card.attributes)} attributes from {len(loans.y)} loans -> {arguments.out}")
    return 0
