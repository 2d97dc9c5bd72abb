"""The stack of compose.yaml: `python deploy/compose/stack.py up|down|reset|env`.

`up` writes keys, genesis block, passwords and settings into the state directory (as the native stack does, from the same code), starts
the containers, joins the channel, deploys the chaincode, migrates, and waits until every service is ready. Images come from
`make images` and deploy/compose/build.sh. Needs docker-compose (1.29 or newer, or the compose plugin).
"""

from __future__ import annotations

import base64
import functools
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import yaml

from carlien_local import chaincode, environment, fabric, kafka, model, pki, postgres
from carlien_local.errors import StackError
from carlien_local.layout import Layout, find_layout
from carlien_local.services import SERVICES
from carlien_local.starting import Starter, http_get

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PORTS = (
    *("postgres", "kafka", "orderer", "orderer-admin", "orderer-operations"),
    *("peer-org1", "peer-org1-operations", "peer-org2", "peer-org2-operations", "gb32960", "jt808"),
)
INFRASTRUCTURE = ("postgres", "kafka", "orderer", "peer-org1", "peer-org2", "chaincode-org1", "chaincode-org2")
# What the containers run as where root starts them; else they run as whoever does.
UNPRIVILEGED = 10001
READY_S = 240.0


class Compose:
    """docker-compose with this stack's files and settings."""

    def __init__(self, layout: Layout) -> None:
        self.settings = layout.state / "compose.env"
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        self._command = [*command, "-p", "carlien", "-f", str(HERE / "compose.yaml"), "--env-file", str(self.settings)]

    def run(self, *arguments: str) -> None:
        subprocess.run([*self._command, *arguments], check=True, cwd=ROOT)

    def healthy(self, service: str) -> bool:
        """By the image's own health check."""
        ps = subprocess.run([*self._command, "ps", "-q", service], check=True, cwd=ROOT, capture_output=True, text=True)
        inspect = ["docker", "inspect", "--format", "{{.State.Health.Status}}", ps.stdout.strip()]
        return subprocess.run(inspect, check=False, capture_output=True, text=True).stdout.strip() == "healthy"


def up(starter: Starter) -> None:
    """See the module's docstring."""
    layout = starter.layout
    layout.create()
    model.up(starter)
    _write(starter)
    compose = Compose(layout)
    compose.run("up", "-d", *INFRASTRUCTURE)
    _wait(starter, "orderer", lambda: _answers(layout.port("orderer-operations"), "/healthz"))
    for org in fabric.orgs(layout):
        _wait(starter, org.peer, functools.partial(_answers, layout.port(f"{org.peer}-operations"), "/healthz"))
    for name in ("postgres", "kafka"):
        _wait(starter, name, functools.partial(compose.healthy, name))
    _eventually(starter, "the orderer joins", lambda: fabric.join_orderer(starter))
    for org in fabric.orgs(layout):
        _eventually(starter, f"{org.peer} joins", functools.partial(fabric.join_peer, starter, org))
    chaincode.deploy(starter, _packages(layout))
    fabric.wait_for_gossip(starter)
    _eventually(starter, "topics", lambda: kafka.create_topics(starter))
    for service in SERVICES:
        compose.run("run", "--rm", service.name, "migrate")
    compose.run("up", "-d", *(service.name for service in SERVICES))
    for service in SERVICES:
        _wait(starter, service.name, functools.partial(_answers, layout.metrics_port(service.name), "/readyz"))


def _answers(port: int, path: str) -> bool:
    return http_get(port, path) is not None


def _wait(starter: Starter, name: str, ready: Callable[[], bool]) -> None:
    for _ in range(int(READY_S / 0.5)):
        if ready():
            starter.report(f"{name} is ready")
            return
        starter.pause(0.5)
    raise StackError(f"{name}: not ready after {READY_S:.0f} s; see its log (docker-compose logs)")


def _eventually(starter: Starter, what: str, act: Callable[[], None]) -> None:
    """A part answers its health check a moment before it takes orders."""
    for attempt in range(60):
        try:
            act()
        except StackError as error:
            if attempt == 59:
                raise StackError(f"{what}: {error}") from error
            starter.pause(0.5)
        else:
            return


# -- files -------------------------------------------------------------------------------------------------------------
def _packages(layout: Layout) -> dict[str, bytes]:
    return chaincode.packed(layout, lambda org: f"chaincode-{org.name}:9999")


def _write(starter: Starter) -> None:
    layout = starter.layout
    pki.ensure(layout.pki)
    fabric.write_config(layout, Path("/opt/builders/ccaas"))
    fabric.generate(starter, host=lambda part: part)
    secrets, init = layout.state / "secrets", layout.state / "postgres-init"
    for folder in (secrets, init, *(layout.state / "ledgers" / name for name in ("orderer", "peer-org1", "peer-org2"))):
        folder.mkdir(parents=True, exist_ok=True)
    passwords = postgres.passwords(layout)
    for role in postgres.DATABASES:
        _secret(secrets / role, f"postgresql://{role}:{quote(passwords[role])}@postgres:5432/{role}")
    _secret(init / "postgres", passwords[postgres.SUPERUSER])
    roles = [
        f"CREATE ROLE {role} LOGIN PASSWORD '{passwords[role]}'; CREATE DATABASE {role} OWNER {role}; "
        f"REVOKE CONNECT ON DATABASE {role} FROM PUBLIC;"
        for role in postgres.DATABASES
    ]
    _secret(init / "roles.sql", "\n".join(roles))
    Compose(layout).settings.write_text("".join(f"{name}={value}\n" for name, value in _settings(layout).items()))
    (layout.state / "env").write_text(environment.render(environment.variables(layout), layout))
    if os.geteuid() == 0:
        _give_away(layout.state)


def _secret(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)


def _settings(layout: Layout) -> dict[str, str]:
    version = yaml.safe_load((ROOT / "charts/carlien/Chart.yaml").read_text())["appVersion"]
    user = f"{UNPRIVILEGED}:{UNPRIVILEGED}" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    settings = {
        "CARLIEN_STATE": str(layout.state),
        "CARLIEN_USER": user,
        "CARLIEN_VERSION": version,
        "CARLIEN_MODEL_DIR": str(model.folder(layout)),
        "CARLIEN_TRACES_ENDPOINT": os.environ.get("CARLIEN_TRACES_ENDPOINT", ""),
        "KAFKA_CLUSTER_ID": base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, str(layout.state)).bytes).rstrip(b"=").decode(),
    }
    settings |= {f"CHAINCODE_{name.upper()}_ID": chaincode.package_id(layout, content) for name, content in _packages(layout).items()}
    settings |= {f"{_upper(name)}_PORT": str(layout.port(name)) for name in (*PORTS, *(service.name for service in SERVICES))}
    settings |= {f"{_upper(service.name)}_METRICS_PORT": str(layout.metrics_port(service.name)) for service in SERVICES}
    return settings


def _upper(name: str) -> str:
    return name.replace("-", "_").upper()


def _give_away(state: Path) -> None:
    """Root made it; the containers' user reads it."""
    for folder in ("pki", "secrets", "fabric", "ledgers"):
        for path in (state / folder, *(state / folder).rglob("*")):
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    account = postgres_account()
    for path in (state / "postgres-init", *(state / "postgres-init").iterdir()):
        os.chown(path, account, account)


def postgres_account() -> int:
    """The number of user postgres inside the image."""
    docker = shutil.which("docker") or "docker"
    answer = subprocess.run(
        [docker, "run", "--rm", "--entrypoint", "id", "carlien-postgres:latest", "-u"], capture_output=True, text=True, check=True
    )
    return int(answer.stdout)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """0 where it worked."""
    verb = sys.argv[1] if len(sys.argv) == 2 else ""
    os.environ.setdefault("CARLIEN_PORT_BASE", "23000")
    layout = find_layout(Path(os.environ.get("CARLIEN_COMPOSE_STATE", ROOT / ".local" / "compose")))
    starter = Starter(layout, _say)
    compose = Compose(layout)
    if verb == "up":
        try:
            up(starter)
        except StackError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        _say(f"Up. Addresses: source {shlex.quote(str(layout.state / 'env'))}")
    elif verb == "down":
        compose.run("down")
    elif verb == "reset":
        compose.run("down", "--volumes")
        shutil.rmtree(layout.state, ignore_errors=True)
    else:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
