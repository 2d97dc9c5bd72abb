"""The services' Dockerfiles: one text with other names (Docker has no include), and the ports that the chart expects."""

import re
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).parents[1]
SERVICES = CHART.parents[1] / "services"
NAMES = ("valuation", "lien-registry", "telematics", "pricing")
_OPENMP = re.compile(r"# LightGBM needs the OpenMP runtime\.\nRUN .*libgomp1.*\n")
_OWN = re.compile(r"^# The .*\. Built|description=\"\S.* of|\b(?:5005\d|910\d|32960|8808)\b", re.MULTILINE)


def dockerfile(name: str) -> str:
    return (SERVICES / name / "Dockerfile").read_text()


def text(name: str) -> str:
    """Without what is the service's own: its name, what it is, its ports, LightGBM's runtime."""
    shared = _OWN.sub("", _OPENMP.sub("", dockerfile(name)))
    return re.sub(" +", " ", shared.replace(name, "NAME").replace(name.replace("-", "_"), "NAME"))


@pytest.mark.parametrize("name", NAMES)
def test_a_dockerfile_differs_from_the_others_only_where_it_must(name: str) -> None:
    assert [line.strip() for line in text(name).splitlines()] == [line.strip() for line in text("pricing").splitlines()]


def test_images_listen_where_the_chart_expects_it() -> None:
    documents = yaml.safe_load_all((CHART / "rendered" / "production.yaml").read_text())
    pods = {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in documents if d and d["kind"] == "Deployment"}
    for name in NAMES:
        (container,) = pods[f"lender-carlien-{name}"]["containers"]
        (exposed,) = re.findall(r"^EXPOSE (.*)$", dockerfile(name), re.MULTILINE)
        assert {port["containerPort"] for port in container["ports"]} == {int(port) for port in exposed.split()}, name
        given = {variable["name"]: variable.get("value") for variable in container["env"]}
        for variable, port in re.findall(r"(CARLIEN_\w+_PORT)=(\d+)", dockerfile(name)):
            assert given[variable] == port, name
