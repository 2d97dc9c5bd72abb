"""Configuration of valuation, from the environment."""

from pathlib import Path

from pydantic import Field

from carlien_common.config import ServiceSettings


class ValuationSettings(ServiceSettings):
    """What only valuation reads."""

    model_dir: Path
    """The model directory to serve, as written by `carlien-valuation train`."""
    appraisal_policy_file: Path | None = None
    """Dated tables for what the data can't tell, instead of the shipped ones."""
    residual_policy_file: Path | None = None
    """How forecasts widen with the horizon, instead of the shipped table."""
    battery_policy_file: Path | None = None
    """Prices and fade of batteries, instead of the shipped table."""
    liquidation_policy_file: Path | None = None
    """What a forced sale costs, instead of the shipped table."""
    index_region: str = "all"
    """Region of the published index that values move with."""
    appraisal_topic: str = "carlien.valuation.appraisal.v1"
    profile_topic: str = "carlien.telematics.profile.v1"
    lien_topic: str = "carlien.lien.event.v1"
    consumer_group: str = "valuation"
    max_batch: int = Field(64, ge=1, le=1024)
    """Appraisals computed together; more wait for the next batch."""
    max_waiting: int = Field(2000, ge=1)
    """Appraisals that may wait; more are refused with RESOURCE_EXHAUSTED."""
