"""The challenger: gradient boosting held to the scorecard's directions, calibrated out of fold."""

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from carlien_pricing.domain.scorecard import Scorecard
from carlien_pricing.training.loans import Attribute
from carlien_pricing.training.tables import contributions, direction

Array = npt.NDArray[np.float64]

_PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_child_samples": 30,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "reg_lambda": 2.0,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "monotone_constraints_method": "advanced",
}
_ROUNDS = 300


class Challenger:
    """Monotone in every number, in the direction the scorecard found; categories enter as the scorecard's evidence."""

    def __init__(self, attributes: tuple[Attribute, ...], card: Scorecard, x: Array, y: npt.NDArray[np.int64]) -> None:
        self._attributes, self._card = attributes, card
        parts = {part.name: part for part in card.attributes}
        self._kept = [(column, parts[attribute.name]) for column, attribute in enumerate(attributes) if attribute.name in parts]
        constraints = [1 if part.category else direction(part) for _, part in self._kept]
        data = lgb.Dataset(self._matrix(x), y, free_raw_data=True)
        self._booster = lgb.train({**_PARAMETERS, "monotone_constraints": constraints}, data, num_boost_round=_ROUNDS)

    def _matrix(self, x: Array) -> Array:
        return np.column_stack([contributions(part, x[:, column]) if part.category else x[:, column] for column, part in self._kept])

    def log_odds(self, x: Array) -> Array:
        """Log-odds of default."""
        return np.asarray(self._booster.predict(self._matrix(x), raw_score=True))
