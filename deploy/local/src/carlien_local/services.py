"""carlien's own processes: what each needs in its environment, what it waits for, when it is ready.

To add a service, add a row to SERVICES (and its ports to layout.PORT_OFFSETS).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from carlien_local import chaincode, fabric, model, postgres
from carlien_local.graph import Step
from carlien_local.layout import Layout, digest
from carlien_local.processes import ProcessSpec
from carlien_local.starting import Starter, answers

# Valuation imports TensorFlow and warms its model: 8 s alone on two idle cores, a minute when other things run beside it.
# A service that ends instead of getting ready is noticed at once.
READY_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Service:
    """One process of carlien. `kind` is its folder under services/, `after` names the steps it needs."""

    name: str
    kind: str
    org: str
    database: str
    after: tuple[str, ...]
    settings: Callable[[Layout], Mapping[str, str]]
    ports: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return f"carlien_{self.kind.replace('-', '_')}"


def _models(layout: Layout) -> dict[str, str]:
    return {"MODEL_DIR": str(model.folder(layout))}


def _devices(layout: Layout) -> dict[str, str]:
    return {
        "GB32960_HOST": "127.0.0.1",
        "GB32960_PORT": str(layout.port("gb32960")),
        "JT808_HOST": "127.0.0.1",
        "JT808_PORT": str(layout.port("jt808")),
    }


def _neighbours(layout: Layout) -> dict[str, str]:
    return {
        "VALUATION_ADDRESS": layout.address("valuation"),
        "LIEN_REGISTRY_ADDRESS": layout.address("lien-registry"),
        "TELEMATICS_ADDRESS": layout.address("telematics"),
    }


def _ledger(org_name: str) -> Callable[[Layout], dict[str, str]]:
    def settings(layout: Layout) -> dict[str, str]:
        org = next(org for org in fabric.orgs(layout) if org.name == org_name)
        return {
            "VALUATION_ADDRESS": layout.address("valuation"),
            # Its own org's peer only: a competitor's must never see this lender's private data.
            "FABRIC_PEER_ADDRESSES": layout.address(org.peer),
            "FABRIC_TLS_CA_FILE": str(org.tls_ca),
            "FABRIC_CERT_FILE": str(org.identities / "client.crt"),
            "FABRIC_KEY_FILE": str(org.identities / "client.key"),
            "FABRIC_REGISTRAR_CERT_FILE": str(org.identities / "registrar.crt"),
            "FABRIC_REGISTRAR_KEY_FILE": str(org.identities / "registrar.key"),
            "CONSORTIUM_KEY_FILE": str(fabric.consortium_key(layout)),
            "FABRIC_CHANNEL": fabric.CHANNEL,
            "FABRIC_CHAINCODE": chaincode.NAME,
        }

    return settings


BASE = ("certificates", "postgres", "kafka")
SERVICES = (
    Service("valuation", "valuation", "org1", "valuation", (*BASE, "model"), _models),
    Service("telematics", "telematics", "org1", "telematics", BASE, _devices, ("gb32960", "jt808")),
    Service("lien-registry", "lien-registry", "org1", "lien_registry", (*BASE, "chaincode"), _ledger("org1")),
    Service("lien-registry-org2", "lien-registry", "org2", "lien_registry_org2", (*BASE, "chaincode"), _ledger("org2")),
    Service("pricing", "pricing", "org1", "pricing", ("valuation", "telematics", "lien-registry"), _neighbours),
)


def steps(starter: Starter) -> list[Step]:
    """The model, then one step per service: migrate its database, then have it running and ready."""
    trained = Step("model", lambda: model.up(starter))
    return [trained, *(Step(service.name, _action(starter, service), service.after) for service in SERVICES)]


def _action(starter: Starter, service: Service) -> Callable[[], bool]:
    return lambda: up(starter, service)


def up(starter: Starter, service: Service) -> bool:
    """Migrates the service's database and has the service running and ready."""
    layout = starter.layout
    env = environment(layout, service)
    command = (sys.executable, "-m", service.module)
    spec = ProcessSpec(
        name=service.name,
        argv=(*command, "serve"),
        env=env,
        cwd=str(layout.state),
        ports=(layout.port(service.name), layout.metrics_port(service.name), *map(layout.port, service.ports)),
        probe=f"{layout.metrics_port(service.name)}/readyz",
        version=_source_digest(layout, service),
    )
    if starter.processes.find(service.name) is None or starter.processes.saved(service.name) != spec:
        starter.run(f"{service.name} (migrate)", [*command, "migrate"], env=_with_path(env), timeout_s=120.0)
    return starter.ensure(spec, lambda: answers(spec), READY_TIMEOUT_S)


def environment(layout: Layout, service: Service) -> dict[str, str]:
    """All of a service's configuration, as the environment variables that config.py of each reads."""
    certificates = layout.pki / service.org
    settings = {
        "ORG": service.org,
        "MSP_ID": next(org.msp_id for org in fabric.orgs(layout) if org.name == service.org),
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": str(layout.port(service.name)),
        "METRICS_PORT": str(layout.metrics_port(service.name)),
        "POSTGRES_DSN": postgres.dsn(layout, service.database),
        "KAFKA_BOOTSTRAP": layout.address("kafka"),
        "TLS_CERT_FILE": str(certificates / "service.crt"),
        "TLS_KEY_FILE": str(certificates / "service.key"),
        "TLS_CA_FILE": str(layout.pki / "ca.crt"),
        "REFLECTION": "true",
        "STOP_DRAIN_S": "0",  # no load balancer has to notice
        **service.settings(layout),
    }
    if service.org != "org1":
        settings["KAFKA_TOPIC_PREFIX"] = f"{service.org}."
    return {"PYTHONUNBUFFERED": "1", **{f"CARLIEN_{name}": value for name, value in settings.items()}}


def _with_path(env: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": str(Path(sys.executable).parent), **env}


def _source_digest(layout: Layout, service: Service) -> str:
    """Changes with the code: `up` then restarts the service, since a running process keeps the old one."""
    own = layout.root / "services" / service.kind
    folders = [own / "src", own / "migrations", layout.root / "services/common/src", layout.root / "protos/gen"]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    return digest(*files)
