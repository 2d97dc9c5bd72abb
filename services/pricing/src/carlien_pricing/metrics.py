"""All metrics of pricing. Names are carlien_pricing_<what>_<base unit>; labels have few values, never an id."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from carlien_common.metrics import at_zero
from carlien_pricing.domain.policy import ProductType

QUOTES: Final = Counter("carlien_pricing_quotes_total", "Quotes made, by product and decision.", ("product", "decision"))
DECLINE_REASONS: Final = Counter("carlien_pricing_decline_reasons_total", "Reasons that declined a quote.", ("reason",))
ACCEPTED: Final = Counter("carlien_pricing_quotes_accepted_total", "Quotes accepted.")
PRICE_SECONDS: Final = Histogram(
    "carlien_pricing_price_seconds",
    "Computing one quote, simulation included, without any dependency.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
DEGRADED: Final = Counter(
    "carlien_pricing_degraded_calls_total", "Calls to a dependency that failed or missed their deadline.", ("dependency",)
)
WATCH_CHANGES: Final = Counter(
    "carlien_pricing_watch_changes_total", "Changes of watches that were told, by kind and cause.", ("change", "cause")
)
WATCHES: Final = Gauge("carlien_pricing_watches", "Watched loans, by stage.", ("stage",))
BOOK_HEAT: Final = Gauge(
    "carlien_pricing_watch_book_loans", "Open watched loans, by band of LTV on P50 and monitoring tier.", ("ltv_band", "tier")
)

at_zero(QUOTES, ProductType, ["offer", "decline"])
at_zero(DEGRADED, ["valuation", "lien-registry", "telematics"])
