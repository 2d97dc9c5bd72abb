"""The model directory: what is served, hashed, with the card that says how good it is.

    model.json       format, version, data, scores, parameters, and the sha256 of every other file
    encoder.json     encodings: tables of categories and their shrunken effects
    arrays.npz       knots, text weights
    trees.npz        LightGBM's boosters of all folds and of the spread, as `forest` evaluates them
    network/         TensorFlow SavedModel of all folds' networks
    MODEL.md, *.png  the card for people

A directory of another format, with a missing file or with a file that doesn't match its hash is refused with the reason.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carlien_common.domain.errors import DomainError, precondition
from carlien_valuation.training.calibrate import QuantileMap
from carlien_valuation.training.coldstart import ColdStart
from carlien_valuation.training.features import Encoder
from carlien_valuation.training.forest import Forest
from carlien_valuation.training.net import Bag, Network
from carlien_valuation.training.stack import Stack
from carlien_valuation.training.states import StateForest
from carlien_valuation.training.target import TargetEncoder
from carlien_valuation.training.text import TextEncoder

FORMAT = 5
CARD = "model.json"


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model directory."""

    stack: Stack
    cold_start: ColdStart | None
    card: dict[str, Any]
    """The contents of model.json."""

    @property
    def version(self) -> str:
        """Names this model in every answer."""
        return str(self.card["model_version"])


def save_model(directory: Path, stack: Stack, cold_start: ColdStart | None, card: dict[str, Any]) -> None:
    """Write a model directory; `card` gains format, parameters, version and hashes. The folder must be new or empty."""
    directory.mkdir(parents=True, exist_ok=True)
    if not isinstance(stack.network, Bag):
        raise TypeError("only a freshly trained stack can be saved")
    if not stack.monotone:
        raise ValueError("only a monotone stack can be served")
    stack.network.save(str(directory / "network"))
    (directory / "encoder.json").write_text(json.dumps(_encoder_document(stack.encoder), ensure_ascii=False), encoding="utf-8")
    np.savez(directory / "arrays.npz", allow_pickle=False, **_arrays(stack))
    low, high = stack.spreads
    np.savez(directory / "trees.npz", allow_pickle=False, **stack.trees.arrays("centre_"), **low.arrays("low_"), **high.arrays("high_"))
    hashes = {
        str(path.relative_to(directory)): _sha256(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in {CARD, "MODEL.md"} and path.suffix != ".png"
    }
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    document = {
        "format": FORMAT,
        "model_version": f"{card['data']['cutoff']}-{digest[:12]}",
        **card,
        "parameters": {
            "centre": stack.centre,
            "scale": stack.scale,
            "weights": list(stack.weights),
            "relative": stack.relative,
            "trees": stack.trees.trees,
            "maps": [{"knots": one.knots, "offsets": one.offsets} for one in stack.maps],
        },
        "cold_start": cold_start.document() if cold_start else None,
        "sha256": hashes,
    }
    (directory / CARD).write_text(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_card(directory: Path) -> dict[str, Any]:
    """model.json of a directory whose files all match their hashes; raises DomainError MODEL_*."""
    path = directory / CARD
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _refused("MODEL_NOT_FOUND", f"{directory} is no model directory: it has no {CARD}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _refused("MODEL_CORRUPT", f"{path} can't be read: {error}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else None
        raise _refused("MODEL_FORMAT", f"{directory} has model format {found!r}, this version reads format {FORMAT}: train it again")
    for name, expected in card["sha256"].items():
        file = directory / name
        if not file.is_file():
            raise _refused("MODEL_CORRUPT", f"{directory} lacks {name}")
        if _sha256(file) != expected:
            raise _refused("MODEL_CORRUPT", f"{file} was changed: its sha256 is not the one in {CARD}")
    return card


def load_model(directory: Path, network: Network | None = None) -> Model:
    """Check and load a model directory; `network` replaces TensorFlow's, for a server that brings its own."""
    card = read_card(directory)
    try:
        document = json.loads((directory / "encoder.json").read_text(encoding="utf-8"))
        arrays, trees = _read_arrays(directory / "arrays.npz"), _read_arrays(directory / "trees.npz")
        parameters = card["parameters"]
        low, middle, high = (QuantileMap(tuple(one["knots"]), tuple(one["offsets"])) for one in parameters["maps"])
        weights = tuple(parameters["weights"])
        encoder, centre = _encoder(document, arrays), Forest.of_arrays("centre_", trees)
        stack = Stack(
            encoder=encoder,
            knots=[arrays[f"guarded{index}"] for index in range(len(encoder.guarded))],
            centre=parameters["centre"],
            scale=parameters["scale"],
            network=network or _saved_network(directory),
            trees=centre,
            spreads=(Forest.of_arrays("low_", trees), Forest.of_arrays("high_", trees)),
            weights=(weights[0], weights[1], weights[2]),
            maps=(low, middle, high),
            make_offsets=arrays["make_offsets"],
            relative=parameters["relative"],
            states=StateForest.of(centre, len(encoder.guarded)),
        )
        cold = card["cold_start"]
        return Model(stack, ColdStart(**cold) if cold else None, card)
    except (KeyError, TypeError, ValueError) as error:
        raise _refused("MODEL_CORRUPT", f"{directory} can't be loaded: {error}") from error


def _saved_network(directory: Path) -> Network:
    from carlien_valuation.training.saved import SavedNetwork

    return SavedNetwork(directory / "network")


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _refused(reason: str, message: str) -> DomainError:
    return precondition(reason, message)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _table(encoder: TargetEncoder) -> dict[str, Any]:
    return {
        "centre": encoder.centre,
        "tables": [{key: [round(mean, 6), count] for key, (mean, count) in table.items()} for table in encoder.tables],
    }


def _from_table(document: dict[str, Any]) -> TargetEncoder:
    return TargetEncoder(
        tuple({key: (float(mean), int(count)) for key, (mean, count) in table.items()} for table in document["tables"]), document["centre"]
    )


def _encoder_document(encoder: Encoder) -> dict[str, Any]:
    return {
        "guarded": encoder.guarded,
        "numbers": encoder.numbers,
        "categories": encoder.categories,
        "levels": encoder.levels,
        "fill": encoder.fill,
        "vocabulary": encoder.vocabulary,
        "target": _table(encoder.target),
        "new_price": _table(encoder.new_price) if encoder.new_price else None,
        "defaults": encoder.defaults,
        "text_intercept": encoder.text.intercept if encoder.text else None,
    }


def _arrays(stack: Stack) -> dict[str, np.ndarray]:
    encoder = stack.encoder
    arrays = {
        "typical_ages": encoder.typical_ages,
        "typical_km": encoder.typical_km,
        "free_centre": encoder.free_centre,
        "free_scale": encoder.free_scale,
        "make_offsets": stack.make_offsets,
        **{f"guarded{index}": knots for index, knots in enumerate(stack.knots)},
        **{f"knots{index}": encoder.knots[name] for index, name in enumerate(encoder.numbers)},
    }
    if encoder.text:
        arrays |= {"text_weights": encoder.text.weights, "text_basis": encoder.text.basis}
    return arrays


def _encoder(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> Encoder:
    text = None
    if document["text_intercept"] is not None:
        text = TextEncoder(arrays["text_weights"], float(document["text_intercept"]), arrays["text_basis"])
    return Encoder(
        guarded=document["guarded"],
        numbers=document["numbers"],
        categories=document["categories"],
        levels=document["levels"],
        typical_ages=arrays["typical_ages"],
        typical_km=arrays["typical_km"],
        fill=document["fill"],
        knots={name: arrays[f"knots{index}"] for index, name in enumerate(document["numbers"])},
        vocabulary=document["vocabulary"],
        target=_from_table(document["target"]),
        text=text,
        new_price=_from_table(document["new_price"]) if document["new_price"] else None,
        defaults=document["defaults"],
        free_centre=arrays["free_centre"],
        free_scale=arrays["free_scale"],
    )
