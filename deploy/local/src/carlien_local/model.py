"""The appraisal model that valuation serves: trained once for its data and trainer, and kept in the cache outside the tree."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from carlien_local.layout import Layout, digest
from carlien_local.starting import Starter

SEED = "1"
# 11,000 listings take a minute on two idle cores; while everything else starts beside it, several.
TRAINING_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Source:
    """What the model is trained on. `listings` is None where there are no real ones: then our market simulator makes some."""

    listings: Path | None
    mapping: Path
    description: str


def source(layout: Layout) -> Source:
    """The real listings of the folder CARLIEN_DATA names (default ../shared/data), else our market simulator."""
    data = Path(os.environ.get("CARLIEN_DATA") or layout.root.parent / "shared" / "data")
    listings = data / "used_cars" / "second_cars_info_2017" / "second_cars_info.csv"
    mappings = layout.root / "services" / "valuation" / "mappings"
    if listings.is_file():
        return Source(listings, mappings / "second_cars_info_2017.yaml", "Chinese listings of September and October 2017")
    return Source(None, mappings / "sample_data.yaml", "simulated listings: no real data was found")


@functools.cache
def folder(layout: Layout) -> Path:
    """Where the model lies: named by everything it is made from, so that a change of trainer or data trains anew.

    Looked at once per run: what is trained is what is served, although somebody edits the trainer in between.
    """
    package = layout.root / "services" / "valuation" / "src" / "carlien_valuation"
    found = source(layout)
    parts = [package / "listings", package / "training", package / "commands"]
    made_from = [file for file in (found.mapping, found.listings) if file and file.is_file()]
    if found.listings is None:
        parts.append(package / "simulation")
    trainer = [file for part in parts for file in sorted(part.rglob("*")) if file.suffix in (".py", ".yaml")]
    return layout.cache / f"model-{digest(*trainer, *made_from)}"


def up(starter: Starter) -> bool:
    """Has the model in the cache; False when it was there."""
    target = folder(starter.layout)
    if (target / "model.json").is_file():
        return False
    found = source(starter.layout)
    command = str(Path(sys.executable).parent / "carlien-valuation")
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.mkdir(parents=True, exist_ok=True)
    try:
        listings, mapping = found.listings, found.mapping
        if listings is None:
            starter.run("model (simulate)", [command, "sample-data", "--out", draft / "sample", "--seed", SEED], timeout_s=120.0)
            listings, mapping = draft / "sample" / "listings.csv", draft / "sample" / "mapping.yaml"
        starter.report(f"training the appraisal model on {found.description} (once; a minute or two) …")
        files = ["--listings", str(listings), "--mapping", str(mapping), "--out", str(draft / "model")]
        train = [command, "train", *files, "--seed", SEED, "--quick"]
        starter.run("model (train)", train, timeout_s=TRAINING_TIMEOUT_S)
        try:
            (draft / "model").rename(target)
        except OSError:
            # Another stack has finished the same model meanwhile: then that one stands.
            if not (target / "model.json").is_file():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True
