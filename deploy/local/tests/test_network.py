"""The real thing: PostgreSQL, Kafka and Fabric from nothing, in a state directory of its own, then what goes wrong with it.

The tests build on one another's stack (starting one takes a quarter of a minute) but not on their order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carlien_local.layout import PORT_OFFSETS, find_layout
from carlien_local.processes import Processes, end
from carlien_local.starting import accepts

ROOT = find_layout(None, {}).root
COMMAND = (sys.executable, "-m", "carlien_local.cli")
INFRASTRUCTURE = {"postgres", "kafka", "orderer", "peer-org1", "peer-org2", "chaincode-org1", "chaincode-org2", "supervisor"}


class Stack:
    """`carlien-local` on one state directory, as a user runs it."""

    def __init__(self, folder: Path, base: int) -> None:
        self.state = folder / "state"
        # A copy, so that a test can change it, and so that work on the chaincode meanwhile doesn't change the test.
        self.chaincode = folder / "chaincode"
        self.env = {**os.environ, "CARLIEN_PORT_BASE": str(base), "CARLIEN_CHAINCODE_DIR": str(self.chaincode), "COLUMNS": "200"}
        self.processes = Processes(find_layout(self.state, {"CARLIEN_PORT_BASE": str(base)}))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "--state", str(self.state), *arguments]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str, expect: int = 0) -> str:
        process = self.begin(*arguments)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == expect, said
        return said

    def up(self, expect: int = 0) -> str:
        return self.run("up", "--only", "infra", expect=expect)

    def running(self) -> dict[str, int]:
        rows = json.loads(self.begin("status", "--json").communicate(timeout=60)[0])
        return {row["name"]: row["pid"] for row in rows if row["state"] == "running"}

    def psql(self, sql: str) -> str:
        script = f'source {self.state}/env; psql "$POSTGRES_ADMIN_DSN" -XAtc "{sql}"'
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()

    def peer(self, command: str) -> str:
        script = f"""
            source {self.state}/env
            export CORE_PEER_ADDRESS=$FABRIC_ORG2_PEER_ADDRESS CORE_PEER_LOCALMSPID=Org2MSP CORE_PEER_TLS_ENABLED=true
            export CORE_PEER_TLS_ROOTCERT_FILE=$FABRIC_ORG2_TLS_CA_FILE CORE_PEER_MSPCONFIGPATH=$FABRIC_ORG2_ADMIN_MSP
            peer {command}"""
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout

    def ledger_height(self) -> int:
        return int(json.loads(self.peer("channel getinfo -c carlien").removeprefix("Blockchain info: "))["height"])

    def chaincode_definition(self) -> tuple[str, int]:
        answer = json.loads(self.peer("lifecycle chaincode querycommitted -C carlien -n mortgage-asset --output json"))
        return answer["version"], answer["sequence"]


@pytest.fixture(scope="module")
def stack(port_base: int) -> Iterator[Stack]:
    # Directly under /tmp, because user postgres can't enter pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="carlien-test-") as folder:
        Path(folder).chmod(0o755)
        made = Stack(Path(folder), port_base)
        shutil.copytree(ROOT / "services/lien-registry/chaincode", made.chaincode)
        try:
            made.up()
            yield made
        finally:
            made.run("reset")


@pytest.fixture(autouse=True)
def _all_up(stack: Stack) -> None:
    if set(stack.running()) != INFRASTRUCTURE:
        stack.up()


def test_a_second_up_says_so_and_changes_nothing(stack: Stack) -> None:
    before = stack.running()
    assert set(before) == INFRASTRUCTURE
    assert "was up already" in stack.up()
    after = stack.running()
    # The supervisor alone is renewed, so that it sees what `up` saw.
    assert {name for name in before if before[name] != after[name]} <= {"supervisor"}


@pytest.mark.faults
def test_two_ups_at_once_wait_for_each_other(stack: Stack) -> None:
    stack.run("down")
    both = [stack.begin("up", "--only", "infra") for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("was up already" in text for text in said) == 1
    assert sum("waiting for" in text for text in said) == 1
    assert set(stack.running()) == INFRASTRUCTURE


@pytest.mark.faults
@pytest.mark.parametrize("part", ["peer-org2", "chaincode-org1", "orderer", "kafka", "postgres"])
def test_a_killed_part_comes_back_by_itself(stack: Stack, part: str) -> None:
    pid = int(stack.processes.pid_file(part).read_text())
    end(pid, signal.SIGKILL, 10.0)
    port = PORT_OFFSETS[part] + int(stack.env["CARLIEN_PORT_BASE"])
    _until(lambda: stack.processes.find(part) not in (None, pid) and accepts(port))


@pytest.mark.faults
def test_up_mends_a_stack_whose_supervisor_died_too(stack: Stack) -> None:
    for part in ("supervisor", "kafka", "peer-org1"):
        stack.processes.stop(part, kill=True)
    assert set(stack.running()) == INFRASTRUCTURE - {"supervisor", "kafka", "peer-org1"}
    stack.run("status", expect=1)
    stack.up()
    assert set(stack.running()) == INFRASTRUCTURE


def test_a_stopped_part_stays_down_until_it_is_started(stack: Stack) -> None:
    stack.run("stop", "--kill", "orderer")
    assert "stopped" in stack.run("status", expect=1)
    stack.run("start", "orderer")
    assert set(stack.running()) == INFRASTRUCTURE


def test_data_survive_down_and_up(stack: Stack) -> None:
    stack.psql("CREATE TABLE IF NOT EXISTS kept (v int); INSERT INTO kept VALUES (1)")
    rows, height = stack.psql("SELECT count(*) FROM kept"), stack.ledger_height()
    secrets = (stack.state / "env").read_text()
    stack.run("down")
    stack.up()
    assert (stack.psql("SELECT count(*) FROM kept"), stack.ledger_height()) == (rows, height)
    assert (stack.state / "env").read_text() == secrets


def test_a_changed_chaincode_is_deployed_as_the_next_sequence_on_the_same_ledger(stack: Stack) -> None:
    (version, sequence), height, before = stack.chaincode_definition(), stack.ledger_height(), stack.running()
    with (stack.chaincode / "main.go").open("a") as file:
        file.write("\n// changed by a test\n")
    stack.up()
    assert stack.chaincode_definition()[1] == sequence + 1
    assert stack.chaincode_definition()[0] != version
    # The commit's block, and one or two of the approvals, which run side by side.
    assert stack.ledger_height() - height in (2, 3)
    after = stack.running()
    changed = {name for name in before if before[name] != after[name]} - {"supervisor"}
    assert changed == {"chaincode-org1", "chaincode-org2"}


def test_down_leaves_no_process_even_without_pid_files(stack: Stack) -> None:
    for file in stack.processes.pid_file("x").parent.glob("*.pid"):
        file.unlink()
    stack.run("down")
    assert list(stack.processes.sweep()) == []
    assert "Nothing was running" in stack.run("down")


@pytest.mark.faults
def test_a_taken_port_is_named_and_the_rest_comes_up(stack: Stack) -> None:
    stack.run("down")
    with socket.create_server(("127.0.0.1", int(stack.env["CARLIEN_PORT_BASE"]) + 92)):
        said = stack.up(expect=1)
    assert f"kafka can't start: port {int(stack.env['CARLIEN_PORT_BASE']) + 92} is taken by pid {os.getpid()}" in said
    assert set(stack.running()) == INFRASTRUCTURE - {"kafka"}


@pytest.mark.faults
def test_an_interrupted_up_ends_soon_and_can_be_repeated(stack: Stack) -> None:
    stack.run("down")
    # What a shell starts in the background ignores Ctrl-C, and so would our child if these tests were such.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = stack.begin("up", "--only", "infra")
    _until(lambda: stack.processes.find("kafka"))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Interrupted" in said
    stack.up()
    assert set(stack.running()) == INFRASTRUCTURE


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
