"""Cross-validated comparison of scorecard, challenger and baselines on the same folds."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

from carlien_pricing.training.challenger import Challenger
from carlien_pricing.training.loans import Loans
from carlien_pricing.training.measure import measures, reliability, stability
from carlien_pricing.training.refinement import fit_borrower_model, log_odds
from carlien_pricing.training.tables import scorecard_log_odds

Array = npt.NDArray[np.float64]
Progress = Callable[[str], None]

AUC_SHARE = 0.99
SLOPE_RANGE = (0.9, 1.1)


def evaluate(loans: Loans, ratios: dict[str, list[str]], seed: int, folds: int, progress: Progress) -> dict[str, Any]:
    """The report: the scorecard's measures out of fold, the challenger's and the baselines' on the same folds, the verdict."""
    predictions: dict[str, Array] = {}
    in_sample = np.zeros(len(loans.y))
    monotone, refined, turning = True, 0, set[str]()
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (train, test) in enumerate(splitter.split(loans.x, loans.y), 1):
        progress(f"fold {number} of {folds}")
        x, y = loans.x[train], loans.y[train]
        card = fit_borrower_model(loans.attributes, x, y, ratios)
        monotone &= all(part.monotone for part in card.attributes)
        if card.refinement is not None:
            refined += 1
            turning |= set(card.refinement.turning)
        in_sample[train] = log_odds(card, loans.attributes, x)
        fitted: dict[str, Callable[[Array], Array]] = {
            "scorecard": partial(log_odds, card, loans.attributes),
            "points_alone": partial(scorecard_log_odds, card, loans.attributes),
            "challenger": Challenger(loans.attributes, card, x, y).log_odds,
            **_baselines(x, y, seed),
        }
        for name, predict in fitted.items():
            predictions.setdefault(name, np.zeros(len(loans.y)))[test] = predict(loans.x[test])
    own = predictions["scorecard"]
    report = measures(own, loans.y)
    baselines = {name: measures(found, loans.y) for name, found in predictions.items() if name in ("lightgbm", "catboost")}
    best = max((found["auc"] for found in baselines.values()), default=0.0)
    report |= {
        "model": "scorecard",
        "description": loans.description,
        "n": len(loans.y),
        "rows_read": loans.rows_read,
        "default_rate": round(float(loans.y.mean()), 6),
        "folds": folds,
        "seed": seed,
        "monotone": bool(monotone),
        "refined_folds": refined,
        "attributes_without_direction": sorted(turning),
        "points_alone": measures(predictions["points_alone"], loans.y),
        "psi": round(stability(in_sample, own), 6),
        "reliability": reliability(1 / (1 + np.exp(-own)), loans.y),
        "challenger": {**measures(predictions["challenger"], loans.y), "monotone": True},
        "baselines": baselines,
        "auc_to_best_baseline": round(report["auc"] / best, 6) if best else None,
    }
    report["passed"] = bool(
        report["monotone"] and report["auc"] >= AUC_SHARE * best and SLOPE_RANGE[0] <= report["calibration_slope"] <= SLOPE_RANGE[1]
    )
    return report


def _baselines(x: Array, y: npt.NDArray[np.int64], seed: int) -> dict[str, Callable[[Array], Array]]:
    """Unconstrained gradient boosting, the way one would set it up without further thought."""
    data = lgb.Dataset(x, y)
    parameters = {
        "objective": "binary", "learning_rate": 0.03, "num_leaves": 15, "min_child_samples": 20, "subsample": 0.8, "subsample_freq": 1,
        "colsample_bytree": 0.7, "verbose": -1, "num_threads": 1, "seed": seed, "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    booster = lgb.train(parameters, data, num_boost_round=200)
    found: dict[str, Callable[[Array], Array]] = {"lightgbm": lambda rows: np.asarray(booster.predict(rows, raw_score=True))}
    try:
        from catboost import CatBoostClassifier
    except ImportError:
        # A development dependency: without it the report has the one baseline and shows so.
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CatBoostClassifier(
            iterations=400, depth=5, learning_rate=0.05, thread_count=1, verbose=0, random_seed=seed, allow_writing_files=False
        ).fit(x, y)
    return {**found, "catboost": lambda rows: np.asarray(model.predict(rows, prediction_type="RawFormulaVal"))}
