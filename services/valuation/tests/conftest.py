"""A small model of the simulated market, trained once per session by the real trainer."""

import os
import warnings
from datetime import date
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy machine LightGBM's threads would spin for each other
with warnings.catch_warnings():
    # Libraries' own deprecations at import are theirs; warnings are errors here.
    warnings.simplefilter("ignore")
    import lightgbm  # noqa: F401
    import tensorflow as tf  # noqa: F401

    import carlien_valuation.adapters.index_store  # noqa: F401

UNTIL = date(2026, 6, 30)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Simulated listings and their mapping."""
    from carlien_valuation.simulation.market import write_sample

    return write_sample(tmp_path_factory.mktemp("sample"), 1500, 3, UNTIL)


@pytest.fixture(scope="session")
def model_directory(sample: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory."""
    from carlien_valuation.listings.mapping import load_mapping
    from carlien_valuation.listings.read import read_listings
    from carlien_valuation.training.stack import Effort
    from carlien_valuation.training.train import train

    listings, mapping = sample
    directory = tmp_path_factory.mktemp("model") / "small"
    loaded = load_mapping(mapping)
    train(read_listings([listings], loaded), loaded, directory, seed=5, synthetic=True, effort=Effort(folds=2, epochs=0.2, tuned=False))
    return directory
