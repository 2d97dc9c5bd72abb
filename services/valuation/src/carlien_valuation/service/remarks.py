"""What an appraisal says beside its values: stable codes, and sentences that name what they rest on."""

from functools import lru_cache
from typing import NamedTuple

from carlien_valuation.domain.appraisal import Remark
from carlien_valuation.service.ports import Appraiser

STALE_DAYS = 180
"""A model older than this, without an index, is said to be stale."""

UNKNOWN_MODEL = "UNKNOWN_MODEL"
CACHE = 4096


class Facts(NamedTuple):
    """What remarks depend on. Cars that share it share their remarks, and most cars do."""

    car_warnings: tuple[str, ...]
    """Found while the car's description was read."""
    unknown_model: bool
    odometer_missing: bool
    condition_stated: bool
    usage_stated: bool
    region_stated: bool
    options_stated: bool
    too_old: bool
    too_far: bool
    days_behind: int
    """From the model's data to the valuation date; 0 where an index covers them."""
    policy_source: str


class Remarks:
    """Makes them for one model."""

    def __init__(self, appraiser: Appraiser) -> None:
        self._appraiser = appraiser
        self.of = lru_cache(CACHE)(self._of)

    def _of(self, facts: Facts) -> tuple[Remark, ...]:
        appraiser = self._appraiser
        from_policy = [
            name
            for name, known, stated in (
                ("condition", appraiser.condition, facts.condition_stated),
                ("usage and transfers", appraiser.usage, facts.usage_stated),
            )
            if stated and not known
        ]
        rules = (
            (appraiser.synthetic, "SYNTHETIC_MODEL", "The model was trained on simulated listings; this is not a market value."),
            (
                facts.unknown_model,
                UNKNOWN_MODEL,
                "Unknown to the model: valued from its make and name, with the interval measured for such cars.",
            ),
            (facts.odometer_missing, "ODOMETER_MISSING", "Valued at the distance that is typical for its age."),
            (
                bool(from_policy),
                "ADJUSTMENT_FROM_POLICY",
                f"The data doesn't tell {' and '.join(from_policy)} apart; adjusted by: {facts.policy_source}.",
            ),
            (facts.region_stated and not appraiser.region, "REGION_NOT_VALUED", "The training data has no region."),
            (facts.options_stated, "OPTIONS_NOT_VALUED", "Options are not valued: the training data has none."),
            (facts.too_old, "AGE_BEYOND_DATA", f"Older than 99 % of the training cars ({appraiser.max_age_years:.0f} years)."),
            (
                facts.too_far,
                "ODOMETER_BEYOND_DATA",
                f"Driven further than 99 % of the training cars ({appraiser.max_odometer_km:.0f} km).",
            ),
            (
                facts.days_behind > STALE_DAYS,
                "MARKET_LEVEL_STALE",
                f"The model's market ends {facts.days_behind} days before the valuation date; no index brings it forward.",
            ),
            (
                True,
                "PRICE_TYPES_FROM_POLICY",
                f"The model values {appraiser.price_kind.replace('_', ' ')} prices; other markets by: {facts.policy_source}.",
            ),
        )
        return (*of_car(facts.car_warnings), *(Remark(code, text) for applies, code, text in rules if applies))


def of_car(warnings: tuple[str, ...]) -> tuple[Remark, ...]:
    """What the car's description itself made remarkable."""
    return tuple(Remark(code, "The VIN's check digit is not the one GB 16735 and ISO 3779 prescribe.") for code in warnings)
