"""The ledger client on the real network."""

import asyncio
import itertools
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from registry_service import fresh_vin

from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.adapters.fabric import (
    ChaincodeEvent,
    Checkpoint,
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    Gateway,
    Identity,
    LocalSigner,
    Peer,
    PeerPool,
    PreparedTransaction,
    RetryAction,
    TlsOptions,
)


def _peer(address: str, **options: Any) -> Peer:
    ca = Path(from_environment("FABRIC_ORG1_TLS_CA_FILE")).read_bytes()
    return Peer(address, TlsOptions(ca, options.pop("name_override", None)), **options)


def _gateway(*peers: Peer) -> Gateway:
    env = os.environ
    identity = Identity.from_file(env["FABRIC_ORG1_MSP_ID"], Path(env["FABRIC_ORG1_CERT_FILE"]))
    signer = LocalSigner.from_file(Path(env["FABRIC_ORG1_KEY_FILE"]))
    return Gateway(PeerPool(peers), identity, signer, env["FABRIC_CHANNEL"], env["FABRIC_CHAINCODE"])


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    made = _gateway(_peer(from_environment("FABRIC_ORG1_PEER_ADDRESS")))
    yield made
    await made.close()


def _argument(vin: str = "", **fields: Any) -> bytes:
    values = {
        "vin": vin or fresh_vin(),
        "lien_class": "MORTGAGE",
        "secured_amount": "1000.00",
        "currency": "CNY",
        "details_hash": "a" * 64,
        "debtor_hash": "k1:" + "b" * 64,
    }
    return json.dumps({**values, **fields}).encode()


async def _submitted(gateway: Gateway, argument: bytes | None = None) -> PreparedTransaction:
    prepared = await gateway.endorse("RegisterLien", [argument or _argument()])
    await gateway.submit(prepared.transaction_id, prepared.envelope)
    return prepared


async def test_a_transaction_is_endorsed_submitted_and_committed(gateway: Gateway) -> None:
    prepared = await _submitted(gateway)
    commit = await gateway.commit_status(prepared.transaction_id)
    assert commit.block_number <= await gateway.newest_block_number()
    lien = json.loads(prepared.result)
    got = json.loads(await gateway.evaluate("GetLien", json.dumps({"registration_number": lien["registration_number"]}).encode()))
    assert got["vin"] == lien["vin"]


async def test_sending_a_committed_envelope_again_is_harmless(gateway: Gateway) -> None:
    prepared = await _submitted(gateway)
    first = await gateway.commit_status(prepared.transaction_id)
    await gateway.submit(prepared.transaction_id, prepared.envelope)
    # The copy is in a block of its own once a later transaction is.
    await gateway.commit_status((await _submitted(gateway)).transaction_id)
    assert await gateway.commit_status(prepared.transaction_id) == first


async def test_the_chaincode_s_refusal_comes_decoded(gateway: Gateway) -> None:
    with pytest.raises(EndorseError) as caught:
        await gateway.endorse("RegisterLien", [_argument(lien_class="NONSENSE")])
    error = caught.value
    assert json.loads(error.chaincode_messages[0])["kind"] == "INVALID"
    assert {detail.msp_id for detail in error.details} <= {"Org1MSP", "Org2MSP"}
    assert error.retry is RetryAction.NONE
    with pytest.raises(EvaluateError):
        await gateway.evaluate("NoSuchFunction")


async def test_of_two_claims_to_one_key_one_is_invalid_and_may_be_endorsed_anew(gateway: Gateway) -> None:
    vin = fresh_vin()
    claims = [await gateway.endorse("RegisterLien", [_argument(vin, require_first_rank=True)]) for _ in range(2)]
    for claim in claims:
        await gateway.submit(claim.transaction_id, claim.envelope)
    results = await asyncio.gather(*(gateway.commit_status(claim.transaction_id) for claim in claims), return_exceptions=True)
    errors = [result for result in results if isinstance(result, CommitError)]
    assert len(errors) == 1
    assert errors[0].validation in ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT")
    assert errors[0].retry is RetryAction.NEW_TRANSACTION


async def test_the_outcome_of_a_transaction_that_was_never_sent_stays_unknown(gateway: Gateway) -> None:
    prepared = await gateway.endorse("RegisterLien", [_argument()])
    with pytest.raises(CommitStatusError) as caught:
        await gateway.commit_status(prepared.transaction_id, timeout=0.5)
    assert caught.value.retry is RetryAction.SAME_TRANSACTION
    assert caught.value.transaction_id == prepared.transaction_id


async def test_events_resume_after_the_checkpoint_without_a_gap(gateway: Gateway) -> None:
    start = Checkpoint(await gateway.newest_block_number() + 1)
    sent = [(await _submitted(gateway)).transaction_id for _ in range(6)]

    async def take(checkpoint: Checkpoint, number: int) -> list[ChaincodeEvent]:
        events = []
        async with asyncio.timeout(30):
            async for event in gateway.chaincode_events(checkpoint):
                events.append(event)
                if len(events) == number:
                    break
        return events

    whole = await take(start, 6)
    assert [event.transaction_id for event in whole] == sent
    first = await take(start, 2)
    rest = await take(start.after_event(first[-1]), 4)
    assert [*first, *rest] == whole


async def test_blocks_replay_from_any_number_and_hang_together(gateway: Gateway) -> None:
    prepared = await _submitted(gateway)
    commit = await gateway.commit_status(prepared.transaction_id)
    blocks = [block async for block in gateway.blocks(0, commit.block_number)]
    assert [block.number for block in blocks] == list(range(commit.block_number + 1))
    assert all(block.data_intact for block in blocks)
    assert all(later.previous_hash == earlier.header_hash for earlier, later in itertools.pairwise(blocks))
    mine = [one for one in blocks[-1].transactions if one.transaction_id == prepared.transaction_id]
    assert mine[0].valid
    assert mine[0].event is not None
    assert any(key for key, value in mine[0].writes("mortgage-asset") if value)


async def test_another_peer_is_asked_when_one_is_down() -> None:
    made = _gateway(_peer("127.0.0.1:1"), _peer(from_environment("FABRIC_ORG1_PEER_ADDRESS")))
    try:
        prepared = await _submitted(made)
        assert (await made.commit_status(prepared.transaction_id)).block_number > 0
        assert await made.newest_block_number() > 0
    finally:
        await made.close()


async def test_with_no_peer_left_the_error_says_so() -> None:
    made = _gateway(_peer("127.0.0.1:1"))
    try:
        with pytest.raises(EndorseError) as caught:
            await made.endorse("RegisterLien", [_argument()])
        assert caught.value.is_unavailable
        with pytest.raises(EventsError):
            await made.newest_block_number()
    finally:
        await made.close()


async def test_the_certificate_s_name_may_be_another_than_the_address() -> None:
    address = from_environment("FABRIC_ORG1_PEER_ADDRESS")
    wrong, right = _gateway(_peer(address, name_override="elsewhere.test")), _gateway(_peer(address, name_override="localhost"))
    try:
        with pytest.raises(EvaluateError) as caught:
            await wrong.evaluate("ListPolicies", b"{}")
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert await right.newest_block_number() >= 0
    finally:
        await asyncio.gather(wrong.close(), right.close())


async def test_calls_in_flight_are_bounded_and_none_is_lost() -> None:
    made = _gateway(_peer(from_environment("FABRIC_ORG1_PEER_ADDRESS"), max_in_flight=4))
    try:
        prepared = await asyncio.gather(*(made.endorse("RegisterLien", [_argument()]) for _ in range(40)))
        assert len({one.transaction_id for one in prepared}) == 40
    finally:
        await made.close()


async def test_transient_data_never_go_to_whoever_endorses(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="may see it"):
        await gateway.endorse("StoreDetails", [b"{}"], transient={"details": uuid.uuid4().bytes})
