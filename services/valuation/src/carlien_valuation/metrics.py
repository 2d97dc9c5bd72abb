"""Every metric of valuation. Labels are bounded sets; none carries a VIN or a name of a car."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from carlien_common.metrics import at_zero
from carlien_valuation.domain.appraisal import Appraisal
from carlien_valuation.domain.calibration import Light
from carlien_valuation.domain.model_report import StoredReport

APPRAISALS = Counter(
    "carlien_valuation_appraisals_total", "Appraisals answered, by outcome: valued or the reason of an abstention.", ["outcome"]
)
WARNINGS = Counter("carlien_valuation_appraisal_warnings_total", "Warnings on appraisals, by code.", ["code"])
BATCH_SECONDS = Histogram(
    "carlien_valuation_model_seconds", "Time to value one batch.", buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
)
BATCH_CARS = Histogram("carlien_valuation_model_batch_cars", "Cars valued in one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024))
MODEL_INFO = Gauge("carlien_valuation_model_info", "1 for the model in service.", ["model_version", "synthetic"])
MODEL_CUTOFF = Gauge("carlien_valuation_model_cutoff_timestamp_seconds", "Last date of the model's data.")
MODEL_MAPE = Gauge(
    "carlien_valuation_model_mape_ratio", "Out-of-fold mean absolute percentage error of the model in service, as a fraction."
)


RESIDUALS = Counter("carlien_valuation_residual_forecasts_total", "Residual forecasts answered, by outcome.", ["outcome"])
REVALUATIONS = Counter(
    "carlien_valuation_revaluations_total", "Positions of portfolios answered: valued, abstained or refused as sent.", ["outcome"]
)


def counted(appraisal: Appraisal) -> None:
    """Count one answer."""
    _appraisals(appraisal.abstain_reason or "valued").inc()
    for remark in appraisal.warnings:
        _warnings(remark.code).inc()


# Looking a counter up by its label costs more than counting.
_appraisals, _warnings = cache(APPRAISALS.labels), cache(WARNINGS.labels)


RECORDS = Counter("carlien_valuation_vehicle_records_total", "Vehicle records sent, by what became of them.", ["outcome"])
PROFILES = Counter(
    "carlien_valuation_profiles_total",
    "Telematics profiles taken in, by what came of them: remarked, immaterial, not_appraised, older, abstained or refused.",
    ["outcome"],
)
OUTCOMES = Counter("carlien_valuation_outcomes_total", "Realised sales reported, by whether an appraisal was in force.", ["link"])
CALIBRATION_LIGHT = Gauge(
    "carlien_valuation_calibration_light",
    "Latest calibration of the model in service: 0 untested, 1 green, 2 yellow, 3 red, by test.",
    ["test"],
)
CALIBRATION_COVERAGE = Gauge("carlien_valuation_calibration_coverage_ratio", "Share of realised prices within P10 and P90.")
CALIBRATION_BIAS = Gauge("carlien_valuation_calibration_bias_ratio", "Mean relative error against realised prices, as a fraction.")
CALIBRATION_MAPE = Gauge("carlien_valuation_calibration_mape_ratio", "Mean absolute relative error against realised prices, as a fraction.")
CALIBRATION_SALES = Gauge("carlien_valuation_calibration_sales", "Realised sales the latest calibration counted.")
CALIBRATION_TIME = Gauge("carlien_valuation_calibration_timestamp_seconds", "When the latest calibration was made.")
CHALLENGER_GAIN = Gauge(
    "carlien_valuation_calibration_challenger_gain_ratio",
    "Champion's mean absolute relative error minus a challenger's, on the sales both can be judged by.",
    ["model_version"],
)
DRIFT = Gauge("carlien_valuation_calibration_psi", "Population stability index of a feature against training.", ["feature"])

at_zero(APPRAISALS, ["valued"])
at_zero(PROFILES, ["remarked", "immaterial", "not_appraised", "older", "abstained", "refused"])
at_zero(OUTCOMES, ["linked", "not_linked"])


def show_calibration(stored: StoredReport) -> None:
    """Gauges of a calibration report."""
    report = stored.document
    for test, light in {**report["lights"], "overall": report["light"]}.items():
        CALIBRATION_LIGHT.labels(test).set(list(Light).index(Light(light)))
    CHALLENGER_GAIN.clear()
    for compared in report["challengers"]:
        if compared["challenger"]:  # else too few sales
            CHALLENGER_GAIN.labels(compared["model_version"]).set(compared["champion"]["mape"] - compared["challenger"]["mape"])
    for feature, drift in report["drift"].items():
        DRIFT.labels(feature).set(drift["psi"])
    CALIBRATION_SALES.set(report["sales"])
    CALIBRATION_TIME.set(stored.created_at.timestamp())
    if report["measures"]:
        CALIBRATION_COVERAGE.set(report["measures"]["coverage80"])
        CALIBRATION_BIAS.set(report["measures"]["bias"])
        CALIBRATION_MAPE.set(report["measures"]["mape"])
