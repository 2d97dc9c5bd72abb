"""Where everything of one stack lies: paths, ports, caches. Nothing here touches a process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from carlien_local.errors import StackError

DEFAULT_PORT_BASE = 21000
# The largest offset in use is 223 (org2's chaincode); the default base keeps all ports below the ephemeral range.
LARGEST_OFFSET = 230
LEAST_FREE_BYTES = 2 * 2**30

PORT_OFFSETS: Mapping[str, int] = {
    "valuation": 1,
    "lien-registry": 2,
    "telematics": 3,
    "pricing": 4,
    "lien-registry-org2": 12,
    "postgres": 32,
    "gb32960": 60,
    "jt808": 61,
    "prometheus": 90,
    "kafka": 92,
    "kafka-controller": 93,
    "orderer": 200,
    "orderer-admin": 201,
    "orderer-operations": 202,
    "peer-org1": 210,
    "peer-org1-chaincode": 211,
    "peer-org1-operations": 212,
    "chaincode-org1": 213,
    "peer-org2": 220,
    "peer-org2-chaincode": 221,
    "peer-org2-operations": 222,
    "chaincode-org2": 223,
}
METRICS_OFFSET = 100


@dataclass(frozen=True)
class Layout:
    """One stack: the repository it belongs to, its state directory, its first port and the shared download cache."""

    root: Path
    state: Path
    port_base: int
    cache: Path

    def port(self, name: str) -> int:
        return self.port_base + PORT_OFFSETS[name]

    def metrics_port(self, service: str) -> int:
        return self.port(service) + METRICS_OFFSET

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.port(name)}"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def env_file(self) -> Path:
        return self.state / "env"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    def log(self, name: str) -> Path:
        return self.state / "log" / f"{name}.log"

    @property
    def kafka_libs(self) -> Path:
        """The broker's jars, as `make setup` fetched them for exactly this pom.xml."""
        return self.cache / f"kafka-{digest(self.root / 'deploy/local/kafka/pom.xml')}" / "libs"

    @property
    def fabric_tools(self) -> Path:
        """`bin/` and `config/` of Fabric, as `make setup` built them for exactly this go.sum."""
        return self.cache / f"fabric-{digest(self.root / 'deploy/fabric/tools/go.sum')}"

    def create(self) -> None:
        """Makes the directories and pins the port base: a Fabric channel has its addresses baked in."""
        for folder in (self.state, self.run, self.state / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        _pin(self.state).write_text(json.dumps({"port_base": self.port_base}) + "\n")

    def require_space(self) -> None:
        """Raises StackError when the disk is nearly full: database and broker would end in the midst of something."""
        free = shutil.disk_usage(self.state).free
        if free < LEAST_FREE_BYTES:
            raise StackError(f"Only {free // 2**20} MB are free under {self.state}; the stack needs {LEAST_FREE_BYTES // 2**20} MB.")


def digest(*files: Path) -> str:
    """The first 12 hex digits of the SHA-256 of the files' contents, one after the other."""
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes())
    return content.hexdigest()[:12]


def find_layout(state: Path | None = None, environment: Mapping[str, str] = os.environ) -> Layout:
    """The layout of the checkout this module is installed from.

    The port base comes from CARLIEN_PORT_BASE, else from the state directory, else the default. Raises StackError when
    the variable isn't a usable number or disagrees with an existing state directory.
    """
    root = Path(__file__).resolve().parents[4]
    folder = (state or root / ".local").resolve()
    pinned = json.loads(_pin(folder).read_text())["port_base"] if _pin(folder).exists() else None
    text = environment.get("CARLIEN_PORT_BASE", "")
    if text and (not text.isdigit() or not 1024 <= int(text) <= 65535 - LARGEST_OFFSET):
        raise StackError(f"CARLIEN_PORT_BASE={text}: not a number from 1024 to {65535 - LARGEST_OFFSET}")
    if text and pinned is not None and int(text) != pinned:
        raise StackError(
            f"{folder} was created with CARLIEN_PORT_BASE={pinned}, not {text}: its ledger has the ports baked in.\n"
            f"Use {pinned}, another --state, or delete the state with `carlien-local --state {folder} reset`."
        )
    base = int(text) if text else pinned or DEFAULT_PORT_BASE
    cache = Path(environment.get("CARLIEN_CACHE") or Path.home() / ".cache" / "carlien")
    return Layout(root=root, state=folder, port_base=base, cache=cache)


def _pin(state: Path) -> Path:
    return state / "stack.json"
