"""Every panel of every dashboard shows something once a loan has run: asked of the stack's own Prometheus.

Named to run after `test_loan_end_to_end.py`, whose loan is what the panels show.
"""

import json
import os
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

_DASHBOARDS = Path(__file__).parents[1] / "charts" / "carlien" / "files" / "dashboards"
# Two scrapes, an evaluation of the recording rules, and a loaded machine.
_APPEARS_SECONDS = 60.0


def _panels() -> list[tuple[str, str]]:
    return [
        (f"{file.stem}: {panel['title']}", target["expr"])
        for file in sorted(_DASHBOARDS.glob("*.json"))
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]


def _has_data(expr: str) -> bool:
    query = urllib.parse.urlencode({"query": expr})
    with urllib.request.urlopen(f"{os.environ['PROMETHEUS_URL']}/api/v1/query?{query}", timeout=10) as answer:
        # A quantile of nothing is NaN: Grafana shows no data.
        return any(result["value"][1] != "NaN" for result in json.load(answer)["data"]["result"])


@pytest.mark.parametrize(("panel", "expr"), _panels(), ids=[f"{panel} {n}" for n, (panel, _) in enumerate(_panels())])
def test_panel_returns_data(panel: str, expr: str) -> None:
    deadline = time.monotonic() + _APPEARS_SECONDS
    while not _has_data(expr):
        assert time.monotonic() < deadline, f"{panel} is empty: {expr}"
        time.sleep(1)
