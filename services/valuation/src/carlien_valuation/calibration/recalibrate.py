"""A model directory with new intervals: a copy that carries the shifts of a calibration report and says so."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from carlien_common.domain.errors import invalid
from carlien_valuation.calibration.shifts import FILE, shifts_text
from carlien_valuation.domain.appraisal import PriceType
from carlien_valuation.domain.calibration import Shift
from carlien_valuation.training.store import CARD, read_card


def write_recalibrated(source: Path, out: Path, shifts: Mapping[PriceType, Shift], report_sha256: str) -> str:
    """Copy `source` to `out` with shifts, in place of those it may carry; returns the new model version. `source` stays as it is."""
    if out.exists():
        raise invalid("out", "OUT_EXISTS", f"{out} exists; a recalibrated model gets a directory of its own")
    card = read_card(source)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    text = shifts_text(shifts, report_sha256)
    (partial / FILE).write_text(text, encoding="utf-8")
    base = str(card["model_version"]).split("+")[0]
    card |= {
        "model_version": f"{base}+c{report_sha256[:8]}",
        "calibration": {"report_sha256": report_sha256, "from": card["model_version"]},
        "sha256": {**card["sha256"], FILE: hashlib.sha256(text.encode()).hexdigest()},
    }
    (partial / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with (partial / "MODEL.md").open("a", encoding="utf-8") as file:
        file.write(
            f"\n## Recalibrated\nIntervals of {', '.join(kind.value for kind in shifts)} moved by calibration report {report_sha256}.\n"
        )
    read_card(partial)
    partial.rename(out)
    return str(card["model_version"])
