"""The chaincode `mortgage-asset`: built, described to the ledger (Fabric's lifecycle), run as a service per org.

A package holds no code, only a label and where the peer reaches the chaincode. The label names the source's hash, so a
change of the source is a new package, a new version, and the next sequence number; the ledger's data stay.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from carlien_local.errors import StackError
from carlien_local.fabric import CHANNEL, Org, folder, orderer_ca, orgs, tool
from carlien_local.layout import Layout, digest
from carlien_local.processes import ProcessSpec
from carlien_local.starting import Starter, answers

NAME = "mortgage-asset"


def source(layout: Layout) -> Path:
    """The Go module; CARLIEN_CHAINCODE_DIR puts another one in its place (tests of this package)."""
    override = os.environ.get("CARLIEN_CHAINCODE_DIR")
    return Path(override) if override else layout.root / "services/lien-registry/chaincode"


def source_digest(layout: Layout) -> str:
    """Of what goes into the binary; tests and the code scanner (a module of its own) do not."""
    home = source(layout)
    own = (path for path in home.rglob("*.go") if home / "scan" not in path.parents)
    files = [path for path in own if not path.name.endswith("_test.go")]
    return digest(*sorted(files), home / "go.mod", home / "go.sum")


def build(starter: Starter) -> Path:
    """The binary for the present source; Go's own build cache makes another one a matter of two seconds."""
    layout = starter.layout
    home = source(layout)
    if not (home / "go.mod").exists():
        raise StackError(f"There is no chaincode in {home}")
    target = folder(layout) / "chaincode" / f"{NAME}-{source_digest(layout)}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name("new")
        go = shutil.which("go") or "go"
        starter.run(
            "chaincode",
            [go, "build", "-trimpath", "-o", draft, "."],
            env={**os.environ, "CGO_ENABLED": "0"},
            cwd=home,
            timeout_s=300.0,
        )
        draft.replace(target)
    return target


def package(label: str, connection: dict[str, object]) -> bytes:
    """A chaincode package (two nested tars), byte for byte the same for the same input: its hash is its identity."""
    code = _tar_gz({"connection.json": json.dumps(connection, sort_keys=True).encode()})
    metadata = json.dumps({"type": "ccaas", "label": label}, sort_keys=True).encode()
    return _tar_gz({"metadata.json": metadata, "code.tar.gz": code})


def _tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    # mtime=0 here and the defaults of TarInfo (owner 0, time 0) keep clocks and users out of the bytes.
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def up(starter: Starter) -> bool:
    """Builds, deploys what isn't deployed yet, and runs one chaincode process per org."""
    layout = starter.layout
    binary = build(starter)
    packages = packed(layout, lambda org: org.layout.address(f"chaincode-{org.name}"))
    ids = {name: package_id(layout, content) for name, content in packages.items()}
    deploy(starter, packages)
    with ThreadPoolExecutor() as pool:
        started = list(pool.map(lambda org: _run(starter, org, binary, ids[org.name]), orgs(layout)))
    for old in binary.parent.iterdir():
        if old != binary:
            old.unlink()
    return any(started)


def packed(layout: Layout, address: Callable[[Org], str]) -> dict[str, bytes]:
    """Each org's package, by its name. Plaintext: a peer and its chaincode run side by side, on loopback or a network of their own."""
    label = f"{NAME}_{source_digest(layout)}"
    return {org.name: package(label, {"address": address(org), "dial_timeout": "5s", "tls_required": False}) for org in orgs(layout)}


def package_id(layout: Layout, content: bytes) -> str:
    """What the peer calls a package, and the chaincode process must call itself."""
    return f"{NAME}_{source_digest(layout)}:{hashlib.sha256(content).hexdigest()}"


def deploy(starter: Starter, packages: dict[str, bytes]) -> None:
    """Has the channel run these packages, unless it does."""
    ids = {name: package_id(starter.layout, content) for name, content in packages.items()}
    version = hashlib.sha256("".join(sorted(ids.values())).encode()).hexdigest()[:12]
    committed = _committed(starter)
    if committed is None or committed[0] != version:
        _deploy(starter, version, (committed[1] if committed else 0) + 1, packages, ids)


def _run(starter: Starter, org: Org, binary: Path, package_id: str) -> bool:
    layout, name = starter.layout, f"chaincode-{org.name}"
    spec = ProcessSpec(
        name=name,
        argv=(str(binary),),
        env={"CHAINCODE_ID": package_id, "CHAINCODE_SERVER_ADDRESS": layout.address(name)},
        ports=(layout.port(name),),
        probe=str(layout.port(name)),
    )
    return starter.ensure(spec, lambda: answers(spec))


# -- lifecycle ---------------------------------------------------------------------------------------------------------
def _lifecycle(starter: Starter, org: Org, *arguments: str | Path) -> str:
    command = [tool(starter.layout, "peer"), "lifecycle", "chaincode", *arguments]
    return starter.run(f"chaincode ({org.name})", command, env=org.admin_env(), timeout_s=120.0)


def _committed(starter: Starter) -> tuple[str, int] | None:
    """(version, sequence) of the definition on the channel, None before the first."""
    answer = _lifecycle(starter, orgs(starter.layout)[0], "querycommitted", "--channelID", CHANNEL, "--output", "json")
    for definition in json.loads(answer).get("chaincode_definitions") or ():
        if definition["name"] == NAME:
            return definition["version"], int(definition["sequence"])
    return None


def _deploy(starter: Starter, version: str, sequence: int, packages: dict[str, bytes], package_ids: dict[str, str]) -> None:
    """Install on each org's peer, approve for each org, commit. Each step is skipped where an earlier run did it."""
    layout = starter.layout
    definition = ["--channelID", CHANNEL, "--name", NAME, "--version", version, "--sequence", str(sequence)]
    orderer = ["-o", layout.address("orderer"), "--tls", "--cafile", str(orderer_ca(layout))]

    def prepare(org: Org) -> None:
        installed = json.loads(_lifecycle(starter, org, "queryinstalled", "--output", "json"))
        known = {item["package_id"] for item in installed.get("installed_chaincodes") or ()}
        if package_ids[org.name] not in known:
            file = folder(layout) / f"{NAME}-{org.name}.tgz"
            file.write_bytes(packages[org.name])
            _lifecycle(starter, org, "install", file)
        ready = json.loads(_lifecycle(starter, org, "checkcommitreadiness", *definition, "--output", "json"))
        if not ready["approvals"].get(org.msp_id):
            approve = ["approveformyorg", *orderer, *definition, "--package-id", package_ids[org.name]]
            _lifecycle(starter, org, *approve)

    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare, orgs(layout)))
    peers: list[str] = []
    for org in orgs(layout):
        peers += ["--peerAddresses", layout.address(org.peer), "--tlsRootCertFiles", str(org.tls_ca)]
    _lifecycle(starter, orgs(layout)[0], "commit", *orderer, *definition, *peers)
