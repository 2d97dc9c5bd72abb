"""Shifts of a recalibrated model directory: calibration.json, hashed in model.json like every other file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import precondition
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import Shift

FILE = "calibration.json"


def read_shifts(directory: Path) -> dict[PriceType, Shift]:
    """A model directory's shifts per market; none where it was never recalibrated. Raises DomainError MODEL_CORRUPT."""
    path = directory / FILE
    if not path.is_file():
        return {}
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {PriceType(name): Shift(**{key: float(value) for key, value in one.items()}) for name, one in document["shifts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise precondition("MODEL_CORRUPT", f"{path} can't be read: {error}") from None


def shifts_text(shifts: Mapping[PriceType, Shift], report_sha256: str) -> str:
    """The file's text."""
    document = {"report_sha256": report_sha256, "shifts": {kind.value: asdict(shift) for kind, shift in shifts.items()}}
    return json.dumps(document, indent=2) + "\n"
