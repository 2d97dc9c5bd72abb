"""One contract for every way to the ledger: the Gateway's client, and fabric-sdk-py in a process of its own."""

import asyncio
import itertools
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hfc_environment import hfc_python, network_file, worker_script
from registry_service import RegistryProcess, fresh_vin, lien_argument, registration, running

from carlien.lien.v1 import search_service_pb2
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.adapters.fabric import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    Gateway,
    Identity,
    LedgerClient,
    LocalSigner,
    Peer,
    PeerPool,
    PreparedTransaction,
    RetryAction,
    TlsOptions,
)
from carlien_lien_registry.adapters.hfc import HfcClient, HfcNetwork, HfcWorker, Node

# fabric-sdk-py's environment is made at the first use, so what needs it runs with the faults: minutes on a slow line.
WITH_HFC = pytest.mark.faults


def _gateway(registrar: bool = False) -> Gateway:
    env, role = os.environ, "REGISTRAR_" if registrar else ""
    peer = Peer(env["FABRIC_ORG1_PEER_ADDRESS"], TlsOptions(Path(env["FABRIC_ORG1_TLS_CA_FILE"]).read_bytes()))
    identity = Identity.from_file(env["FABRIC_ORG1_MSP_ID"], Path(env[f"FABRIC_ORG1_{role}CERT_FILE"]))
    signer = LocalSigner.from_file(Path(env[f"FABRIC_ORG1_{role}KEY_FILE"]))
    return Gateway(PeerPool([peer]), identity, signer, env["FABRIC_CHANNEL"], env["FABRIC_CHAINCODE"])


def _hfc(folder: Path, registrar: bool = False, **network: str) -> HfcClient:
    env, role = os.environ, "REGISTRAR_" if registrar else ""
    own = Node(env["FABRIC_ORG1_PEER_ADDRESS"], env["FABRIC_ORG1_TLS_CA_FILE"], env["FABRIC_ORG1_MSP_ID"])
    identity = {
        "msp_id": env["FABRIC_ORG1_MSP_ID"],
        "channel": env["FABRIC_CHANNEL"],
        "cert_file": env[f"FABRIC_ORG1_{role}CERT_FILE"],
        "key_file": env[f"FABRIC_ORG1_{role}KEY_FILE"],
    }
    worker = HfcWorker(hfc_python(), worker_script(), identity, HfcNetwork.from_file(network_file(folder, **network), (own,)))
    return HfcClient(worker, env["FABRIC_ORG1_MSP_ID"], env["FABRIC_CHANNEL"], env["FABRIC_CHAINCODE"])


@pytest.fixture(scope="module", params=["gateway", pytest.param("hfc", marks=WITH_HFC)])
async def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LedgerClient]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    made: LedgerClient = _gateway() if request.param == "gateway" else _hfc(tmp_path_factory.mktemp("hfc"))
    yield made
    await made.close()


@pytest.fixture
async def hfc(tmp_path: Path) -> AsyncIterator[HfcClient]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    made = _hfc(tmp_path)
    yield made
    await made.close()


async def _submitted(client: LedgerClient, argument: bytes | None = None) -> PreparedTransaction:
    prepared = await client.endorse("RegisterLien", [argument or lien_argument()])
    await client.submit(prepared.transaction_id, prepared.envelope)
    return prepared


async def test_a_transaction_is_endorsed_submitted_and_committed(client: LedgerClient) -> None:
    prepared = await _submitted(client)
    commit = await client.commit_status(prepared.transaction_id)
    assert commit.block_number <= await client.newest_block_number()
    lien = json.loads(prepared.result)
    got = json.loads(await client.evaluate("GetLien", json.dumps({"registration_number": lien["registration_number"]}).encode()))
    assert got["vin"] == lien["vin"]


async def test_sending_a_committed_envelope_again_is_harmless(client: LedgerClient) -> None:
    prepared = await _submitted(client)
    first = await client.commit_status(prepared.transaction_id)
    await client.submit(prepared.transaction_id, prepared.envelope)
    # The copy is in a block of its own once a later transaction is.
    await client.commit_status((await _submitted(client)).transaction_id)
    assert await client.commit_status(prepared.transaction_id) == first


async def test_the_chaincode_s_refusal_comes_decoded(client: LedgerClient) -> None:
    with pytest.raises(EndorseError) as caught:
        await client.endorse("RegisterLien", [lien_argument(lien_class="NONSENSE")])
    error = caught.value
    assert json.loads(error.chaincode_messages[0])["kind"] == "INVALID"
    assert {detail.msp_id for detail in error.details} <= {"Org1MSP", "Org2MSP"}
    assert error.retry is RetryAction.NONE
    with pytest.raises(EvaluateError):
        await client.evaluate("NoSuchFunction")


async def test_of_two_claims_to_one_key_one_is_invalid_and_may_be_endorsed_anew(client: LedgerClient) -> None:
    vin = fresh_vin()
    claims = [await client.endorse("RegisterLien", [lien_argument(vin, require_first_rank=True)]) for _ in range(2)]
    for claim in claims:
        await client.submit(claim.transaction_id, claim.envelope)
    results = await asyncio.gather(*(client.commit_status(claim.transaction_id) for claim in claims), return_exceptions=True)
    errors = [result for result in results if isinstance(result, CommitError)]
    assert len(errors) == 1
    assert errors[0].validation in ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT")
    assert errors[0].retry is RetryAction.NEW_TRANSACTION


async def test_the_outcome_of_a_transaction_that_was_never_sent_stays_unknown(client: LedgerClient) -> None:
    prepared = await client.endorse("RegisterLien", [lien_argument()])
    with pytest.raises(CommitStatusError) as caught:
        await client.commit_status(prepared.transaction_id, timeout=0.5)
    assert caught.value.retry is RetryAction.SAME_TRANSACTION
    assert caught.value.transaction_id == prepared.transaction_id


async def test_blocks_replay_from_any_number_and_hang_together(client: LedgerClient) -> None:
    prepared = await _submitted(client)
    commit = await client.commit_status(prepared.transaction_id)
    blocks = [block async for block in client.blocks(0, commit.block_number)]
    assert [block.number for block in blocks] == list(range(commit.block_number + 1))
    assert all(block.data_intact for block in blocks)
    assert all(later.previous_hash == earlier.header_hash for earlier, later in itertools.pairwise(blocks))
    mine = [one for one in blocks[-1].transactions if one.transaction_id == prepared.transaction_id]
    assert mine[0].valid
    assert mine[0].event is not None
    assert any(key for key, value in mine[0].writes("mortgage-asset") if value)


async def test_transient_data_never_go_to_whoever_endorses(client: LedgerClient) -> None:
    with pytest.raises(ValueError, match="may see it"):
        await client.endorse("StoreDetails", [b"{}"], transient={"details": uuid.uuid4().bytes})


async def test_the_members_are_read_from_the_channel_s_configuration(client: LedgerClient) -> None:
    assert (await client.channel_config()).data.data


async def test_outcomes_of_calls_at_once_are_not_mixed_up(client: LedgerClient) -> None:
    vins = [fresh_vin() for _ in range(8)]
    prepared = await asyncio.gather(*(_submitted(client, lien_argument(vin)) for vin in vins))
    assert [json.loads(one.result)["vin"] for one in prepared] == vins
    await asyncio.gather(*(client.commit_status(one.transaction_id) for one in prepared))


@pytest.mark.parametrize("kind", ["gateway", pytest.param("hfc", marks=WITH_HFC)])
async def test_text_that_is_not_ascii_arrives_as_it_was(kind: str, tmp_path: Path) -> None:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    registrar: LedgerClient = _gateway(registrar=True) if kind == "gateway" else _hfc(tmp_path, registrar=True)
    vin, court = fresh_vin(), "上海金融法院"
    order = {
        "vin": vin,
        "effect": "SEIZURE",
        "court_name": court,
        "file_number": "（2026）沪74民初1号",
        "order_date": "2026-01-05",
        "order_hash": "a" * 64,
    }
    try:
        prepared = await registrar.endorse("RegisterCourtOrder", [json.dumps(order, ensure_ascii=False).encode()])
        await registrar.submit(prepared.transaction_id, prepared.envelope)
        await registrar.commit_status(prepared.transaction_id)
        got = json.loads(await registrar.evaluate("ListCourtOrders", json.dumps({"vin": vin}).encode()))
        assert [one["court_name"] for one in got["court_orders"]] == [court]
    finally:
        await registrar.close()


# -- what fabric-sdk-py leaves to its caller -----------------------------------------------------------------------


@WITH_HFC
async def test_an_endorser_that_is_down_is_not_left_out_in_silence(tmp_path: Path) -> None:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    made = _hfc(tmp_path, org2_address="127.0.0.1:1")
    try:
        with pytest.raises(EndorseError) as caught:
            await made.endorse("RegisterLien", [lien_argument()], timeout=3.0)
        assert caught.value.is_unavailable
        assert "Org2MSP" in caught.value.message
    finally:
        await made.close()


@WITH_HFC
async def test_a_worker_that_is_killed_fails_its_calls_and_is_started_again(hfc: HfcClient) -> None:
    assert await hfc.newest_block_number() > 0
    process = hfc._worker._process
    assert process is not None

    async def follow() -> None:
        async for _ in hfc.blocks(await hfc.newest_block_number()):
            seen.set()

    seen = asyncio.Event()
    waiting = asyncio.create_task(follow())
    await seen.wait()
    process.kill()
    with pytest.raises(EventsError, match="died"):
        await waiting
    assert await hfc.newest_block_number() > 0


@WITH_HFC
async def test_the_service_runs_on_it(make_database: Callable[[], str], pki: Pki, tmp_path: Path, kafka_bootstrap: str) -> None:
    """Registered, its private details stored, found with a proof, discharged: all through fabric-sdk-py."""
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    environment = {
        "CARLIEN_FABRIC_CLIENT": "hfc",
        "CARLIEN_HFC_PYTHON": str(hfc_python()),
        "CARLIEN_HFC_NETWORK_FILE": str(network_file(tmp_path)),
        "CARLIEN_ANCHOR_MSP_IDS": "Org1MSP",
    }
    async with running("org1", make_database, pki, tmp_path, environment) as service:
        await _a_lien_s_life(service)


async def _a_lien_s_life(service: RegistryProcess) -> None:
    lien = await service.register(registration(fresh_vin(), require_first_rank=True))
    request = search_service_pb2.SearchLiensRequest(vin=lien.vin, min_block=lien.block_number)
    async with asyncio.timeout(60):
        while True:
            certificate = (await service.searches().SearchLiens(request, timeout=30)).certificate
            if not certificate.known_since and certificate.HasField("proof"):
                break
    assert [hit.lien for hit in certificate.hits] == [lien]
    assert (await service.discharge(lien.registration_number)).discharge_reason == "PAID_OFF"
