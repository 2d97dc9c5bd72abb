"""`carlien-lien` as an operator and a lender use it, on the real stack."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.json_format import MessageToDict
from registry_service import RegistryProcess, fresh_vin, registration, running

from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment


@pytest.fixture(scope="module")
async def service(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path_factory.mktemp("org1")) as process:
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
    """Runs the command with the environment of an operator of this service."""

    def __init__(self, service: RegistryProcess, pki_folder: Path) -> None:
        self._environment = {
            **os.environ,
            "LIEN_REGISTRY_ADDRESS": service.address,
            "CARLIEN_PKI": str(pki_folder),
            "LIEN_REGISTRY_POSTGRES_DSN": service.dsn,
        }

    async def __call__(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "carlien-lien"),
            *arguments,
            env={**self._environment, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert b"Traceback" not in errors, errors.decode()
        return process.returncode or 0, out.decode()

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
    assert json.loads(out)["hits"][0]["lien"]["registration_number"] == lien["registration_number"]
    code, out = await cli("root")
    root = tmp_path / "root.json"
    root.write_text(out)
    assert sorted(json.loads(out)["members"]) == ["Org1MSP", "Org2MSP"]
    nowhere = {"LIEN_REGISTRY_ADDRESS": "", "CARLIEN_PKI": "", "LIEN_REGISTRY_POSTGRES_DSN": ""}
    assert (await cli("verify", str(certificate), "--root", str(root), **nowhere))[0] == 0
    forged = json.loads(certificate.read_text())
    forged["hits"] = []
    certificate.write_text(json.dumps(forged))
    assert (await cli.json("verify", str(certificate), "--root", str(root), code=1))["failures"] == ["SIGNATURE_INVALID"]


async def test_lag(cli: Cli) -> None:
    assert (await cli.json("lag"))["blocks_behind"] <= 20


async def test_an_audit_finds_any_tampered_row_and_a_rebuild_mends_it(cli: Cli, service: RegistryProcess) -> None:
    liens = [await service.register(registration(fresh_vin())) for _ in range(3)]
    await service.discharge(liens[0].registration_number)
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
    assert (await cli("rebuild"))[0] == 2, "it asks first"
    assert (await cli.json("rebuild", "--yes"))["registrations"] >= 3
    assert (await cli.json("audit"))["findings"] == []
    await database.close()


async def test_exit_codes(cli: Cli, tmp_path: Path) -> None:
    assert (await cli("search", "LSVAA41"))[0] == 2
    assert (await cli("search", fresh_vin(), "--address", "127.0.0.1:1"))[0] == 3
    assert (await cli("verify", str(tmp_path / "none.json"), "--root", str(tmp_path / "none.json")))[0] == 2
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert (await cli("register", str(broken)))[0] == 2
    assert (await cli("lag", LIEN_REGISTRY_POSTGRES_DSN="nonsense"))[0] == 2


async def test_help_has_an_example(cli: Cli) -> None:
    for command in ("search", "register", "verify", "page", "root", "lag", "audit", "rebuild"):
        code, out = await cli(command, "--help")
        assert code == 0
        assert f"example: carlien-lien {command}" in out
