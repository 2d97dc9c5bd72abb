"""What the dashboards ask: one question a panel. `dashboards.py` makes Grafana's JSON of it."""

from dataclasses import dataclass
from enum import Enum


class Shape(Enum):
    """How an answer is shown: over time, as one number, as the name of the series, or as a bar for each series."""

    OVER_TIME = "over time"
    NUMBER = "number"
    NAME = "name"
    BARS = "bars"


@dataclass(frozen=True)
class Query:
    """One PromQL expression and how its series are named."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One question and the shape of its answer.

    `unit` and `decimals` are Grafana's. `colours` are (from which value, colour), the first without a value; over time they are
    dashed lines. `words` says what a value means where a number doesn't.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    shape: Shape = Shape.OVER_TIME
    decimals: int | None = None
    colours: tuple[tuple[float | None, str], ...] = ()
    words: tuple[tuple[float, str, str], ...] = ()


def _count(title: str, description: str, expr: str, *, colours: tuple[tuple[float | None, str], ...] = ()) -> Panel:
    # `increase` extrapolates, so that counts come with fractions.
    return Panel(title, description, (Query(f"round({expr})"),), "short", Shape.NUMBER, decimals=0, colours=colours)


def _over_time(
    title: str, description: str, unit: str, *queries: tuple[str, str], colours: tuple[tuple[float | None, str], ...] = ()
) -> Panel:
    return Panel(title, description, tuple(Query(expr, legend) for expr, legend in queries), unit, colours=colours)


def _or_none(expr: str, label: str) -> str:
    """A flat line named "none" while there is no series at all: an empty panel can't be told from a broken one."""
    return f"{expr} or on() label_replace(vector(0), '{label}', 'none', '', '')"


def _limit(value: float) -> tuple[tuple[float | None, str], ...]:
    return (None, "green"), (value, "red")


def _quantile(share: float, buckets: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({buckets}[1h])))"


_SERVICES = "job=~'valuation|lien-registry|telematics|pricing'"
_UNARY = 'grpc_server_handling_seconds_bucket{grpc_type="unary"}'
_P99_BY_RPC = f"histogram_quantile(0.99, sum by (job, grpc_method, le) (rate({_UNARY}[5m])))"
# As pricing counts them.
LTV_BANDS = ("<0.5", "0.5-0.7", "0.7-0.8", "0.8-0.9", "0.9-1.0", "1.0-1.2", ">=1.2")
_NEVER = -1.0
_LIGHTS = ((0.0, "untested", "text"), (1.0, "green", "green"), (2.0, "yellow", "yellow"), (3.0, "red", "red"))


def _calibrated(gauge: str) -> str:
    """A gauge of the latest calibration; -1 where none has counted a sale yet."""
    return f"(max({gauge}) and on() max(carlien_valuation_calibration_sales) > 0) or on() vector({_NEVER:.0f})"


LENDING = (
    _count("Appraisals today", "Cars valued in the last 24 hours.", "sum(increase(carlien_valuation_appraisals_total[24h]))"),
    _count("Quotes today", "Quotes made in the last 24 hours.", "sum(increase(carlien_pricing_quotes_total[24h]))"),
    _count("Accepted today", "Quotes accepted in the last 24 hours.", "sum(increase(carlien_pricing_quotes_accepted_total[24h]))"),
    _count(
        "Liens registered today",
        "Registrations committed in the last 24 hours.",
        'sum(increase(carlien_lien_registry_writes_total{function="RegisterLien", outcome="ok"}[24h]))',
    ),
    _count("Watched loans", "Loans whose collateral is watched.", "sum(carlien_pricing_watches)"),
    _count(
        "In a margin call",
        "Watched loans in a margin call or accelerated.",
        'sum(carlien_pricing_watches{stage=~"MARGIN_CALL|ACCELERATION"}) or vector(0)',
        colours=((None, "green"), (1.0, "orange")),
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
        (_or_none("sum by (reason) (increase(carlien_pricing_decline_reasons_total[1h]))", "reason"), "{{reason}}"),
    ),
    _over_time(
        "Time to decide a quote",
        "From call to answer, with the car appraised, its liens searched and its state read.",
        "s",
        (_quantile(0.5, 'grpc_server_handling_seconds_bucket{grpc_method="Quote"}'), "median"),
        (_quantile(0.95, 'grpc_server_handling_seconds_bucket{grpc_method="Quote"}'), "95 %"),
    ),
    Panel(
        "Book by loan to value",
        "Open watched loans by band of LTV on P50, now.",
        tuple(Query(f'sum(carlien_pricing_watch_book_loans{{ltv_band="{band}"}}) or vector(0)', band) for band in LTV_BANDS),
        shape=Shape.BARS,
        decimals=0,
    ),
    _over_time("Watched loans by stage", "The margin-call ladder.", "short", ("sum by (stage) (carlien_pricing_watches)", "{{stage}}")),
    _over_time(
        "Time to register a lien",
        "From call to committed block; the promise is 95 % within half a second.",
        "s",
        (_quantile(0.5, 'carlien_lien_registry_write_seconds_bucket{function="RegisterLien"}'), "median"),
        (_quantile(0.95, 'carlien_lien_registry_write_seconds_bucket{function="RegisterLien"}'), "95 %"),
        colours=_limit(0.5),
    ),
    _over_time(
        "Error of appraisals",
        "Mean absolute relative error of the model in service: out of fold, and on realised sales (0 until a calibration has counted one).",
        "percentunit",
        ("max(carlien_valuation_model_mape_ratio)", "out of fold"),
        ("max(carlien_valuation_calibration_mape_ratio)", "realised"),
    ),
    _over_time(
        "Searches",
        "Certificates issued an hour, with a hit or clean.",
        "short",
        ("sum by (found) (increase(carlien_lien_registry_searches_total[1h]))", "found: {{found}}"),
    ),
    _over_time(
        "Alert cases of cars",
        "Cases that go on, by kind: a car that moves without a trip, a device that went silent, a place it should not be at.",
        "short",
        (_or_none("sum by (kind) (carlien_telematics_alerts_open) > 0", "kind"), "{{kind}}"),
    ),
    _over_time(
        "Alerts of liens",
        "Expiry reminders, expiries and other lenders' changes told, a day.",
        "short",
        (_or_none("sum by (kind) (increase(carlien_lien_registry_alerts_total[24h]))", "kind"), "{{kind}}"),
    ),
)

PLATFORM = (
    _over_time("Calls", "Calls a second by service.", "reqps", ("sum by (job) (rate(grpc_server_handled_total[5m]))", "{{job}}")),
    _over_time(
        "Failures",
        "Share of calls that failed through our fault; the objective is 0.1 %.",
        "percentunit",
        (
            f"max by (job) (job:grpc_server_failures:ratio_rate5m) or max by (job) (0 * up{{{_SERVICES}}})",
            "{{job}}",
        ),
        colours=_limit(0.001),
    ),
    _over_time(
        "Slowest 1 %",
        "99th percentile of calls by service; streams stay out.",
        "s",
        ("job:grpc_server_handling_seconds:p99_rate5m", "{{job}}"),
    ),
    _over_time(
        "Busiest rpcs",
        "The ten rpcs with most calls.",
        "reqps",
        ("topk(10, sum by (job, grpc_method) (rate(grpc_server_handled_total[5m])))", "{{job}} {{grpc_method}}"),
    ),
    _over_time(
        "Answers that aren't OK",
        "By status code, ours and callers' faults alike.",
        "reqps",
        (_or_none('sum by (grpc_code) (rate(grpc_server_handled_total{grpc_code!="OK"}[5m])) > 0', "grpc_code"), "{{grpc_code}}"),
    ),
    _over_time(
        "Slowest rpcs",
        "99th percentile of the ten slowest rpcs; streams stay out.",
        "s",
        (f"topk(10, {_P99_BY_RPC} > 0)", "{{job}} {{grpc_method}}"),
    ),
    _over_time("Calls in progress", "Calls being handled now.", "short", ("sum by (job) (carlien_grpc_server_running_calls)", "{{job}}")),
    _over_time(
        "Consumer lag",
        "Records behind, by group.",
        "short",
        ("sum by (group) (group:carlien_kafka_consumer_lag_records:sum)", "{{group}}"),
    ),
    _over_time(
        "Records consumed",
        "Records a second by outcome; poison lies in the dead-letter topic.",
        "cps",
        ("sum by (outcome) (rate(carlien_kafka_consumer_records_total[5m]))", "{{outcome}}"),
    ),
    _over_time(
        "Oldest unpublished event",
        "Age of the outbox's oldest row; the alert is at a minute.",
        "s",
        ("max by (job) (carlien_outbox_oldest_pending_seconds)", "{{job}}"),
        colours=_limit(60.0),
    ),
    _over_time("Outbox", "Events stored and not yet published.", "short", ("sum by (job) (carlien_outbox_pending_records)", "{{job}}")),
    _over_time(
        "Ledger",
        "Blocks the read model is behind the peer.",
        "short",
        (
            "max by (instance) (clamp_min(carlien_lien_registry_ledger_height_blocks - carlien_lien_registry_read_model_height_blocks, 0))",
            "{{instance}}",
        ),
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
        (
            "max by (instance) (clamp_min(carlien_lien_registry_ledger_height_blocks - carlien_lien_registry_anchored_block, 0))",
            "{{instance}}",
        ),
    ),
    _over_time(
        "Detectors behind",
        "Age of the oldest device record that no detector has looked at; the alert is at five minutes.",
        "s",
        ("max by (instance) (carlien_telematics_insight_lag_seconds)", "{{instance}}"),
        colours=_limit(300.0),
    ),
    _over_time("Devices connected", "Open device connections.", "short", ("sum(carlien_telematics_gateway_connections)", "connections")),
    _over_time(
        "Device messages",
        "Messages a second: taken, refused and broken.",
        "cps",
        ("sum(rate(carlien_telematics_gateway_messages_total[5m]))", "taken"),
        ("sum(rate(carlien_telematics_gateway_refused_total[5m]))", "refused"),
        ("sum(rate(carlien_telematics_gateway_malformed_total[5m])) or vector(0)", "broken"),
    ),
    _over_time(
        "Memory",
        "Resident memory by process.",
        "bytes",
        (f"process_resident_memory_bytes{{{_SERVICES}}}", "{{instance}}"),
    ),
)

MODEL_RISK = (
    Panel(
        "Model in service",
        "Version of the appraisal model.",
        (Query("max by (model_version) (carlien_valuation_model_info)", "{{model_version}}"),),
        shape=Shape.NAME,
    ),
    Panel(
        "Age of its data",
        "Time since the last date of the model's data; recalibration is due every quarter.",
        (Query("time() - max(carlien_valuation_model_cutoff_timestamp_seconds)"),),
        "s",
        Shape.NUMBER,
        decimals=0,
        colours=((None, "green"), (90 * 86400.0, "yellow"), (180 * 86400.0, "red")),
    ),
    Panel(
        "Error",
        "Out-of-fold MAPE of the model in service.",
        (Query("max(carlien_valuation_model_mape_ratio)"),),
        "percentunit",
        Shape.NUMBER,
    ),
    Panel(
        "Coverage",
        "Share of realised prices within P10 and P90 in the latest calibration; 80 % is what the interval promises.",
        (Query(_calibrated("carlien_valuation_calibration_coverage_ratio")),),
        "percentunit",
        Shape.NUMBER,
        words=((_NEVER, "no sales yet", "text"),),
    ),
    _count("Sales behind it", "Realised sales that the latest calibration counted.", "max(carlien_valuation_calibration_sales)"),
    Panel(
        "Worst light",
        "Of the latest calibration's tests.",
        (Query("max(carlien_valuation_calibration_light) or vector(0)"),),
        shape=Shape.NUMBER,
        words=_LIGHTS,
    ),
    _over_time(
        "Bias and error on realised sales",
        "Mean relative error (above 0: we value too high) and mean absolute relative error; 0 until a calibration has counted a sale.",
        "percentunit",
        ("max(carlien_valuation_calibration_bias_ratio)", "bias"),
        ("max(carlien_valuation_calibration_mape_ratio)", "error"),
    ),
    _over_time(
        "Champion against challengers",
        "By how much a challenger's error is below the champion's on the sales that both can be judged by.",
        "percentunit",
        (_or_none("max by (model_version) (carlien_valuation_calibration_challenger_gain_ratio)", "model_version"), "{{model_version}}"),
    ),
    _over_time(
        "Drift",
        "Population stability index of each feature against training; above 0.25 the market is another one.",
        "short",
        (_or_none("max by (feature) (carlien_valuation_calibration_psi)", "feature"), "{{feature}}"),
        colours=_limit(0.25),
    ),
    _over_time(
        "Outcomes reported",
        "Realised sales an hour, by whether an appraisal was in force.",
        "short",
        (_or_none("sum by (link) (increase(carlien_valuation_outcomes_total[1h]))", "link"), "{{link}}"),
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
        (_or_none("sum by (code) (increase(carlien_valuation_appraisal_warnings_total[1h]))", "code"), "{{code}}"),
    ),
    _over_time(
        "Profiles that re-mark",
        "Telematics profiles an hour by what came of them.",
        "short",
        (_or_none("sum by (outcome) (increase(carlien_valuation_profiles_total[1h]))", "outcome"), "{{outcome}}"),
    ),
    _over_time(
        "Time to value a batch",
        "Model alone.",
        "s",
        (_quantile(0.5, "carlien_valuation_model_seconds_bucket"), "median"),
        (_quantile(0.99, "carlien_valuation_model_seconds_bucket"), "99 %"),
    ),
    _over_time(
        "Quotes priced without a dependency",
        "Calls an hour to valuation, registry or telematics that failed; the answer was then dearer or a refusal.",
        "short",
        (_or_none("sum by (dependency) (increase(carlien_pricing_degraded_calls_total[1h]))", "dependency"), "{{dependency}}"),
    ),
)

DASHBOARDS = {
    "lending": ("carlien: lending", LENDING),
    "platform": ("carlien: platform", PLATFORM),
    "model-risk": ("carlien: model risk", MODEL_RISK),
}
