"""What the parts are configured with, against what design.md and interfaces.md promise."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from carlien_local import chaincode, environment, kafka, postgres, prometheus
from carlien_local.layout import Layout, digest
from carlien_local.services import SERVICES, Service
from carlien_local.services import environment as service_environment

TOPICS = {
    *("carlien.telematics.frame.v1", "carlien.telematics.alert.v1", "carlien.telematics.profile.v1"),
    *("carlien.valuation.appraisal.v1", "carlien.valuation.index.v1", "carlien.lien.event.v1"),
    *("carlien.lien.alert.v1", "org2.carlien.lien.alert.v1"),
    *("carlien.pricing.quote.v1", "carlien.pricing.watch.v1"),
    "org2.carlien.lien.event.v1",
}


def test_every_topic_has_a_dead_letter_topic() -> None:
    assert set(kafka.wanted_topics()) == TOPICS | {f"{name}.dlq" for name in TOPICS}


@pytest.mark.parametrize("name", ["carlien.telematics.frame.v1", "carlien.telematics.frame.v1.dlq"])
def test_tracks_are_kept_for_72_hours(name: str) -> None:
    configs = kafka.wanted_topics()[name]["configs"]
    assert isinstance(configs, dict)
    assert configs["retention.ms"] == str(72 * 3600 * 1000)
    assert int(configs["segment.ms"]) <= 3600 * 1000


def test_a_cluster_id_is_a_uuid_that_is_no_option() -> None:
    for _ in range(200):
        made = kafka._cluster_id()
        assert len(made) == 22
        assert made[0] != "-"


def test_a_package_is_the_same_bytes_for_the_same_input_and_another_for_another() -> None:
    first = chaincode.package("label", {"address": "127.0.0.1:1", "tls_required": False})
    assert first == chaincode.package("label", {"tls_required": False, "address": "127.0.0.1:1"})
    assert first != chaincode.package("label", {"address": "127.0.0.1:2", "tls_required": False})
    assert first != chaincode.package("label2", {"address": "127.0.0.1:1", "tls_required": False})


def test_a_package_is_two_nested_archives() -> None:
    outer = unpack(chaincode.package("l", {"address": "a"}))
    assert json.loads(outer["metadata.json"]) == {"type": "ccaas", "label": "l"}
    assert json.loads(unpack(outer["code.tar.gz"])["connection.json"]) == {"address": "a"}


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file}


def test_the_env_file_can_be_sourced_and_says_what_is_promised(layout: Layout) -> None:
    environment.write(layout)
    shell = subprocess.run(
        ["bash", "-c", f"set -eu; source {layout.env_file}; env -0"], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    seen = dict(entry.split("=", 1) for entry in shell.stdout.decode().split("\0") if "=" in entry)
    services = ("VALUATION", "LIEN_REGISTRY", "LIEN_REGISTRY_ORG2", "TELEMATICS", "PRICING")
    promised = {"KAFKA_BOOTSTRAP", "POSTGRES_ADMIN_DSN", "GB32960_ADDRESS", "JT808_ADDRESS", "PROMETHEUS_URL", "CARLIEN_PKI"}
    promised |= {f"{service}_{what}" for service in services for what in ("ADDRESS", "POSTGRES_DSN")}
    orgs = ("MSP_ID", "PEER_ADDRESS", "TLS_CA_FILE", "CERT_FILE", "KEY_FILE", "REGISTRAR_CERT_FILE", "REGISTRAR_KEY_FILE")
    promised |= {f"FABRIC_ORG{number}_{name}" for number in (1, 2) for name in orgs}
    assert promised <= set(seen)
    assert (seen["FABRIC_CHANNEL"], seen["FABRIC_CHAINCODE"]) == ("carlien", "mortgage-asset")
    assert seen["KAFKA_BOOTSTRAP"] == f"127.0.0.1:{layout.port_base + 92}"
    assert seen["PATH"].startswith(str(layout.fabric_tools / "bin"))
    assert layout.env_file.stat().st_mode & 0o777 == 0o600


def test_passwords_are_made_once_and_differ(layout: Layout) -> None:
    made = postgres.passwords(layout)
    assert postgres.passwords(layout) == made
    assert len(set(made.values())) == len(postgres.DATABASES) + 1
    assert (layout.state / "postgres-passwords.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_speaks_for_its_own_org_only(layout: Layout, service: Service) -> None:
    env = service_environment(layout, service)
    other = {"org1": "org2", "org2": "org1"}[service.org]
    assert env["CARLIEN_ORG"] == service.org
    assert env["CARLIEN_MSP_ID"] == service.org.capitalize() + "MSP"
    own = {name: value for name, value in env.items() if name != "CARLIEN_POSTGRES_DSN"}
    assert not [name for name, value in own.items() if f"/{other}" in value or other.capitalize() in value]
    assert env["CARLIEN_POSTGRES_DSN"].endswith("/" + service.database)


def test_prometheus_scrapes_every_service_and_node_under_a_name_of_its_own(layout: Layout) -> None:
    entries = [entry for job in prometheus.targets(layout).values() for entry in job]
    labels = [entry["labels"] for entry in entries]
    names = [label["instance"] for label in labels if isinstance(label, dict)]
    assert set(names) == {service.name for service in SERVICES} | {"orderer", "peer-org1", "peer-org2", "prometheus"}
    assert len(names) == len(set(names))


def test_promtool_accepts_the_configuration(layout: Layout) -> None:
    home = layout.state / "prometheus"
    prometheus._write(layout, home)
    subprocess.run(["promtool", "check", "config", str(home / "prometheus.yml")], check=True, capture_output=True)


def test_setup_and_stack_name_the_same_cache_folders(layout: Layout, tmp_path: Path) -> None:
    """setup.sh can't import Python: its digest must be the one the stack looks for."""
    script = (layout.root / "deploy/local/setup.sh").read_text()
    line = next(line for line in script.splitlines() if line.startswith("digest()"))
    files = [layout.root / "deploy/local/kafka/pom.xml", layout.root / "deploy/fabric/tools/go.sum"]
    for file in files:
        shell = subprocess.run(["bash", "-c", f"{line}\ndigest {file}"], capture_output=True, text=True, check=True)
        assert shell.stdout.strip() == digest(file)
