"""The model store: a folder of model directories and a link `current` to the one in service.

    current -> 2026-06-30-ab12cd34ef56      replaced atomically (rename of a link)
    2026-06-30-ab12cd34ef56/                model directories, never changed once they are here
    promotions.jsonl                        what was promoted and rolled back, when, and by which report

A model gets in whole and checked, or not at all; the link moves afterwards. A crash in between leaves the old model in service. The service
resolves the link when it starts: promotion takes effect by a (rolling) restart, see docs/adr/0001-promotion-by-restart.md.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from carlien_common.domain.errors import invalid, precondition
from carlien_valuation.calibration.canonical import canonical, sha256
from carlien_valuation.calibration.shifts import read_shifts
from carlien_valuation.training.store import CARD, load_model, read_card

CURRENT, JOURNAL = "current", "promotions.jsonl"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A line of the journal."""

    at: str
    action: str
    version: str
    previous: str
    report_sha256: str
    reason: str


class ModelStore:
    """A store at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def current(self) -> str:
        """Version in service; empty where none is."""
        link = self.root / CURRENT
        return str(read_card(link.resolve())["model_version"]) if link.is_symlink() else ""

    def directories(self) -> list[Path]:
        """Whole model directories, by name."""
        return sorted(path.parent for path in self.root.glob(f"*/{CARD}") if not path.parent.is_symlink() and path.parent.name[0] != ".")

    def history(self) -> list[Promotion]:
        """The journal, oldest first."""
        journal = self.root / JOURNAL
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
        return [Promotion(**json.loads(line)) for line in lines]

    def promote(self, directory: Path, report: dict[str, Any] | None, *, now: datetime, reason: str = "") -> Promotion:
        """Put a model in service. Raises PRECONDITION with NOT_JUDGED, REPORT_OF_ANOTHER_MODEL, MODEL_WORSE, MODEL_*.

        Without a report only the first model gets in, or one with a `reason`, which is kept.
        """
        card = _loadable(directory)
        version = str(card["model_version"])
        with self._alone():
            current = self.current
            if not reason and current and current != version:
                _allowed(report, current, card)
            place = self._take_in(directory, version)
            return self._point(place, "promote", version, current, sha256(canonical(report)) if report else "", reason, now)

    def rollback(self, *, now: datetime, reason: str) -> Promotion:
        """Back to the model that was in service before. PRECONDITION NOTHING_TO_ROLL_BACK_TO without one."""
        if not reason.strip():
            raise invalid("reason", "REASON_MISSING", "say why; the journal keeps it")
        with self._alone():
            current = self.current
            # Only by promotions: what was rolled back from is no place to go back to.
            promoted = (entry for entry in reversed(self.history()) if entry.action == "promote" and entry.version == current)
            before = next((entry.previous for entry in promoted), "")
            found = [path for path in self.directories() if path.name == before]
            if not found:
                raise precondition("NOTHING_TO_ROLL_BACK_TO", f"no model was in service before {current or 'the first one'}")
            _loadable(found[0])
            return self._point(found[0], "rollback", before, current, "", reason, now)

    def _take_in(self, directory: Path, version: str) -> Path:
        place = self.root / version
        if place.resolve() == directory.resolve():
            return place
        if place.exists():
            if read_card(place) != read_card(directory):
                raise precondition("MODEL_VERSION_TAKEN", f"{place} is another model of the same version")
            return place
        partial = self.root / f".{version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(directory, partial, symlinks=False)
        read_card(partial)
        _flushed(partial)
        partial.rename(place)
        return place

    def _point(self, place: Path, action: str, version: str, previous: str, report: str, reason: str, now: datetime) -> Promotion:
        entry = Promotion(now.isoformat(timespec="seconds"), action, version, previous, report, reason)
        with (self.root / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps({name: getattr(entry, name) for name in Promotion.__slots__}, ensure_ascii=False) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        link = self.root / f".{CURRENT}.next"
        link.unlink(missing_ok=True)
        link.symlink_to(place.name)
        link.replace(self.root / CURRENT)
        _flushed(self.root)
        return entry

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        link = self.root / CURRENT
        if link.exists() and not link.is_symlink():
            raise precondition("STORE_CURRENT_NO_LINK", f"{link} is no link; this folder is not a model store")
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _loadable(directory: Path) -> dict[str, Any]:
    """The card of a model that loads as the service would load it; raises DomainError MODEL_*."""
    read_shifts(directory)
    return load_model(directory).card


def _allowed(report: dict[str, Any] | None, current: str, card: dict[str, Any]) -> None:
    version = str(card["model_version"])
    if report is None:
        raise precondition("NOT_JUDGED", f"{version} has no calibration report beside {current}; a model isn't promoted unseen")
    if report.get("model_version") != current:
        raise precondition("REPORT_OF_ANOTHER_MODEL", f"the report judges {report.get('model_version')}, in service is {current}")
    recalibrated = card.get("calibration")
    if recalibrated and recalibrated["from"] == current and recalibrated["report_sha256"] == sha256(canonical(report)):
        return
    one = next((one for one in report.get("challengers", ()) if one["model_version"] == version), None)
    if one is None:
        raise precondition("NOT_JUDGED", f"the report doesn't judge {version}")
    if not one["promoted"]:
        raise precondition("MODEL_WORSE", f"{version} is refused by the rule: {', '.join(one['reasons'])}")


def _flushed(directory: Path) -> None:
    """On disk, not only in memory, before a name points at it."""
    for path in [directory, *directory.rglob("*")]:
        if path.is_symlink():
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
