"""Loads policy bundles from YAML: structure by pydantic (every unknown or missing field is an error), sense by the domain."""

import hashlib
import json
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from carlien_pricing.domain.ladder import LadderRules, check_ladders
from carlien_pricing.domain.matrix import Cell, GradeRules, Grades, RiskMatrix, check_matrix
from carlien_pricing.domain.policy import LawTables, check_law_tables
from carlien_pricing.domain.products import (
    EconomicsRow,
    PolicyBundle,
    ProductPack,
    check_economics,
    check_packs,
)

FILES = (
    "lpr", "rate_caps", "ltv_limits", "tenor_limits", "default_interest", "fee_limits", "upfront_interest",
    "products", "economics", "risk_matrix", "watch",
)  # fmt: skip


class PolicyError(Exception):
    """A policy file is missing, malformed or makes no sense; the service doesn't start."""


def read_files(folder: Path | None = None) -> dict[str, str]:
    """The text of every policy file, by name; the packaged ones where no folder is given."""
    root = files("carlien_pricing.policies") if folder is None else folder
    texts = {}
    for name in FILES:
        try:
            texts[name] = root.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        except OSError as error:
            raise PolicyError(f"{name}.yaml: {error.strerror}") from error
    return texts


def bundle_version(texts: dict[str, str]) -> str:
    """Content address of a bundle, so that a stored quote names exactly what it was priced with."""
    return hashlib.sha256(json.dumps(texts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def parse_bundle(texts: dict[str, str]) -> PolicyBundle:
    """Parsed and checked; PolicyError names the file and what is wrong with it."""
    raw: dict[str, Any] = {}
    for name in FILES:
        try:
            raw[name] = yaml.load(texts[name], Loader=_LOADER)  # noqa: S506 - a safe loader
        except (yaml.YAMLError, KeyError) as error:
            raise PolicyError(f"{name}.yaml: {error}") from error
    try:
        law = TypeAdapter(LawTables).validate_python(
            {
                "lpr": raw["lpr"],
                **{name: raw[name]["rows"] for name in FILES[1:7]},
            }
        )
        packs = TypeAdapter(tuple[ProductPack, ...]).validate_python(raw["products"]["packs"])
        economics = TypeAdapter(tuple[EconomicsRow, ...]).validate_python(raw["economics"]["rows"])
        ladders = TypeAdapter(tuple[LadderRules, ...]).validate_python(raw["watch"]["rows"])
        matrices = tuple(_matrix(version) for version in raw["risk_matrix"]["versions"])
        check_law_tables(law)
        check_ladders(ladders)
        check_packs(packs)
        check_economics(economics)
        for matrix in matrices:
            check_matrix(matrix)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise PolicyError(f"policies: {error}") from error
    return PolicyBundle(bundle_version(texts), law, {pack.product: pack for pack in packs}, economics, matrices, ladders)


def load_bundle(folder: Path | None = None) -> PolicyBundle:
    """The bundle in a folder, or the packaged one."""
    return parse_bundle(read_files(folder))


def _matrix(raw: dict[str, Any]) -> RiskMatrix:
    cells: dict[Grades, Cell] = {}
    for borrower, collateral, usage, lend, max_ltv, add_on, tenor, tier in raw["cells"]:
        grades = Grades(borrower, collateral, usage)
        if grades in cells:
            raise ValueError(f"cell {grades} occurs twice")
        cells[grades] = Cell(grades, bool(lend), Decimal(str(max_ltv)), add_on, tenor, tier)
    return RiskMatrix(
        TypeAdapter(str).validate_python(raw["version"]),
        TypeAdapter(date).validate_python(raw["effective_from"]),
        TypeAdapter(GradeRules).validate_python(raw["grade_rules"]),
        cells,
    )


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
