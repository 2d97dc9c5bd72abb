"""All metrics of lien-registry."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from carlien_common.metrics import at_zero
from carlien_lien_registry.domain.alerts import AlertKind

_SECONDS: Final = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0)

WRITE_SECONDS: Final = Histogram(
    "carlien_lien_registry_write_seconds",
    "From a validated request to its block in the read model, by chaincode function.",
    ("function",),
    buckets=_SECONDS,
)
WRITES: Final = Counter(
    "carlien_lien_registry_writes_total",
    "Writes that ended, by function and outcome (ok or error kind).",
    ("function", "outcome"),
)
CONFLICTS: Final = Counter(
    "carlien_lien_registry_ledger_conflicts_total", "Transactions endorsed anew, by cause (read_conflict, endorsements_differ).", ("cause",)
)
RESUBMISSIONS: Final = Counter("carlien_lien_registry_resubmissions_total", "Envelopes sent again because their outcome was not known.")
PENDING_ENVELOPES: Final = Gauge("carlien_lien_registry_pending_envelopes", "Stored envelopes whose outcome is not known yet.")
PENDING_DETAILS: Final = Gauge(
    "carlien_lien_registry_pending_details", "Private details not yet in the organisation's collection on the ledger."
)
LEDGER_HEIGHT: Final = Gauge("carlien_lien_registry_ledger_height_blocks", "Number of the last block at the peer.")
READ_MODEL_HEIGHT: Final = Gauge("carlien_lien_registry_read_model_height_blocks", "Number of the last block in the read model.")
READ_MODEL_BEHIND_SECONDS: Final = Gauge(
    "carlien_lien_registry_read_model_behind_seconds", "Seconds since the read model was last known to be level with the ledger."
)
BLOCKS: Final = Counter("carlien_lien_registry_blocks_total", "Blocks taken into the read model.")
TRANSACTIONS: Final = Counter("carlien_lien_registry_transactions_total", "Transactions seen in blocks, by validation.", ("validation",))
SEARCHES: Final = Counter("carlien_lien_registry_searches_total", "Certificates issued, by whether anything was found.", ("found",))
MISMATCHES: Final = Counter(
    "carlien_lien_registry_mismatches_total", "Mismatches with official registries, by kind, each time an extract shows them.", ("kind",)
)
ANCHORS_POSTED: Final = Counter("carlien_lien_registry_anchors_posted_total", "Roots of the registry's tree posted on the ledger.")
ANCHORS_REFUSED: Final = Counter(
    "carlien_lien_registry_anchors_refused_total", "Roots that the organisations agree on but that this read model doesn't lead to."
)
ANCHORED_BLOCK: Final = Gauge("carlien_lien_registry_anchored_block", "Newest block on whose root the required organisations agree.")
ALERTS: Final = Counter("carlien_lien_registry_alerts_total", "Alerts written, by kind (expiry_reminder, expired, change).", ("kind",))

at_zero(WRITE_SECONDS, ["RegisterLien"])
at_zero(WRITES, ["RegisterLien"], ["ok"])
at_zero(CONFLICTS, ["read_conflict", "endorsements_differ"])
at_zero(TRANSACTIONS, ["VALID"])
at_zero(SEARCHES, ["true", "false"])
at_zero(ALERTS, [kind.value for kind in AlertKind])
