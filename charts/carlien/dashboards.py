"""The three dashboards, as code: `python charts/carlien/dashboards.py` writes files/dashboards/*.json; `--check` compares.

One reader each: who lends, who runs it, who answers for the models. Every panel asks one question.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parent / "files" / "dashboards"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Query:
    """One PromQL expression and how its series are named."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One question: its answer over time, or as one number where `now` is true. `unit` is Grafana's."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    now: bool = False


def _one(title: str, description: str, expr: str, unit: str = "short") -> Panel:
    return Panel(title, description, (Query(expr),), unit, now=True)


def _over_time(title: str, description: str, unit: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, description, tuple(Query(expr, legend) for expr, legend in queries), unit)


LENDING = (
    _one("Appraisals today", "Cars valued in the last 24 hours.", "sum(increase(carlien_valuation_appraisals_total[24h]))"),
    _one("Quotes today", "Quotes made in the last 24 hours.", "sum(increase(carlien_pricing_quotes_total[24h]))"),
    _one("Accepted today", "Quotes accepted in the last 24 hours.", "sum(increase(carlien_pricing_quotes_accepted_total[24h]))"),
    _one(
        "Liens registered today",
        "Registrations committed in the last 24 hours.",
        'sum(increase(carlien_lien_registry_writes_total{function="RegisterLien", outcome="ok"}[24h]))',
    ),
    _one("Watched loans", "Loans whose collateral is watched.", "sum(carlien_pricing_watches)"),
    _one(
        "In a margin call",
        "Watched loans in a margin call or accelerated.",
        'sum(carlien_pricing_watches{stage=~"MARGIN_CALL|ACCELERATION"}) or vector(0)',
    ),
    _over_time(
        "Quotes by decision",
        "Offers and declines an hour.",
        "short",
        ("sum by (decision) (increase(carlien_pricing_quotes_total[1h]))", "{{decision}}"),
    ),
    _over_time(
        "Why loans are declined",
        "Reasons an hour; one decline may have several.",
        "short",
        (
            "sum by (reason) (increase(carlien_pricing_decline_reasons_total[1h])) or label_replace(vector(0), 'reason', 'none', '', '')",
            "{{reason}}",
        ),
    ),
    _over_time(
        "Time to register a lien",
        "From call to committed block; the promise is 95 % within half a second.",
        "s",
        ('histogram_quantile(0.5, sum by (le) (rate(carlien_lien_registry_write_seconds_bucket{function="RegisterLien"}[1h])))', "median"),
        ('histogram_quantile(0.95, sum by (le) (rate(carlien_lien_registry_write_seconds_bucket{function="RegisterLien"}[1h])))', "95 %"),
    ),
    _over_time(
        "Book by loan to value",
        "Open watched loans by band of LTV on P50.",
        "short",
        ("sum by (ltv_band) (carlien_pricing_watch_book_loans) or label_replace(vector(0), 'ltv_band', 'none', '', '')", "{{ltv_band}}"),
    ),
    _over_time(
        "Alert cases of cars",
        "Cases that go on, by kind: a car that moves without a trip, a device that went silent, a place it should not be at.",
        "short",
        ("sum by (kind) (carlien_telematics_alerts_open) or label_replace(vector(0), 'kind', 'none', '', '')", "{{kind}}"),
    ),
    _over_time(
        "Alerts of liens",
        "Expiry reminders, expiries and other lenders' changes told, a day.",
        "short",
        (
            "sum by (kind) (increase(carlien_lien_registry_alerts_total[24h])) or label_replace(vector(0), 'kind', 'none', '', '')",
            "{{kind}}",
        ),
    ),
    _over_time("Watched loans by stage", "The margin-call ladder.", "short", ("sum by (stage) (carlien_pricing_watches)", "{{stage}}")),
    _over_time(
        "Searches",
        "Certificates issued an hour, with a hit or clean.",
        "short",
        ("sum by (found) (increase(carlien_lien_registry_searches_total[1h]))", "found: {{found}}"),
    ),
)

PLATFORM = (
    _over_time("Calls", "Calls a second by service.", "reqps", ("sum by (job) (rate(grpc_server_handled_total[5m]))", "{{job}}")),
    _over_time(
        "Failures",
        "Share of calls that failed through our fault; the objective is 0.1 %.",
        "percentunit",
        ("job:grpc_server_failures:ratio_rate5m or sum by (job) (0 * up{job=~'valuation|lien-registry|telematics|pricing'})", "{{job}}"),
    ),
    _over_time("Slowest 1 %", "99th percentile of calls by service.", "s", ("job:grpc_server_handling_seconds:p99_rate5m", "{{job}}")),
    _over_time("Calls in progress", "Calls being handled now.", "short", ("sum by (job) (carlien_grpc_server_running_calls)", "{{job}}")),
    _over_time(
        "Consumer lag",
        "Records behind, by group and topic.",
        "short",
        ("group:carlien_kafka_consumer_lag_records:sum", "{{group}} {{topic}}"),
    ),
    _over_time(
        "Records consumed",
        "Records a second by outcome; poison lies in the dead-letter topic.",
        "short",
        ("sum by (outcome) (rate(carlien_kafka_consumer_records_total[5m]))", "{{outcome}}"),
    ),
    _over_time(
        "Oldest unpublished event",
        "Age of the outbox's oldest row.",
        "s",
        ("max by (job) (carlien_outbox_oldest_pending_seconds)", "{{job}}"),
    ),
    _over_time("Outbox", "Events stored and not yet published.", "short", ("sum by (job) (carlien_outbox_pending_records)", "{{job}}")),
    _over_time(
        "Ledger",
        "Blocks the read model is behind the peer.",
        "short",
        ("max by (instance) (carlien_lien_registry_ledger_height_blocks - carlien_lien_registry_read_model_height_blocks)", "{{instance}}"),
    ),
    _over_time(
        "Transactions by validation",
        "Transactions a minute as peers judged them.",
        "short",
        ("sum by (validation) (increase(carlien_lien_registry_transactions_total[1m]))", "{{validation}}"),
    ),
    _over_time(
        "Writes undecided",
        "Stored envelopes whose outcome isn't known.",
        "short",
        ("sum by (instance) (carlien_lien_registry_pending_envelopes)", "{{instance}}"),
    ),
    _over_time(
        "Ledger retries",
        "Transactions endorsed anew and envelopes sent again, a minute.",
        "short",
        ("sum(increase(carlien_lien_registry_ledger_conflicts_total[1m])) or vector(0)", "endorsed anew"),
        ("sum(increase(carlien_lien_registry_resubmissions_total[1m]))", "sent again"),
    ),
    _over_time(
        "Registry roots",
        "Blocks behind the ledger at which the required organisations last agreed on the registry's root.",
        "short",
        ("max by (instance) (carlien_lien_registry_ledger_height_blocks - carlien_lien_registry_anchored_block)", "{{instance}}"),
    ),
    _over_time(
        "Detectors behind",
        "Age of the oldest device record that no detector has looked at.",
        "s",
        ("max by (instance) (carlien_telematics_insight_lag_seconds)", "{{instance}}"),
    ),
    _over_time("Devices connected", "Open device connections.", "short", ("sum(carlien_telematics_gateway_connections)", "connections")),
    _over_time(
        "Device messages",
        "Messages a second: taken, refused and broken.",
        "short",
        ("sum(rate(carlien_telematics_gateway_messages_total[5m]))", "taken"),
        ("sum(rate(carlien_telematics_gateway_refused_total[5m]))", "refused"),
        ("sum(rate(carlien_telematics_gateway_malformed_total[5m])) or vector(0)", "broken"),
    ),
    _over_time("Memory", "Resident memory by process.", "bytes", ("process_resident_memory_bytes{job!='prometheus'}", "{{instance}}")),
)

MODEL_RISK = (
    _one("Model in service", "Version label of the appraisal model.", "max by (model_version) (carlien_valuation_model_info)"),
    _one(
        "Age of its data",
        "Time since the last date of the model's data; recalibration is due every quarter.",
        "time() - max(carlien_valuation_model_cutoff_timestamp_seconds)",
        "s",
    ),
    _one("Error", "Out-of-fold MAPE of the model in service.", "max(carlien_valuation_model_mape_ratio)", "percentunit"),
    _one(
        "Coverage",
        "Share of realised prices within P10 and P90 in the latest calibration; 80 % is what the interval promises.",
        "max(carlien_valuation_calibration_coverage_ratio)",
        "percentunit",
    ),
    _one("Sales behind it", "Realised sales that the latest calibration counted.", "max(carlien_valuation_calibration_sales)"),
    _one(
        "Worst light",
        "Of the latest calibration's tests: 0 untested, 1 green, 2 yellow, 3 red.",
        "max(carlien_valuation_calibration_light) or vector(0)",
    ),
    _over_time(
        "Bias and error on realised sales",
        "Mean relative error (above 0: we value too high) and mean absolute relative error.",
        "percentunit",
        ("max(carlien_valuation_calibration_bias_ratio)", "bias"),
        ("max(carlien_valuation_calibration_mape_ratio)", "error"),
    ),
    _over_time(
        "Drift",
        "Population stability index of each feature against training; above 0.25 the market is another one.",
        "short",
        ("max by (feature) (carlien_valuation_calibration_psi) or label_replace(vector(0), 'feature', 'none', '', '')", "{{feature}}"),
    ),
    _over_time(
        "Outcomes reported",
        "Realised sales an hour, by whether an appraisal was in force.",
        "short",
        ("sum by (link) (increase(carlien_valuation_outcomes_total[1h])) or label_replace(vector(0), 'link', 'none', '', '')", "{{link}}"),
    ),
    _over_time(
        "Profiles that re-mark",
        "Telematics profiles an hour by what came of them.",
        "short",
        (
            "sum by (outcome) (increase(carlien_valuation_profiles_total[1h])) or label_replace(vector(0), 'outcome', 'none', '', '')",
            "{{outcome}}",
        ),
    ),
    _over_time(
        "Appraisals by outcome",
        "Valued, or the reason of an abstention, an hour.",
        "short",
        ("sum by (outcome) (increase(carlien_valuation_appraisals_total[1h]))", "{{outcome}}"),
    ),
    _over_time(
        "Warnings on appraisals",
        "What readers were told, an hour.",
        "short",
        ("sum by (code) (increase(carlien_valuation_appraisal_warnings_total[1h]))", "{{code}}"),
    ),
    _over_time(
        "Time to value a batch",
        "Model alone, 99th percentile.",
        "s",
        ("histogram_quantile(0.99, sum by (le) (rate(carlien_valuation_model_seconds_bucket[1h])))", "99 %"),
    ),
    _over_time(
        "Quotes priced without a dependency",
        "Calls to valuation, registry or telematics that failed; the answer was then dearer or a refusal.",
        "short",
        (
            (
                "sum by (dependency) (increase(carlien_pricing_degraded_calls_total[1h])) "
                "or label_replace(vector(0), 'dependency', 'none', '', '')"
            ),
            "{{dependency}}",
        ),
    ),
)

DASHBOARDS = {
    "lending": ("carlien: lending", LENDING),
    "platform": ("carlien: platform", PLATFORM),
    "model-risk": ("carlien: model risk", MODEL_RISK),
}


def _built(panel: Panel) -> timeseries.Panel | stat.Panel:
    kind: timeseries.Panel | stat.Panel = stat.Panel() if panel.now else timeseries.Panel()
    kind = kind.title(panel.title).description(panel.description).unit(panel.unit).datasource(_SOURCE)
    kind = kind.span(4 if panel.now else 8).height(4 if panel.now else 8)
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("ABCDEFGH"[number])
        kind = kind.with_target(target.instant() if panel.now else target.range())
    return kind


def rendered(name: str) -> str:
    """Return the JSON of one dashboard."""
    title, panels = DASHBOARDS[name]
    board = dashboard.Dashboard(title).uid(f"carlien-{name}").tags(["carlien"]).refresh("30s").time("now-6h", "now").timezone("browser")
    board = board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for panel in panels:
        board = board.with_panel(_built(panel))
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(board.build())), indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write every dashboard, or with --check say which is out of date (exit 1)."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name in DASHBOARDS:
        file = FOLDER / f"{name}.json"
        text = rendered(name)
        if check and (not file.is_file() or file.read_text() != text):
            stale.append(file.name)
        elif not check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run python {Path(__file__).name}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
