"""A file of realised sales. Its mapping is that of a listings file plus an `outcomes` section.

```yaml
outcomes: {source: Auction house A, price_type: WHOLESALE, vin: VIN, reference: lot}
fields:                        # as for listings: `price` is what was paid, `as_of` the day of the sale
  make: make
  …
```
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from carlien_common.domain.errors import DomainError, ErrorKind, FieldViolation, invalid
from carlien_common.domain.ids import new_id
from carlien_common.domain.money import Money
from carlien_common.domain.vin import parse_vin
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.car import ACCIDENT_GRADE, Car, Usage
from carlien_valuation.domain.outcome import Outcome
from carlien_valuation.listings.checks import DAYS_PER_YEAR, check
from carlien_valuation.listings.mapping import Mapping, parse_mapping
from carlien_valuation.listings.read import ATTRIBUTE, EPOCH, read_listings

VIN, REFERENCE, MARKET = "outcome_vin", "outcome_reference", "outcome_market"


@dataclass(frozen=True, slots=True)
class OutcomeMapping:
    """A listings mapping and what makes its rows sales."""

    rows: Mapping
    source: str
    price_type: PriceType | None
    """None: a column says it."""


@dataclass(frozen=True, slots=True)
class Sales:
    """What was read: sales, and how many rows aren't any, by reason."""

    outcomes: tuple[Outcome, ...]
    rows_read: int
    rejected: Counter[str]


def load_outcome_mapping(path: Path) -> OutcomeMapping:
    """Read and check a mapping; raises DomainError MAPPING_* naming every fault."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid("mapping", "MAPPING_NOT_FOUND", f"the mapping file {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid("mapping", "MAPPING_UNREADABLE", f"{path} is not YAML in UTF-8: {error}") from None
    return parse_outcome_mapping(document, str(path))


def parse_outcome_mapping(document: object, name: str = "mapping") -> OutcomeMapping:
    """Check a mapping document; raises DomainError MAPPING_INVALID."""
    document = dict(document) if isinstance(document, dict) else {}
    section: Any = document.pop("outcomes", {})
    schema = json.loads(files("carlien_valuation.schemas").joinpath("outcomes.schema.json").read_text(encoding="utf-8"))
    faults = [
        FieldViolation(".".join(["outcomes", *map(str, error.absolute_path)]), "MAPPING_INVALID", error.message)
        for error in Draft202012Validator(schema).iter_errors(section)
    ]
    if faults:
        raise DomainError(ErrorKind.INVALID, "MAPPING_INVALID", f"{name} is not a valid mapping of sales", faults)
    attributes = dict(document.get("attributes", {}))
    for key, target in (("vin", VIN), ("reference", REFERENCE)):
        if key in section:
            attributes[target] = {"column": section[key], "kind": "category"}
    market = section["price_type"]
    if isinstance(market, dict):
        attributes[MARKET] = {**market, "kind": "category"}
    rows = parse_mapping({**document, "attributes": attributes}, name)
    for needed in ("price", "as_of", "currency"):
        if needed not in rows.fields:
            raise invalid(f"fields.{needed}", "MAPPING_INVALID", f"{name} doesn't say where {needed} of a sale is")
    return OutcomeMapping(rows, section["source"], None if isinstance(market, dict) else PriceType(market))


def read_sales(paths: Sequence[Path], mapping: OutcomeMapping) -> Sales:
    """Rows to sales, checked like listings; raises DomainError for a file that is wrong as a whole."""
    table = read_listings(paths, mapping.rows)
    listings = check(table)
    rejected = Counter(table.rejections.counts)
    outcomes: list[Outcome] = []
    for row in listings.frame.to_dict("records"):
        try:
            outcomes.append(_outcome(row, mapping, listings.currency))
        except DomainError as error:
            rejected[error.reason] += 1
    return Sales(tuple(outcomes), table.rows_read, rejected)


def _outcome(row: dict[Any, Any], mapping: OutcomeMapping, currency: str) -> Outcome:
    vin_text = str(row.get(ATTRIBUTE + VIN, ""))
    vin = parse_vin(vin_text).value if vin_text else ""
    price_type = mapping.price_type or _market(str(row.get(ATTRIBUTE + MARKET, "")))
    sold_on = EPOCH + timedelta(days=int(row["as_of"]))
    price = Money(Decimal(repr(float(row["price"]))), currency).quantized()
    car = _car(row, vin, currency, sold_on)
    reference = str(row.get(ATTRIBUTE + REFERENCE, "")) or _digest(car, price, sold_on)
    return Outcome(new_id(), vin, price, price_type, sold_on, car.odometer_km, mapping.source, reference[:200], car)


def _market(cell: str) -> PriceType:
    try:
        return PriceType(cell.strip().upper().replace(" ", "_"))
    except ValueError:
        raise invalid("outcomes.price_type", "PRICE_TYPE_UNKNOWN", f"{cell!r} is no market; translate it with `values`") from None


def _car(row: dict[Any, Any], vin: str, currency: str, sold_on: date) -> Car:
    registered = _number(row["registered"])
    age = _number(row["age_years"])
    if registered is not None:
        first: date | None = EPOCH + timedelta(days=int(registered))
    else:
        first = None if age is None else sold_on - timedelta(days=round(age * DAYS_PER_YEAR))
    new_price, odometer, transfers = _number(row["new_price"]), _number(row["odometer_km"]), _number(row["transfer_count"])
    grade = _number(row["condition_grade"])
    usage = str(row["usage_nature"]).upper()
    return Car(
        vin=vin,
        make=row["make"],
        model=row["model"],
        trim=row["trim"],
        first_registration=first,
        odometer_km=None if odometer is None else round(odometer),
        region_code=row["region_code"],
        usage=Usage[usage] if usage in Usage.__members__ else Usage.PRIVATE,
        transfer_count=None if transfers is None else int(transfers),
        color=row["color"],
        fuel_type=str(row["fuel_type"]).upper(),
        new_price=None if new_price is None else Decimal(repr(new_price)),
        new_price_currency="" if new_price is None else currency,
        grade=ACCIDENT_GRADE if str(row["accident"]).casefold() == "major" else None if grade is None else int(min(max(grade, 1), 5)),
    )


def _number(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def _digest(car: Car, price: Money, sold_on: date) -> str:
    text = json.dumps([repr(car), str(price.amount), sold_on.isoformat()], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
