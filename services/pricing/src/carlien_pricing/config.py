"""Pricing's configuration."""

from pathlib import Path

from pydantic import Field

from carlien_common.config import ServiceSettings


class PricingSettings(ServiceSettings):
    """CARLIEN_* variables of pricing, besides those of every service."""

    valuation_address: str = Field(min_length=1)
    """host:port of valuation."""
    lien_registry_address: str = Field(min_length=1)
    telematics_address: str = Field(min_length=1)
    valuation_timeout_s: float = Field(3.0, gt=0)
    """After that a quote is refused with VALUATION_UNAVAILABLE."""
    lien_registry_timeout_s: float = Field(2.0, gt=0)
    """After that a quote is refused with LIEN_REGISTRY_UNAVAILABLE; the same time covers the ranking of what was found."""
    telematics_timeout_s: float = Field(0.5, gt=0)
    """After that the worst usage grade is assumed; the same time covers the car's profile."""
    pricing_processes: int = Field(1, ge=1, le=64)
    """Processes that compute prices, besides the one that talks: as many as there are spare cores."""
    policies_dir: Path | None = None
    """Law and house tables instead of the packaged ones; all files of the packaged folder must be there."""
    borrower_model_file: Path | None = None
    """A scorecard.json of `carlien-pricing train`; without one, borrower features are not used."""
    usage_model_file: Path | None = None
    """A usage-to-credit model of `carlien-pricing usage-lift --out`; without one, usage doesn't touch the PD."""
    appraisal_topic: str = "carlien.valuation.appraisal.v1"
    index_topic: str = "carlien.valuation.index.v1"
    index_segment: str = "all"
    """The index by which marks are carried on between appraisals."""
    index_region: str = ""
    """Its region; empty takes any, for a lender of one market."""
    lien_topic: str = "carlien.lien.event.v1"
    alert_topic: str = "carlien.telematics.alert.v1"
    profile_topic: str = "carlien.telematics.profile.v1"
    quote_topic: str = "carlien.pricing.quote.v1"
    watch_topic: str = "carlien.pricing.watch.v1"
    consumer_group: str = "carlien-pricing"
    """Prefix of the consumer groups."""
    cure_check_s: float = Field(30.0, gt=0)
    """How often margin calls are looked at whose cure period may have ended."""
    index_check_s: float = Field(1.0, gt=0)
    """How often watches are looked for that the newest index hasn't carried on yet."""
    audit_check_s: float = Field(30.0, gt=0)
    """How often stock is looked for whose audit is due."""
    book_metrics_s: float = Field(15.0, gt=0)
    """How often the book is counted for the metrics."""
