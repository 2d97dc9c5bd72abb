"""Rules and dashboards against what the services really declare."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

CHART = Path(__file__).parents[1]
RUNBOOK = CHART.parents[1] / "docs" / "runbook.md"
SERVICES = ("carlien_valuation", "carlien_lien_registry", "carlien_telematics", "carlien_pricing")
# Written by Prometheus itself or by the client library for every process.
BUILT_IN = {"up", "ALERTS", "process_resident_memory_bytes"}
# Labels that look like metrics.
LABELS = {"grpc_code", "grpc_method", "grpc_service", "grpc_type"}
_NAME = re.compile(r"(?<![\w:\"'{,.])(?:(?:job|group):[\w:]+|(?:carlien|grpc|process|python|go)_\w+|up|ALERTS)\b")


def declared() -> set[str]:
    importlib.import_module("carlien_common.metrics")
    for service in SERVICES:
        importlib.import_module(f"{service}.metrics")
    names = set()
    for metric in REGISTRY.collect():
        if metric.type == "histogram":
            names |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
        else:
            names.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    return names


def rules() -> list[dict[str, Any]]:
    files = sorted((CHART / "files" / "rules").glob("*.yaml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, str, str]]:
    found = []
    for file in sorted((CHART / "files" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            found += [(file.stem, panel["title"], target["expr"]) for target in panel["targets"]]
    return found


def expressions() -> list[tuple[str, str]]:
    named = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    return named + [(f"{board}: {title}", expr) for board, title, expr in panels()]


@pytest.mark.parametrize(("where", "expr"), expressions(), ids=[where for where, _ in expressions()])
def test_an_expression_names_only_declared_metrics(where: str, expr: str) -> None:
    known = declared() | BUILT_IN | {rule["record"] for rule in rules() if "record" in rule}
    used = set(_NAME.findall(expr)) - LABELS
    assert used, "no metric found in it"
    assert used <= known, f"undeclared: {sorted(used - known)}"


def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    group = {"name": "all", "rules": [{"record": f"check:expression:n{n}", "expr": expr} for n, (_, expr) in enumerate(expressions())]}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    result = subprocess.run(["promtool", "check", "rules", str(tmp_path / "all.yaml")], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_alerts_fire_and_stay_silent_as_their_tests_say() -> None:
    tests = CHART / "tests" / "rules" / "alerts_test.yaml"
    result = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    text = tests.read_text()
    assert [rule["alert"] for rule in rules() if "alert" in rule and rule["alert"] not in text] == []


def test_every_alert_has_its_runbook_section() -> None:
    headings = {line.removeprefix("## ").strip() for line in RUNBOOK.read_text().splitlines() if line.startswith("## ")}
    for rule in rules():
        if "alert" in rule:
            assert rule["alert"] in headings
            assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")
            assert {"summary", "description"} <= rule["annotations"].keys()
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_dashboards_are_what_their_code_says() -> None:
    result = subprocess.run([sys.executable, str(CHART / "dashboards.py"), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
