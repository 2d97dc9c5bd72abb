"""The hfc adapter for tests: its own environment, made once per machine, and a network file for the stack in the environment."""

import functools
import json
import os
import subprocess
from pathlib import Path

import pytest

_HFC = Path(__file__).parents[2] / "hfc"


@functools.cache
def hfc_python() -> Path:
    """The interpreter of hfc's environment; skips, saying why, where the registries don't have what it needs."""
    made = subprocess.run([str(_HFC / "setup.sh")], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"fabric-sdk-py can't be installed here: {made.stderr.strip()[-500:]}")
    return Path(made.stdout.strip())


def network_file(folder: Path, *, org2_address: str = "") -> Path:
    """Endorsers of both organisations and the orderer."""
    env = os.environ
    endorsers = [
        {"msp_id": env["FABRIC_ORG1_MSP_ID"], "address": env["FABRIC_ORG1_PEER_ADDRESS"], "tls_ca_file": env["FABRIC_ORG1_TLS_CA_FILE"]},
        {
            "msp_id": env["FABRIC_ORG2_MSP_ID"],
            "address": org2_address or env["FABRIC_ORG2_PEER_ADDRESS"],
            "tls_ca_file": env["FABRIC_ORG2_TLS_CA_FILE"],
        },
    ]
    orderers = [{"address": env["FABRIC_ORDERER_ADDRESS"], "tls_ca_file": env["FABRIC_ORDERER_TLS_CA_FILE"]}]
    file = folder / "network.json"
    file.write_text(json.dumps({"endorsers": endorsers, "orderers": orderers}))
    return file


def worker_script() -> Path:
    return _HFC / "worker.py"
