"""`carlien-lien` as an operator and a lender use it, on the real stack."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import pytest
from google.protobuf.json_format import MessageToDict
from registry_service import CONSORTIUM_KEY, RegistryProcess, fresh_vin, key, registration, running

from carlien.lien.v1 import lien_pb2, lien_service_pb2, search_service_pb2
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry import cli as cli_main

# One lender's service runs here alone, so that one's root must do.
_ANCHORS = {"CARLIEN_ANCHOR_MSP_IDS": "Org1MSP"}


@pytest.fixture(scope="module")
async def service(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path_factory.mktemp("org1"), _ANCHORS) as process:
        yield process


@pytest.fixture(scope="module")
def pki_folder(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout that the local stack writes."""
    folder = tmp_path_factory.mktemp("cli-pki")
    mine = pki.certificate("org1", "originator")
    (folder / "org1").mkdir()
    (folder / "ca.crt").write_bytes(mine.authorities.read_bytes())
    (folder / "org1" / "originator.crt").write_bytes(mine.certificate.read_bytes())
    (folder / "org1" / "originator.key").write_bytes(mine.key.read_bytes())
    return folder


class Cli:
    """Runs commands in this process with the environment of an operator of the service: a process each takes a second to start."""

    def __init__(self, service: RegistryProcess, pki_folder: Path) -> None:
        self._environment = {
            **os.environ,
            "LIEN_REGISTRY_ADDRESS": service.address,
            "CARLIEN_PKI": str(pki_folder),
            "LIEN_REGISTRY_POSTGRES_DSN": service.dsn,
            **_ANCHORS,
        }

    async def __call__(self, *arguments: str, **environment: str) -> tuple[int, str]:
        out = io.StringIO()
        with mock.patch.dict(os.environ, {**self._environment, **environment}, clear=True), contextlib.redirect_stdout(out):
            try:
                code = await cli_main.run(cli_main.parser().parse_args(arguments))
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, out.getvalue()

    async def json(self, *arguments: str, code: int = 0) -> Any:
        returned, out = await self(*arguments, "--json")
        assert returned == code, out
        return json.loads(out)


@pytest.fixture(scope="module")
def cli(service: RegistryProcess, pki_folder: Path) -> Cli:
    return Cli(service, pki_folder)


async def test_register_search_and_verify_offline(cli: Cli, tmp_path: Path) -> None:
    vin = fresh_vin()
    request = tmp_path / "lien.json"
    request.write_text(json.dumps(MessageToDict(registration(vin), preserving_proto_field_name=True)))
    lien = await cli.json("register", str(request))
    code, out = await cli("search", vin, "--min-block", lien["block_number"], "--json")
    certificate = tmp_path / "certificate.json"
    certificate.write_text(out)
    assert code == 0
    told = json.loads(out)
    assert told["hits"][0]["lien"]["registration_number"] == lien["registration_number"]
    assert int(told["as_of_block"]) >= int(lien["block_number"])
    assert "known_since" not in told
    code, out = await cli("root")
    root = tmp_path / "root.json"
    root.write_text(out)
    assert sorted(json.loads(out)["members"]) == ["Org1MSP", "Org2MSP"]
    nowhere = {"LIEN_REGISTRY_ADDRESS": "", "CARLIEN_PKI": "", "LIEN_REGISTRY_POSTGRES_DSN": ""}
    assert (await cli("verify", str(certificate), "--root", str(root), **nowhere))[0] == 0
    block = json.loads(certificate.read_text())["as_of_block"]
    of_peer = tmp_path / "of_peer.json"
    of_peer.write_text((await cli("root", "--block", block))[1])
    assert (await cli("verify", str(certificate), "--root", str(of_peer), **nowhere))[0] == 0
    forged = json.loads(certificate.read_text())
    forged["hits"] = []
    certificate.write_text(json.dumps(forged))
    told = await cli.json("verify", str(certificate), "--root", str(root), code=1)
    assert told["failures"] == ["SIGNATURE_INVALID", "HITS_NOT_PROVEN"]


async def test_the_installed_command_verifies_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    command = str(Path(sys.executable).parent / "carlien-lien")
    process = await asyncio.create_subprocess_exec(command, "verify", "none.json", "--root", "none.json", cwd=tmp_path)
    assert await process.wait() == 2


async def test_lag(cli: Cli) -> None:
    assert (await cli.json("lag"))["blocks_behind"] <= 20


async def test_an_audit_finds_any_tampered_row_and_a_rebuild_mends_it(cli: Cli, service: RegistryProcess) -> None:
    liens = [await service.register(registration(fresh_vin())) for _ in range(3)]
    await service.discharge(liens[0].registration_number)
    reserve = lien_service_pb2.ReservePriorityRequest(vin=fresh_vin(), hold_seconds=60, idempotency_key=key())
    await service.liens().ReservePriority(reserve, timeout=30)
    assert (await cli.json("audit"))["findings"] == []
    database = await asyncpg.connect(service.dsn)
    tampering = {
        "DIFFERS": "UPDATE lien_versions SET record = jsonb_set(record, '{secured_amount}', '\"1.00\"') WHERE registration_number = $1",
        "MISSING": "DELETE FROM lien_versions WHERE registration_number = $1",
        "UNKNOWN": "INSERT INTO lien_versions SELECT (jsonb_populate_record(v, '{\"tx_index\": 99}')).* FROM lien_versions v "
        "WHERE registration_number = $1 AND superseded_block IS NULL",
    }
    for (kind, statement), lien in zip(tampering.items(), liens[::-1], strict=True):
        await database.execute(statement, lien.registration_number)
        found = [finding for finding in (await cli.json("audit", code=1))["findings"] if finding["key"][0] == lien.registration_number]
        assert [finding["kind"] for finding in found] == [kind]
    other = {
        "record_versions": "UPDATE record_versions SET record = jsonb_set(record, '{msp_id}', '\"Org2MSP\"') WHERE kind = 'reservation'",
        "anchors": "UPDATE anchors SET root = sha256(root) WHERE block_number = (SELECT max(block_number) FROM anchors)",
        "tree_entries": "DELETE FROM tree_entries WHERE block_number = (SELECT max(block_number) FROM tree_entries)",
    }
    for table, statement in other.items():
        await database.execute(statement)
        found = [finding for finding in (await cli.json("audit", code=1))["findings"] if finding["table"] == table]
        assert found, table
    assert (await cli("rebuild"))[0] == 2, "it asks first"
    assert (await cli.json("rebuild", "--yes"))["registrations"] >= 3
    assert (await cli.json("audit"))["findings"] == []
    await database.close()


async def test_a_consortium_key_is_rotated(cli: Cli, service: RegistryProcess) -> None:
    person = lien_pb2.Debtor(id_type="PASSPORT", id_number=f"R{fresh_vin()}", name="Li Si")
    lien = await service.register(registration(fresh_vin(), debtor=person))

    async def found() -> list[str]:
        request = search_service_pb2.SearchLiensRequest(debtor=person)
        return [hit.lien.debtor_hash for hit in (await service.searches().SearchLiens(request, timeout=30)).certificate.hits]

    first, second = f"1:{CONSORTIUM_KEY.hex()}\n", f"2:{CONSORTIUM_KEY[::-1].hex()}\n"
    assert await found() == [lien.debtor_hash]
    for keys, prefix in ((first + second, "k1:"), (second, "k2:")):
        (service.folder / "consortium.key").write_text(keys)
        await service.kill()
        await service.start()
        assert [one[:3] for one in await found()] == [prefix]
        if prefix == "k1:":
            rotate = ("rotate-key", "--to", "2", "--only", lien.registration_number)
            # The debtor is in the private collection a moment after the registration.
            while (told := json.loads((await cli(*rotate, "--json"))[1]))["without_details"]:
                assert told == {"rotated": 0, "without_details": [lien.registration_number]}
            assert told == {"rotated": 1, "without_details": []}
            assert (await cli.json(*rotate)) == {"rotated": 0, "without_details": []}
            assert (await cli("rotate-key", "--to", "3", "--only", lien.registration_number))[0] == 1, "the service has no key 3"


async def test_exit_codes(cli: Cli, tmp_path: Path) -> None:
    assert (await cli("search", "LSVAA41"))[0] == 2
    assert (await cli("search", fresh_vin(), "--address", "127.0.0.1:1"))[0] == 3
    assert (await cli("verify", str(tmp_path / "none.json"), "--root", str(tmp_path / "none.json")))[0] == 2
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert (await cli("register", str(broken)))[0] == 2
    assert (await cli("lag", LIEN_REGISTRY_POSTGRES_DSN="nonsense"))[0] == 2


async def test_help_has_an_example(cli: Cli) -> None:
    for command in ("search", "register", "verify", "page", "root", "lag", "audit", "rebuild", "import", "rotate-key", "scan"):
        code, out = await cli(command, "--help")
        assert code == 0
        assert f"example: carlien-lien {command}" in out
