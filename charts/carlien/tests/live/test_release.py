"""The chart's life against a real Kubernetes API server: install, upgrade, roll back, uninstall; `make test-chart-live`.

Admission (pod security "restricted" enforced), validation with the custom resources' own definitions, and the controllers are
real. No node is there: what a kubelet would say of the pods is said by carlien_local.api_server.Nodes, so images, probes, network
policies and the services' work are not what is shown here.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from carlien_local.api_server import ApiServer, Nodes, Object, Refused, api_server, until

if "KUBERNETES" not in os.environ:
    pytest.skip("run by `make test-chart-live`, which builds the API server", allow_module_level=True)

CHART = Path(__file__).parents[2]
REPOSITORY = CHART.parents[1]
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
HELM = os.environ.get("HELM", "helm")
KUBERNETES = Path(os.environ["KUBERNETES"])
# The end of the first session: the first release that has the chart.
PREVIOUS_RELEASE = "6ff685d"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
# What Kubernetes puts into every namespace.
OF_THE_NAMESPACE = {("ServiceAccount", "default")}
WAIT = ("--wait", "--timeout", "120s")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(KUBERNETES / "bin", tmp_path_factory.mktemp("api-server")) as running:
        for kind in ("servicemonitors", "prometheusrules", "certificates"):
            (definition,) = (KUBERNETES / "crds").glob(f"*_{kind}.yaml")
            running.install_crd(yaml.safe_load(definition.read_text()))
        yield running


@pytest.fixture(scope="module")
def nodes(server: ApiServer) -> Iterator[Nodes]:
    with Nodes(server).running() as running:
        yield running


@pytest.fixture
def namespace(server: ApiServer) -> Iterator[str]:
    name = f"carlien-{uuid4().hex[:8]}"
    server.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
    yield name
    server.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def helm(server: ApiServer, namespace: str) -> Callable[..., str]:
    """Runs helm on the namespace; its output, AssertionError where it fails."""

    def run(*arguments: str) -> str:
        command = [HELM, *arguments, "--namespace", namespace, "--kubeconfig", str(server.kubeconfig)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert result.returncode == 0, result.stderr
        # What the API server thinks of a pod's security only warns at the Deployment.
        assert "would violate PodSecurity" not in result.stderr, result.stderr
        return result.stdout

    return run


def values(case: str) -> tuple[str, str]:
    return "--values", str(CHART / "ci" / f"{case}-values.yaml")


def deployments(server: ApiServer, namespace: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in server.get(f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]}


def images(server: ApiServer, namespace: str) -> set[str]:
    return {item["spec"]["template"]["spec"]["containers"][0]["image"] for item in deployments(server, namespace).values()}


def rendered(helm: Callable[..., str]) -> set[tuple[str, str]]:
    """(kind, name) of what the release says it consists of."""
    return {(part["kind"], part["metadata"]["name"]) for part in yaml.safe_load_all(helm("get", "manifest", "lender")) if part}


@pytest.mark.parametrize("case", CASES)
def test_installs_and_uninstalls(case: str, server: ApiServer, nodes: Nodes, namespace: str, helm: Callable[..., str]) -> None:
    helm("install", "lender", str(CHART), *values(case), *WAIT)
    there = server.namespaced(namespace)
    assert rendered(helm) <= there
    for name, deployment in deployments(server, namespace).items():
        assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"], name
    # The migrations ran and are gone.
    assert not [name for kind, name in there if kind == "Job"]
    helm("uninstall", "lender", *WAIT)
    until("nothing is left", lambda: server.namespaced(namespace) == OF_THE_NAMESPACE)


def test_upgrades_rolls_back_and_uninstalls(server: ApiServer, nodes: Nodes, namespace: str, helm: Callable[..., str]) -> None:
    helm("install", "lender", str(CHART), *values("minimal"), *WAIT)
    before, there = images(server, namespace), rendered(helm)
    helm("upgrade", "lender", str(CHART), *values("production"), *WAIT)
    assert images(server, namespace) == {f"registry.example.com/carlien/{image.split(':')[0]}:0.1.0" for image in before}
    kinds = {kind for kind, _ in rendered(helm)}
    assert {"Certificate", "ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler"} <= kinds
    helm("rollback", "lender", "1", *WAIT)
    assert images(server, namespace) == before
    assert rendered(helm) == there
    helm("uninstall", "lender", *WAIT)
    until("nothing is left", lambda: server.namespaced(namespace) == OF_THE_NAMESPACE)


def test_upgrades_from_the_previous_release_and_back(
    server: ApiServer, nodes: Nodes, namespace: str, helm: Callable[..., str], tmp_path: Path
) -> None:
    """Selectors and whatever else is immutable stay what they were."""
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE, "charts/carlien"], cwd=REPOSITORY, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(tmp_path, filter="data")
    helm("install", "lender", str(tmp_path / "charts/carlien"), *values("minimal"), *WAIT)
    helm("upgrade", "lender", str(CHART), *values("minimal"), *WAIT)
    helm("rollback", "lender", "1", *WAIT)


def test_a_failed_migration_leaves_the_old_release_as_it_was(
    server: ApiServer, nodes: Nodes, namespace: str, helm: Callable[..., str]
) -> None:
    helm("install", "lender", str(CHART), *values("lien-only"), *WAIT)
    (before,) = deployments(server, namespace).values()
    nodes.jobs_fail = True
    try:
        with pytest.raises(AssertionError, match="pre-upgrade hooks failed"):
            helm("upgrade", "lender", str(CHART), *values("lien-only"), "--set", "image.tag=broken", "--timeout", "10s")
    finally:
        nodes.jobs_fail = False
    (after,) = deployments(server, namespace).values()
    assert after["spec"] == before["spec"]
    # It stays for whoever reads its log; the next upgrade replaces it, `helm uninstall` doesn't take it away.
    job = ("Job", "lender-carlien-lien-registry-migrate")
    assert job in server.namespaced(namespace)
    helm("upgrade", "lender", str(CHART), *values("lien-only"), "--set", "image.tag=mended", *WAIT)
    assert images(server, namespace) == {"carlien-lien-registry:mended"}
    assert job not in server.namespaced(namespace)


def test_the_namespace_refuses_what_is_not_restricted(server: ApiServer, namespace: str) -> None:
    """What makes the tests above say something."""
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": "root"}]}}
    with pytest.raises(Refused, match="violates PodSecurity"):
        server.create(f"/api/v1/namespaces/{namespace}/pods", pod)


def test_definitions_refuse_what_is_not_theirs(nodes: Nodes, helm: Callable[..., str]) -> None:
    with pytest.raises(AssertionError, match=r"spec\.endpoints\[0\]\.interval"):
        helm("install", "lender", str(CHART), *values("production"), "--set", "monitoring.serviceMonitor.interval=soon", *WAIT)
