"""Fits what the scorecard leaves over, where that is much: boosted trees on top of it, held to its directions."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.model_selection import StratifiedKFold

from carlien_pricing.domain.refinement import Refinement, Tree
from carlien_pricing.domain.scorecard import Scorecard, ScorecardAttribute
from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.measure import auc, calibration
from carlien_pricing.training.scorecard import fit_scorecard
from carlien_pricing.training.tables import contributions, direction, scorecard_log_odds

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

WORTH_IT = 1.004
"""A refinement is taken only where it raises the AUC by this factor out of sample: a plain card is easier to explain."""

_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 20,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "monotone_constraints_method": "intermediate",
}
_ROUNDS = (50, 100, 200, 400)
_FOLDS = 3
_DIRECTIONS_KEPT = 0.995
_NEARLY = 0.001
_AGAINST = 0.25
_GRID = 16
_SAMPLE = 800


def fit_borrower_model(attributes: tuple[Attribute, ...], x: Array, y: Labels, ratios: dict[str, list[str]] | None = None) -> Scorecard:
    """The scorecard, calibrated on cards that hadn't seen the rows, and refined where that is worth it."""
    folds = _folds(attributes, x, y, ratios)
    slope, shift = calibration(_outside(folds, len(y)), y)
    card = _calibrated(fit_scorecard(attributes, x, y, ratios), slope, shift)
    folds = [replace(fold, base=shift + slope * fold.base) for fold in folds]
    refinement = fit_refinement(attributes, card, x, y, folds)
    digest = hashlib.sha256(repr((card, refinement)).encode()).hexdigest()[:12]
    return replace(card, version=f"scorecard-{digest}", refinement=refinement)


def _calibrated(card: Scorecard, slope: float, shift: float) -> Scorecard:
    """Points are a little too sure of themselves on loans they haven't seen: all are scaled alike, so their order stays."""
    parts = tuple(
        replace(part, log_odds=tuple(round(value * slope, 9) for value in part.log_odds), missing=round(part.missing * slope, 9))
        for part in card.attributes
    )
    return replace(card, intercept=round(shift + slope * card.intercept, 9), attributes=parts)


def log_odds(card: Scorecard, attributes: tuple[Attribute, ...], x: Array) -> Array:
    """Log-odds of default of each row, refinement included."""
    points = scorecard_log_odds(card, attributes, x)
    return points if card.refinement is None else points + refinement_log_odds(card.refinement, card, attributes, x)


def fit_refinement(attributes: tuple[Attribute, ...], card: Scorecard, x: Array, y: Labels, folds: "list[_Fold]") -> Refinement | None:
    """None where the card alone is nearly as good. Deterministic."""
    columns = [(number, part) for number, attribute in enumerate(attributes) for part in card.attributes if part.name == attribute.name]
    matrix = _matrix(columns, x)
    base = scorecard_log_odds(card, attributes, x)
    every = [_direction(attributes[number], part) for number, part in columns]
    declared = [
        step if attributes[number].category or attributes[number].effect != "auto" else 0
        for step, (number, _) in zip(every, columns, strict=True)
    ]
    alone = auc(_outside(folds, len(y)), y)
    # A glance first: where a short search finds next to nothing, a long one won't find what is asked for.
    if _search(declared, matrix, y, folds, _ROUNDS[:2]).auc < (1 + WORTH_IT) / 2 * alone:
        return None
    # What the card found is the direction of an attribute by itself; beside the others it may turn.
    free_hand = _boost(declared, matrix, y, base, _ROUNDS[1])
    firm = [
        step if step == told or not _turns(free_hand, matrix, column, step) else 0
        for column, (step, told) in enumerate(zip(every, declared, strict=True))
    ]
    held = _search(every, matrix, y, folds, _ROUNDS)
    free = held if firm == every else _search(firm, matrix, y, folds, _ROUNDS)
    # Directions that turn are given up only where holding them costs something.
    chosen, directions = (held, every) if held.auc >= _DIRECTIONS_KEPT * free.auc else (free, firm)
    if chosen.auc < WORTH_IT * alone:
        return None
    booster = _boost(directions, matrix, y, base, chosen.rounds)
    trees = tuple(_tree(info["tree_structure"]) for info in booster.dump_model()["tree_info"])
    names = tuple(part.name for _, part in columns)
    turning = tuple(name for name, step in zip(names, directions, strict=True) if step == 0)
    return Refinement(names, trees, round(chosen.scale, 6), turning)


@dataclass(frozen=True, slots=True)
class _Found:
    """The number of rounds with the best AUC out of sample, and how far they are believed then."""

    rounds: int
    scale: float
    auc: float


@dataclass(frozen=True, slots=True)
class _Fold:
    """Rows to learn from and to measure on, and the log-odds of a card that saw only the first."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    base: Array


def _folds(attributes: tuple[Attribute, ...], x: Array, y: Labels, ratios: dict[str, list[str]] | None) -> list[_Fold]:
    splitter = StratifiedKFold(_FOLDS, shuffle=True, random_state=1)
    return [
        _Fold(train, test, scorecard_log_odds(fit_scorecard(attributes, x[train], y[train], ratios), attributes, x))
        for train, test in splitter.split(x, y)
    ]


def _outside(folds: list[_Fold], n: int) -> Array:
    base = np.zeros(n)
    for fold in folds:
        base[fold.test] = fold.base[fold.test]
    return base


def _search(directions: list[int], matrix: Array, y: Labels, folds: list[_Fold], lengths: tuple[int, ...]) -> _Found:
    outside = {rounds: np.zeros(len(y)) for rounds in lengths}
    for fold in folds:
        booster = _boost(directions, matrix[fold.train], y[fold.train], fold.base[fold.train], max(lengths))
        for rounds in lengths:
            outside[rounds][fold.test] = booster.predict(matrix[fold.test], raw_score=True, num_iteration=rounds)
    base = _outside(folds, len(y))
    found = []
    for rounds, extra in outside.items():
        scale = _scale(base, extra, y)
        found.append(_Found(rounds, scale, auc(base + scale * extra, y)))
    # The fewest rounds that rank nearly as well: more are surer of themselves than they should be.
    best = max(one.auc for one in found)
    return next(one for one in found if one.auc >= best - _NEARLY)


def refinement_log_odds(refinement: Refinement, card: Scorecard, attributes: tuple[Attribute, ...], x: Array) -> Array:
    """What it adds to each row."""
    columns = [(number, part) for number, attribute in enumerate(attributes) for part in card.attributes if part.name == attribute.name]
    matrix = _matrix(columns, x)
    total = np.zeros(len(x))
    for tree in refinement.trees:
        total += _values(tree, matrix)
    return refinement.scale * total


def _values(tree: Tree, matrix: Array) -> Array:
    asked, threshold = np.asarray(tree.attribute), np.asarray(tree.threshold)
    missing_left, value = np.asarray(tree.missing_left), np.asarray(tree.value)
    left, right = np.asarray(tree.left), np.asarray(tree.right)
    node = np.zeros(len(matrix), dtype=np.int64)
    rows = np.arange(len(matrix))
    while (inner := asked[node] >= 0).any():
        cell = matrix[rows[inner], asked[node[inner]]]
        at = node[inner]
        goes_left = np.where(np.isnan(cell), missing_left[at], cell <= threshold[at])
        node[inner] = np.where(goes_left, left[at], right[at])
    return np.asarray(value[node])


def _matrix(columns: list[tuple[int, ScorecardAttribute]], x: Array) -> Array:
    """Numbers as they are; categories as the card's evidence, so that theirs is a direction too."""
    return np.column_stack([contributions(part, x[:, number]) if part.category else x[:, number] for number, part in columns])


def _boost(directions: list[int], matrix: Array, y: Labels, base: Array, rounds: int) -> lgb.Booster:
    parameters = {**_PARAMETERS, "monotone_constraints": directions}
    return lgb.train(parameters, lgb.Dataset(matrix, y, init_score=base, free_raw_data=True), num_boost_round=rounds)


def _scale(base: Array, extra: Array, y: Labels) -> float:
    """How far the trees are to be believed, by log loss: more rounds may rank better and yet be too sure."""

    def loss(scale: float) -> float:
        z = base + scale * extra
        return float(np.logaddexp(0, z).sum() - y @ z)

    return float(minimize_scalar(loss, bounds=(0.0, 1.5), method="bounded").x)


def _direction(attribute: Attribute, part: ScorecardAttribute) -> int:
    """As declared, else as the card found it."""
    if attribute.category:
        return 1
    if attribute.effect != "auto":
        return 1 if attribute.effect == "rising" else -1
    return direction(part)


def _turns(booster: lgb.Booster, matrix: Array, column: int, step: int) -> bool:
    """Whether, all else being equal, risk moves against the direction for a good part of its way (partial dependence)."""
    known = matrix[~np.isnan(matrix[:, column]), column]
    grid = np.unique(np.quantile(known, np.linspace(0.05, 0.95, _GRID)))
    rows = matrix[:: max(len(matrix) // _SAMPLE, 1)].copy()
    curve = []
    for value in grid:
        rows[:, column] = value
        curve.append(float(np.mean(booster.predict(rows, raw_score=True))))
    moves = np.diff(curve) * step
    way = np.abs(moves).sum()
    return bool(way > 0 and -np.minimum(moves, 0.0).sum() > _AGAINST * way)


def _tree(structure: dict[str, Any]) -> Tree:
    nodes: list[tuple[int, float, bool, int, int, float]] = []

    def add(node: dict[str, Any]) -> int:
        number = len(nodes)
        if "leaf_value" in node:
            nodes.append((-1, 0.0, False, 0, 0, float(node["leaf_value"])))
            return number
        nodes.append((0, 0.0, False, 0, 0, 0.0))
        left, right = add(node["left_child"]), add(node["right_child"])
        asked, bound = int(node["split_feature"]), float(node["threshold"])
        nodes[number] = (asked, bound, bool(node["default_left"]), left, right, float(node["internal_value"]))
        return number

    add(structure)
    return Tree(*(tuple(column) for column in zip(*nodes, strict=True)))
