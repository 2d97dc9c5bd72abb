"""The chart as a platform engineer meets it: lint, schema, goldens, validation against three Kubernetes versions.

Run by `make test-chart`, which brings helm. `CARLIEN_UPDATE_GOLDENS=1` writes the goldens anew: read the diff.
"""

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

CHART = Path(__file__).parents[1]
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
VERSIONS = ("1.29", "1.32", "1.34")
HELM = os.environ.get("HELM", "helm")
# Kinds of other projects' CRDs: no schema to hold them against here.
CUSTOM_KINDS = {"Certificate", "PrometheusRule", "ServiceMonitor"}


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def render(case: str, *arguments: str) -> str:
    result = helm(
        "template",
        "lender",
        str(CHART),
        "--kube-version",
        "1.34",
        "--namespace",
        "carlien",
        "--values",
        str(CHART / "ci" / f"{case}-values.yaml"),
        *arguments,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def documents(rendered: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(rendered) if document]


@pytest.mark.parametrize("case", CASES)
def test_lints_strictly(case: str) -> None:
    result = helm("lint", "--strict", str(CHART), "--values", str(CHART / "ci" / f"{case}-values.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES)
def test_renders_the_golden(case: str) -> None:
    golden = CHART / "rendered" / f"{case}.yaml"
    rendered = render(case)
    if os.environ.get("CARLIEN_UPDATE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered)
    assert rendered == golden.read_text()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_is_valid_kubernetes(case: str, version: str) -> None:
    for document in documents(render(case)):
        if document["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("typo", ["kafka.bootstrp=x:1", "components.valution.enabled=true", "components.pricing.replica=2", "orgs=x"])
def test_the_schema_catches_a_typo(typo: str) -> None:
    result = helm(
        "template", "lender", str(CHART), "--kube-version", "1.34", "--values", str(CHART / "ci" / "minimal-values.yaml"), "--set", typo
    )
    assert result.returncode != 0
    assert "additional properties" in result.stderr.lower() or "not allowed" in result.stderr.lower(), result.stderr


@pytest.mark.parametrize(
    ("missing", "says"), [("kafka.bootstrap=", "say where Kafka is"), ("fabric.peerAddresses=null", "say where your own peers are")]
)
def test_a_missing_address_is_named(missing: str, says: str) -> None:
    result = helm(
        "template", "lender", str(CHART), "--kube-version", "1.34", "--values", str(CHART / "ci" / "minimal-values.yaml"), "--set", missing
    )
    assert result.returncode != 0
    assert says in result.stderr


def _pods(case: str) -> list[tuple[str, dict[str, Any]]]:
    return [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in documents(render(case)) if d["kind"] in ("Deployment", "Job")]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_meets_the_restricted_standard(case: str) -> None:
    for name, pod in _pods(case):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name


SETTINGS = {
    "valuation": ("carlien_valuation.config", "ValuationSettings"),
    "lien-registry": ("carlien_lien_registry.config", "LienRegistrySettings"),
    "telematics": ("carlien_telematics.config", "TelematicsSettings"),
    "pricing": ("carlien_pricing.config", "PricingSettings"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_setting_of_its_service_and_none_that_is_needed_is_missing(case: str) -> None:
    for name, pod in _pods(case):
        service = name.removeprefix("lender-carlien-").removesuffix("-migrate")
        module, settings = SETTINGS[service]
        fields = getattr(importlib.import_module(module), settings).model_fields
        given = set()
        for variable in pod["containers"][0]["env"]:
            field = variable["name"].removeprefix("CARLIEN_").lower()
            # Secrets may come from a file named by NAME_FILE.
            given.add(field if field in fields else field.removesuffix("_file"))
        assert given <= fields.keys(), f"{name}: {sorted(given - fields.keys())} mean nothing to {settings}"
        missing = {field for field, info in fields.items() if info.is_required()} - given
        assert not missing, f"{name} lacks {sorted(missing)}"


def test_network_edges_are_exactly_those_of_the_design() -> None:
    policies = {d["metadata"]["name"]: d for d in documents(render("minimal")) if d["kind"] == "NetworkPolicy"}
    edges = {
        (name.removeprefix("lender-carlien-"), peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"])
        for name, policy in policies.items()
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", [])
        if "podSelector" in peer
    }
    assert edges == {("pricing", "valuation"), ("pricing", "lien-registry"), ("pricing", "telematics"), ("lien-registry", "valuation")}
