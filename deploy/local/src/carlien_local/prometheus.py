"""Prometheus, scraping every metrics port of the stack. Debian's binary, not its system service."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from carlien_local.errors import StackError
from carlien_local.layout import Layout, digest
from carlien_local.processes import ProcessSpec
from carlien_local.services import SERVICES
from carlien_local.starting import Starter, answers

RETENTION = "2d"


def targets(layout: Layout) -> dict[str, list[dict[str, object]]]:
    """job -> its targets in file_sd form."""

    def entry(port: int, **labels: str) -> dict[str, object]:
        return {"targets": [f"127.0.0.1:{port}"], "labels": labels}

    services = [entry(layout.metrics_port(service.name), instance=service.name, job=service.kind, org=service.org) for service in SERVICES]
    nodes = [
        entry(layout.port("orderer-operations"), instance="orderer"),
        entry(layout.port("peer-org1-operations"), instance="peer-org1", org="org1"),
        entry(layout.port("peer-org2-operations"), instance="peer-org2", org="org2"),
    ]
    return {
        "carlien": services,
        "fabric": nodes,
        "prometheus": [entry(layout.port("prometheus"), instance="prometheus")],
    }


def up(starter: Starter) -> bool:
    """Writes the configuration and has Prometheus running with it."""
    layout = starter.layout
    binary = shutil.which("prometheus")
    if binary is None:
        raise StackError("Prometheus isn't installed: run `make setup`.")
    home = layout.state / "prometheus"
    files = _write(layout, home)
    port = layout.port("prometheus")
    spec = ProcessSpec(
        name="prometheus",
        argv=(
            binary,
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ),
        cwd=str(home),
        ports=(port,),
        probe=f"{port}/-/ready",
        version=digest(*files),
    )
    return starter.ensure(spec, lambda: answers(spec))


def _write(layout: Layout, home: Path) -> list[Path]:
    """Configuration, targets and rules under `home`; returns what was written."""
    for folder in ("targets", "rules"):
        shutil.rmtree(home / folder, ignore_errors=True)
        (home / folder).mkdir(parents=True)
    written = [Path(shutil.copy(layout.root / "deploy/prometheus/prometheus.yml", home))]
    rules = sorted((layout.root / "charts/carlien/files/rules").glob("*.y*ml"))
    written += [Path(shutil.copy(file, home / "rules")) for file in rules]
    for job, entries in targets(layout).items():
        file = home / "targets" / f"{job}.json"
        file.write_text(json.dumps(entries, indent=1))
        written.append(file)
    return written
