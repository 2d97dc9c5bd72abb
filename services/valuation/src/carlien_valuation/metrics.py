"""Every metric of valuation. Labels are bounded sets; none carries a VIN or a name of a car."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from carlien_valuation.domain.appraisal import Appraisal

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
