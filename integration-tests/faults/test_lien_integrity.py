"""Cuts, lags and attacks: nothing acknowledged is lost, nothing forged is believed, chain, read model and topic agree afterwards."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import grpc
import pytest
from faults.cuttable import relay_to
from faults.lien_stack import eventually, frozen, gone, ledger, pid_of
from faults.test_lien_writes import answer_after_restart, assert_registered_once, send
from registry_service import RegistryProcess, fresh_vin, refusal, registration, running

from carlien.lien.v1 import certificate_pb2, lien_pb2, search_service_pb2
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry import certificates
from carlien_lien_registry.adapters.fabric import EndorseError, LocalSigner

pytestmark = pytest.mark.faults

DEADLINE = 30.0
# One lender's service runs here, so that its root alone must do.
ANCHORS = {"CARLIEN_ANCHOR_MSP_IDS": "Org1MSP"}
Database = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def service(make_database: Callable[[], str], pki: Pki, tmp_path: Path, kafka_bootstrap: str) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path, ANCHORS) as process:
        yield process


@pytest.fixture
async def database(service: RegistryProcess) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(service.dsn)
    yield connection
    await connection.close()


async def search(service: RegistryProcess, vin: str, min_block: int = 0) -> certificate_pb2.SearchCertificate:
    request = search_service_pb2.SearchLiensRequest(vin=vin, min_block=min_block)
    return (await service.searches().SearchLiens(request, timeout=DEADLINE)).certificate


async def proven(service: RegistryProcess, lien: lien_pb2.Lien) -> certificate_pb2.SearchCertificate:
    """A certificate whose proof takes this registration into account."""
    found: list[certificate_pb2.SearchCertificate] = []

    async def covered() -> bool:
        found[:] = [await search(service, lien.vin, lien.block_number)]
        return found[0].HasField("proof") and not found[0].known_since

    await eventually(covered, "the registration is anchored")
    return found[0]


async def verdict(service: RegistryProcess, certificate: certificate_pb2.SearchCertificate) -> list[str]:
    request = search_service_pb2.VerifyCertificateRequest(certificate=certificate)
    return list((await service.searches().VerifyCertificate(request, timeout=DEADLINE)).failures)


async def answered(service: RegistryProcess, call: "asyncio.Task[lien_pb2.Lien]", request: object) -> lien_pb2.Lien:
    result = (await asyncio.gather(call, return_exceptions=True))[0]
    return result if isinstance(result, lien_pb2.Lien) else await answer_after_restart(service, request)  # type: ignore[arg-type]


# -- cuts and lags -------------------------------------------------------------------------------------------------


async def test_the_network_between_service_and_peer_is_cut_for_15_seconds(
    make_database: Callable[[], str], pki: Pki, tmp_path: Path, kafka_bootstrap: str
) -> None:
    async with relay_to(from_environment("FABRIC_ORG1_PEER_ADDRESS")) as relay:
        environment = {**ANCHORS, "CARLIEN_FABRIC_PEER_ADDRESSES": relay.address}
        async with running("org1", make_database, pki, tmp_path, environment) as service:
            database = await asyncpg.connect(service.dsn)
            vins = [fresh_vin() for _ in range(4)]
            calls = [send(service, vin) for vin in vins]
            await eventually(lambda: database.fetchval("SELECT count(*) FROM ledger_writes"), "an envelope is stored")
            with relay.cut():

                async def refused() -> bool:
                    try:
                        await search(service, vins[0])
                    except grpc.aio.AioRpcError as error:
                        return refusal(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "READ_MODEL_BEHIND")
                    return False

                await eventually(refused, "an old truth is refused")
                await asyncio.sleep(10)
            for vin, (call, request) in zip(vins, calls, strict=True):
                await assert_registered_once(service, database, vin, await answered(service, call, request))
            await database.close()


async def test_a_peer_that_lags_gives_no_old_truth_and_catches_up(service: RegistryProcess, database: Database) -> None:
    lien = await service.register(registration(fresh_vin()))
    with frozen("peer-org1"):

        async def refused() -> bool:
            try:
                await search(service, lien.vin)
            except grpc.aio.AioRpcError as error:
                return refusal(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "READ_MODEL_BEHIND")
            return False

        await eventually(refused, "an old truth is refused")
    await eventually(lambda: _searchable(service, lien.vin), "it has caught up")
    await assert_registered_once(service, database, lien.vin, lien)


async def _searchable(service: RegistryProcess, vin: str) -> bool:
    try:
        return bool((await search(service, vin)).hits)
    except grpc.aio.AioRpcError:
        return False


async def test_the_other_lender_s_peer_lags_and_registrations_wait_for_it(service: RegistryProcess, database: Database) -> None:
    vins = [fresh_vin() for _ in range(4)]
    with frozen("peer-org2"):
        calls = [send(service, vin) for vin in vins]
        await asyncio.sleep(6)
    for vin, (call, request) in zip(vins, calls, strict=True):
        await assert_registered_once(service, database, vin, await answered(service, call, request))


async def test_kafka_is_away_for_a_minute_and_the_service_still_stops_when_told(service: RegistryProcess, database: Database) -> None:
    vins = [fresh_vin() for _ in range(6)]
    async with gone("kafka"):
        liens = [await service.register(registration(vin)) for vin in vins[:3]]
        await asyncio.sleep(60)
        liens += [await service.register(registration(vin)) for vin in vins[3:]]
        async with asyncio.timeout(45):
            await service.stop()
    await service.start()
    for vin, lien in zip(vins, liens, strict=True):
        await assert_registered_once(service, database, vin, lien)


# -- attacks -------------------------------------------------------------------------------------------------------


async def test_a_certificate_forged_by_its_own_signer_is_not_believed(service: RegistryProcess, database: Database) -> None:
    """The lender has its own key; what it can't have is a root of a registry without the lien."""
    lien = await service.register(registration(fresh_vin()))
    certificate = await proven(service, lien)
    assert await verdict(service, certificate) == []
    signer = LocalSigner.from_file(Path(os.environ["FABRIC_ORG1_KEY_FILE"]))
    chain = list(certificate.signer_chain)
    for forge, failure in ((_without_hits, "HITS_NOT_PROVEN"), (_without_trace, "PROOF_INVALID"), (_as_new, "HITS_NOT_PROVEN")):
        forged = certificate_pb2.SearchCertificate.FromString(certificate.SerializeToString())
        forge(forged)
        del forged.signer_chain[:]
        await certificates.sign(forged, signer, chain)
        assert await verdict(service, forged) == [failure]
    await assert_registered_once(service, database, lien.vin, lien)


def _without_hits(certificate: certificate_pb2.SearchCertificate) -> None:
    del certificate.hits[:]


def _without_trace(certificate: certificate_pb2.SearchCertificate) -> None:
    del certificate.hits[:], certificate.proof.records[:]
    certificate.proof.subjects[0].entries = b""


def _as_new(certificate: certificate_pb2.SearchCertificate) -> None:
    certificate.hits[0].lien.block_number += 1


async def test_a_replayed_envelope_changes_nothing(service: RegistryProcess, database: Database) -> None:
    lien = await service.register(registration(fresh_vin()))
    await service.discharge(lien.registration_number)
    envelope = await database.fetchval("SELECT envelope FROM ledger_writes WHERE tx_id = $1", lien.tx_id)
    async with ledger("org2") as stranger:
        before = await stranger.newest_block_number()
        await stranger.submit(lien.tx_id, envelope)
        # The copy is ordered once something after it is.
        after = await service.register(registration(fresh_vin()))
        copies = [
            one.validation async for block in stranger.blocks(before + 1, after.block_number)
            for one in block.transactions if one.transaction_id == lien.tx_id
        ]  # fmt: skip
    assert copies == ["DUPLICATE_TXID"]
    versions = await database.fetch("SELECT change FROM lien_versions WHERE vin = $1 ORDER BY block_number", lien.vin)
    assert [row["change"] for row in versions] == ["lien.registered", "lien.discharged"]
    await assert_registered_once(service, database, after.vin, after)


@pytest.mark.parametrize("endorsers", [(), ("Org2MSP",)], ids=["everybody", "its own peer alone"])
async def test_another_lender_s_discharge_is_refused_by_the_ledger_itself(
    service: RegistryProcess, database: Database, endorsers: tuple[str, ...]
) -> None:
    lien = await service.register(registration(fresh_vin()))
    argument = json.dumps({"registration_number": lien.registration_number, "reason": "PAID_OFF"}).encode()
    async with ledger("org2") as stranger:

        async def refused() -> bool:
            # Its peer may not have the registration yet.
            with pytest.raises(EndorseError) as caught:
                await stranger.endorse("DischargeLien", [argument], endorsing_organizations=endorsers)
            return bool(json.loads(caught.value.chaincode_messages[0])["reason"] == "NOT_SECURED_PARTY")

        await eventually(refused, "it is told why")
    await assert_registered_once(service, database, lien.vin, lien)


@pytest.mark.parametrize("transient", [{}, {"details": b""}, {"details": b"\xff\xfe\x00"}, {"details": b"{}"}, {"other": b"x"}])
async def test_malformed_transient_data_are_refused_and_leave_the_chaincode_running(
    service: RegistryProcess, database: Database, transient: dict[str, bytes]
) -> None:
    lien = await service.register(registration(fresh_vin()))
    before = pid_of("chaincode-org1")
    argument = json.dumps({"registration_number": lien.registration_number}).encode()
    async with ledger("org1") as own:
        with pytest.raises(EndorseError) as caught:
            await own.endorse("StoreDetails", [argument], transient=transient, endorsing_organizations=["Org1MSP"])
    assert caught.value.chaincode_messages
    assert pid_of("chaincode-org1") == before
    await assert_registered_once(service, database, lien.vin, lien)


async def test_a_tampered_row_is_not_certified_found_by_the_audit_and_mended_by_a_rebuild(
    service: RegistryProcess, database: Database
) -> None:
    lien = await service.register(registration(fresh_vin()))
    await proven(service, lien)
    await database.execute(
        "UPDATE lien_versions SET record = jsonb_set(record, '{secured_amount}', '\"1.00\"') WHERE registration_number = $1",
        lien.registration_number,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(service, lien.vin)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.UNAVAILABLE, "READ_MODEL_DAMAGED")
    code, out = await _cli(service, "audit", "--json")
    assert code == 1
    assert [finding["key"][0] for finding in json.loads(out)["findings"]] == [lien.registration_number]
    assert (await _cli(service, "rebuild", "--yes"))[0] == 0
    assert (await _cli(service, "audit"))[0] == 0
    assert await verdict(service, await proven(service, lien)) == []
    await assert_registered_once(service, database, lien.vin, lien)


async def _cli(service: RegistryProcess, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "carlien-lien"),
        *arguments,
        env={**os.environ, **ANCHORS, "LIEN_REGISTRY_POSTGRES_DSN": service.dsn},
        stdout=asyncio.subprocess.PIPE,
    )
    out = (await process.communicate())[0].decode()
    return process.returncode or 0, out
