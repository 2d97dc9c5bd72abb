"""MODEL.md and its plots: what the model was trained on, how good it is, what it must not be used for."""

from pathlib import Path
from typing import Any

import numpy as np

_MEASURES = ("mape", "mdape", "p90ape", "bias", "ppe10", "ppe20", "fsd", "coverage80", "rel_width80")


def write_card(directory: Path, card: dict[str, Any], price: np.ndarray, quantiles: np.ndarray, age_years: np.ndarray) -> None:
    """Write MODEL.md, errors.png (error by tercile) and depreciation.png (retained value by age)."""
    _plot(directory, price, quantiles, age_years)
    data, scores, cold = card["data"], card["out_of_fold"], card["cold_start"]
    kind = data["price_kind"].replace("_", " ")
    lines = [
        f"# Appraisal model {card['model_version']}",
        "",
        "**Trained on simulated listings: it says nothing about a real market.**\n" if data["synthetic"] else "",
        f"{data['description'] or 'Listings'}. Prices are {kind} in {card['currency']}, up to {data['cutoff']}.",
        "",
        "## Data",
        f"- {data['rows_read']} rows read, {data['filtered_rows']} filtered, {data['rejected_rows']} rejected, "  # noqa: ISC004
        f"{data['duplicates_removed']} duplicates removed, {data['rows']} used: {data['makes']} makes, {data['models']} models.",
        *(f"- rejected, {reason}: {count}" for reason, count in data["rejected_by_reason"].items()),
        *(f"- {warning}" for warning in data["warnings"]),
        "",
        "## Accuracy",
        "Out of fold: every car is valued by models that saw neither it nor its re-listing. Percent; error = (model - price) / price.",
        "",
        "| | " + " | ".join(_MEASURES) + " |",
        "|---|" + "---|" * len(_MEASURES),
        _row("this model", scores),
        _row("per-model log-linear depreciation", card["depreciation_baseline"]),
        "",
        f"Coverage of P10-P90 by price tercile, cheapest first: {', '.join(map(str, scores['coverage80_by_tercile']))} %.",
        "",
        "![errors](errors.png)",
        "",
        "| make | n | " + " | ".join(_MEASURES) + " |",
        "|---|---|" + "---|" * len(_MEASURES),
        *(_row(f"{make['make']} | {make['n']}", make) for make in scores["by_make"]),
        "",
        "![depreciation](depreciation.png)",
        "",
        "## Unknown cars",
        "Hit rate on these listings is 100 % (every used row was valued). "
        + (
            f"Models left out of training ({cold['models']} models in four parts) were valued from their make and text with MAPE "
            f"{100 * cold['mape']:.1f} %, P10-P90 from {100 * np.expm1(cold['low']):.0f} % to {100 * np.expm1(cold['high']):+.0f} % "
            "of P50; that interval is what an unknown model gets."
            if cold
            else "There are too few models to measure how unknown ones would be valued: they are abstained from."
        )
        + " A make that is not in the data is abstained from.",
        "",
        "## Guarantees and limits",
        "- Value never rises with odometer, age at the same market date, a worse grade or a graver accident: by construction.",
        "- It values cars like those it was trained on, at that market's level; after the cutoff a market index must bring the level.",
        "- Prices of the kind named above are what it was calibrated on; other price types come from a dated policy table.",
        f"- Reproducible from seed {card['seed']} on the same machine type; format {card['format']}.",
        "- Model risk guidance: Fed SR 26-2 (formerly SR 11-7).",
        "",
    ]
    (directory / "MODEL.md").write_text("\n".join(lines), encoding="utf-8")


def _row(name: str, scores: dict[str, Any]) -> str:
    return f"| {name} | " + " | ".join(f"{scores[measure]:.2f}" for measure in _MEASURES) + " |"


def _plot(directory: Path, price: np.ndarray, quantiles: np.ndarray, age_years: np.ndarray) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    error = 100 * (quantiles[:, 1] / price - 1)
    tercile = np.searchsorted(np.quantile(quantiles[:, 1], [1 / 3, 2 / 3]), quantiles[:, 1])
    figure, axes = plt.subplots(figsize=(7, 4))
    bins = np.linspace(-40, 40, 81).tolist()
    for part, name in enumerate(("cheapest third", "middle third", "dearest third")):
        axes.hist(error[tercile == part], bins, histtype="step", label=name)
    axes.set(xlabel="error, % of price (out of fold)", ylabel="cars")
    axes.legend()
    figure.savefig(directory / "errors.png", dpi=110)
    plt.close(figure)
    figure, axes = plt.subplots(figsize=(7, 4))
    years = np.floor(age_years)
    shown = [year for year in np.unique(years[~np.isnan(years)]) if np.sum(years == year) >= 20]
    if shown:
        axes.plot(shown, [np.median(price[years == year]) for year in shown], marker="o", label="median price")
        axes.plot(shown, [np.median(quantiles[years == year, 1]) for year in shown], label="median P50")
        axes.legend()
    axes.set(xlabel="age, years", ylabel="price")
    figure.savefig(directory / "depreciation.png", dpi=110)
    plt.close(figure)
