"""The consortium's ledger: one Raft orderer, two orgs with a peer each, one channel.

From nothing: key material (cryptogen), genesis block (configtxgen), orderer, channel on the orderer, peers, channel on
the peers. What is there already is kept, so the ledger survives down and up. The chaincode is chaincode.py's.
"""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from carlien_local import fabric_identities
from carlien_local.errors import StackError
from carlien_local.layout import Layout
from carlien_local.processes import ProcessSpec
from carlien_local.starting import Starter, answers, gauges, http_get

CHANNEL = "carlien"
# Not a line per call, nor one for each reader of blocks that has gone; and collect garbage less often than Go's 100 would: five
# Go processes share this machine with everything else.
GO_PROCESS = {"FABRIC_LOGGING_SPEC": "info:comm.grpc.server=error:common.deliver=error", "GOGC": "300"}
ORDERER_HOME = "ordererOrganizations/orderer.carlien.test/orderers/orderer.orderer.carlien.test"


@dataclass(frozen=True)
class Org:
    """One lender's corner of the network: names and paths."""

    name: str
    layout: Layout

    @property
    def msp_id(self) -> str:
        return self.name.capitalize() + "MSP"

    @property
    def peer(self) -> str:
        return f"peer-{self.name}"

    @property
    def home(self) -> Path:
        return folder(self.layout) / "crypto/peerOrganizations" / f"{self.name}.carlien.test"

    @property
    def peer_home(self) -> Path:
        return self.home / "peers" / f"peer0.{self.name}.carlien.test"

    @property
    def tls_ca(self) -> Path:
        return self.peer_home / "tls/ca.crt"

    @property
    def identities(self) -> Path:
        return folder(self.layout) / "identities" / self.name

    def admin_env(self) -> dict[str, str]:
        """Environment of the `peer` command as this org's administrator."""
        return {
            "FABRIC_CFG_PATH": str(folder(self.layout) / "config"),
            "FABRIC_LOGGING_SPEC": "error",
            "CORE_PEER_ADDRESS": self.layout.address(self.peer),
            "CORE_PEER_LOCALMSPID": self.msp_id,
            "CORE_PEER_MSPCONFIGPATH": str(self.home / "users" / f"Admin@{self.name}.carlien.test" / "msp"),
            "CORE_PEER_TLS_ENABLED": "true",
            "CORE_PEER_TLS_ROOTCERT_FILE": str(self.tls_ca),
        }


def orgs(layout: Layout) -> tuple[Org, Org]:
    """The two lenders."""
    return Org("org1", layout), Org("org2", layout)


def folder(layout: Layout) -> Path:
    """Key material, configuration and ledgers."""
    return layout.state / "fabric"


def consortium_key(layout: Layout) -> Path:
    """The members' shared key for keyed hashes of debtors."""
    return folder(layout) / "consortium.key"


def orderer_ca(layout: Layout) -> Path:
    """The CA of the orderer's TLS certificate."""
    return folder(layout) / "crypto" / ORDERER_HOME / "tls/ca.crt"


def tool(layout: Layout, name: str) -> Path:
    """One of the binaries that `make setup` built; raises StackError when it is missing."""
    path = layout.fabric_tools / "bin" / name
    if not path.exists():
        raise StackError(f"Fabric's {name} isn't in {path.parent}: run `make setup`.")
    return path


def up(starter: Starter) -> bool:
    """The network with its channel, without chaincode. True when a process had to be started."""
    layout = starter.layout
    write_config(layout, layout.root / "deploy/fabric/builders/ccaas")
    generate(starter)
    with ThreadPoolExecutor() as pool:
        starts = [pool.submit(_start_orderer, starter)]
        starts += [pool.submit(_start_peer, starter, org) for org in orgs(layout)]
        started = [start.result() for start in starts]
        list(pool.map(lambda org: join_peer(starter, org), orgs(layout)))
    return any(started)


def wait_for_gossip(starter: Starter, timeout_s: float = 60.0) -> None:
    """Until each peer knows the other org's: before, the gateway finds no combination of endorsing peers."""
    for _ in range(int(timeout_s / 0.1)):
        if all(_knows_another_peer(org) for org in orgs(starter.layout)):
            return
        starter.pause(0.1)
    raise StackError(f"fabric: the peers haven't met after {timeout_s:.0f} s; see their logs")


def _knows_another_peer(org: Org) -> bool:
    return any(gauges(org.layout.port(f"{org.peer}-operations"), "/metrics", "gossip_membership_total_peers_known"))


# -- files -------------------------------------------------------------------------------------------------------------
def write_config(layout: Layout, builder: Path) -> None:
    """core.yaml and orderer.yaml: the release's samples, changed only where environment variables can't.

    `builder` is the external builder's folder as the peer sees it.
    """
    source, target = layout.fabric_tools / "config", folder(layout) / "config"
    if not source.is_dir():
        raise StackError(f"Fabric isn't in {layout.fabric_tools}: run `make setup`.")
    target.mkdir(parents=True, exist_ok=True)
    core = yaml.safe_load((source / "core.yaml").read_text())
    core["vm"]["endpoint"] = ""  # no Docker; an empty environment variable would be ignored
    core["chaincode"]["externalBuilders"] = [{"name": "ccaas", "path": str(builder), "propagateEnvironment": ["HOME"]}]
    (target / "core.yaml").write_text(yaml.safe_dump(core, sort_keys=False))
    shutil.copyfile(source / "orderer.yaml", target / "orderer.yaml")


def generate(starter: Starter, host: Callable[[str], str] = lambda _: "127.0.0.1") -> None:
    """Key material and genesis block, once. The block is written last, so it vouches for the rest.

    `host` names the host that the network's members reach a part at.
    """
    layout = starter.layout
    home, block = folder(layout), folder(layout) / "genesis.block"
    if not block.exists():
        for left in ("crypto", "identities", "data"):
            shutil.rmtree(home / left, ignore_errors=True)
        config = layout.root / "deploy/fabric/crypto-config.yaml"
        starter.run("fabric", [tool(layout, "cryptogen"), "generate", f"--config={config}", f"--output={home / 'crypto'}"])
        template = string.Template((layout.root / "deploy/fabric/configtx.yaml").read_text())
        parts = {name.replace("-", "_"): name for name in ("orderer", "peer-org1", "peer-org2")}
        places = {key: str(layout.port(name)) for key, name in parts.items()} | {f"{key}_host": host(name) for key, name in parts.items()}
        (home / "configtx.yaml").write_text(template.substitute(places))
        draft = home / "genesis.block.new"
        configtxgen: list[str | Path] = [tool(layout, "configtxgen"), "-profile", "Carlien", "-channelID", CHANNEL, "-outputBlock", draft]
        starter.run("fabric", configtxgen, env={"FABRIC_CFG_PATH": str(home)})
        draft.replace(block)
    for org in orgs(layout):
        fabric_identities.ensure(org.identities, org.home / "ca")
    fabric_identities.ensure_consortium_key(consortium_key(layout))


# -- processes ---------------------------------------------------------------------------------------------------------
def _start_orderer(starter: Starter) -> bool:
    layout = starter.layout
    home, data = folder(layout) / "crypto" / ORDERER_HOME, folder(layout) / "data/orderer"
    operations = layout.port("orderer-operations")
    env = {
        "FABRIC_CFG_PATH": str(folder(layout) / "config"),
        **GO_PROCESS,
        "ORDERER_GENERAL_LISTENADDRESS": "127.0.0.1",
        "ORDERER_GENERAL_LISTENPORT": str(layout.port("orderer")),
        "ORDERER_GENERAL_LOCALMSPID": "OrdererMSP",
        "ORDERER_GENERAL_LOCALMSPDIR": str(home / "msp"),
        "ORDERER_GENERAL_TLS_ENABLED": "true",
        "ORDERER_GENERAL_TLS_PRIVATEKEY": str(home / "tls/server.key"),
        "ORDERER_GENERAL_TLS_CERTIFICATE": str(home / "tls/server.crt"),
        "ORDERER_GENERAL_TLS_ROOTCAS": f"[{home / 'tls/ca.crt'}]",
        "ORDERER_GENERAL_BOOTSTRAPMETHOD": "none",
        "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
        "ORDERER_FILELEDGER_LOCATION": str(data),
        "ORDERER_CONSENSUS_WALDIR": str(data / "wal"),
        "ORDERER_CONSENSUS_SNAPDIR": str(data / "snap"),
        "ORDERER_ADMIN_LISTENADDRESS": layout.address("orderer-admin"),
        "ORDERER_OPERATIONS_LISTENADDRESS": layout.address("orderer-operations"),
        "ORDERER_METRICS_PROVIDER": "prometheus",
    }
    spec = ProcessSpec(
        name="orderer",
        argv=(str(tool(layout, "orderer")),),
        env=env,
        ports=(layout.port("orderer"), layout.port("orderer-admin"), operations),
        probe=f"{operations}/healthz",
        # After a kill -9 its raft now and then stays in its own start for good: it runs, healthz says OK, and every delivery
        # is refused. The same data serves at the next start.
        gauge=f"{operations}/metrics consensus_etcdraft_is_leader",
    )
    started = starter.ensure(spec, lambda: answers(spec) and _channels(layout) is not None)
    join_orderer(starter)
    return started


def join_orderer(starter: Starter) -> None:
    """Has the orderer serve the channel."""
    layout = starter.layout
    if CHANNEL not in (_channels(layout) or ()):
        block = folder(layout) / "genesis.block"
        join: list[str | Path] = ["channel", "join", "--channelID", CHANNEL, "--config-block", block]
        starter.run("orderer", [tool(layout, "osnadmin"), *join, "-o", layout.address("orderer-admin")])


def _channels(layout: Layout) -> set[str] | None:
    """The channels the orderer serves; None while its admin port doesn't answer."""
    body = http_get(layout.port("orderer-admin"), "/participation/v1/channels")
    return None if body is None else {channel["name"] for channel in json.loads(body)["channels"] or ()}


def _start_peer(starter: Starter, org: Org) -> bool:
    layout, name = starter.layout, org.peer
    tls, data = org.peer_home / "tls", folder(layout) / "data" / name
    operations = layout.port(f"{name}-operations")
    env = {
        "FABRIC_CFG_PATH": str(folder(layout) / "config"),
        **GO_PROCESS,
        "CORE_PEER_ID": f"peer0.{org.name}.carlien.test",
        "CORE_PEER_ADDRESS": layout.address(name),
        "CORE_PEER_LISTENADDRESS": layout.address(name),
        "CORE_PEER_CHAINCODELISTENADDRESS": layout.address(f"{name}-chaincode"),
        "CORE_PEER_CHAINCODEADDRESS": layout.address(f"{name}-chaincode"),
        "CORE_PEER_LOCALMSPID": org.msp_id,
        "CORE_PEER_MSPCONFIGPATH": str(org.peer_home / "msp"),
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_CERT_FILE": str(tls / "server.crt"),
        "CORE_PEER_TLS_KEY_FILE": str(tls / "server.key"),
        "CORE_PEER_TLS_ROOTCERT_FILE": str(tls / "ca.crt"),
        "CORE_PEER_GOSSIP_BOOTSTRAP": layout.address(name),
        "CORE_PEER_GOSSIP_EXTERNALENDPOINT": layout.address(name),
        # Gossip's defaults are for wide networks; with them a restarted peer is rediscovered only after half a minute.
        "CORE_PEER_GOSSIP_ALIVETIMEINTERVAL": "1s",
        "CORE_PEER_GOSSIP_ALIVEEXPIRATIONTIMEOUT": "5s",
        "CORE_PEER_GOSSIP_RECONNECTINTERVAL": "2s",
        "CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL": "1s",
        "CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL": "1s",
        # How often the metric is renewed by which wait_for_gossip sees that the peers have met.
        "CORE_PEER_GOSSIP_MEMBERSHIPTRACKERINTERVAL": "500ms",
        "CORE_OPERATIONS_LISTENADDRESS": layout.address(f"{name}-operations"),
        "CORE_METRICS_PROVIDER": "prometheus",
        "CORE_PEER_FILESYSTEMPATH": str(data),
        "CORE_LEDGER_SNAPSHOTS_ROOTDIR": str(data / "snapshots"),
    }
    spec = ProcessSpec(
        name=name,
        argv=(str(tool(layout, "peer")), "node", "start"),
        env=env,
        ports=(layout.port(name), layout.port(f"{name}-chaincode"), operations),
        # Healthy comes before it listens.
        probe=f"{operations}/healthz {layout.port(name)}",
    )
    return starter.ensure(spec, lambda: answers(spec))


def join_peer(starter: Starter, org: Org) -> None:
    """Has an org's peer follow the channel."""
    peer, env = tool(starter.layout, "peer"), org.admin_env()
    if CHANNEL not in starter.run(org.peer, [peer, "channel", "list"], env=env).split():
        starter.run(org.peer, [peer, "channel", "join", "-b", folder(starter.layout) / "genesis.block"], env=env)
