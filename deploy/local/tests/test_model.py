from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from carlien_local import model
from carlien_local.layout import Layout
from carlien_local.starting import Starter

LISTINGS = Path("used_cars/second_cars_info_2017/second_cars_info.csv")


def test_without_real_listings_the_model_is_trained_on_simulated_ones_and_says_so(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARLIEN_DATA", str(tmp_path / "nothing"))
    assert model.source(layout).listings is None
    assert "simulated" in model.source(layout).description


def test_other_listings_are_another_model(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARLIEN_DATA", str(tmp_path))
    simulated = model.folder.__wrapped__(layout)
    (tmp_path / LISTINGS).parent.mkdir(parents=True)
    (tmp_path / LISTINGS).write_text("a\n")
    first = model.folder.__wrapped__(layout)
    (tmp_path / LISTINGS).write_text("b\n")
    assert len({simulated, first, model.folder.__wrapped__(layout)}) == 3


def test_a_model_that_is_there_is_not_trained_again(starter: Starter, tmp_path: Path) -> None:
    kept = Starter(dataclasses.replace(starter.layout, cache=tmp_path), starter.report)
    folder = model.folder(kept.layout)
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    assert not model.up(kept)
