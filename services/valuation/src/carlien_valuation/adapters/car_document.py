"""A described car as stored: JSON of its stated fields, read back as it was."""

import json
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any

from carlien_valuation.domain.battery import Pack
from carlien_valuation.domain.car import Car, Usage


def car_json(car: Car, pack: Pack | None = None) -> str:
    """Only what differs from "not stated"."""
    document = {field.name: _plain(getattr(car, field.name)) for field in fields(car) if getattr(car, field.name) != field.default}
    if pack is not None:
        document["battery"] = {field.name: _plain(getattr(pack, field.name)) for field in fields(pack)}
    return json.dumps(document, ensure_ascii=False, sort_keys=True)


def read_car(text: str) -> tuple[Car, Pack | None]:
    """The car and its pack; KeyError or ValueError for what car_json never wrote."""
    document: dict[str, Any] = json.loads(text)
    battery = document.pop("battery", None)
    pack = None
    if battery is not None:
        soh = battery["soh"]
        pack = Pack(Decimal(battery["capacity_kwh"]), battery["chemistry"], None if soh is None else Decimal(soh), battery["leased"])
    for name, read in _READ.items():
        if document.get(name) is not None:
            document[name] = read(document[name])
    return Car(**document), pack


_READ: dict[str, Any] = {
    "first_registration": date.fromisoformat,
    "usage": Usage,
    "new_price": Decimal,
    "options": tuple,
    "warnings": tuple,
}


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
