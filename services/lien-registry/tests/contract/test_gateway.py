"""The ledger client on the real network."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from registry_service import lien_argument

from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.adapters.fabric import (
    ChaincodeEvent,
    Checkpoint,
    EndorseError,
    EvaluateError,
    EventsError,
    Gateway,
    Identity,
    LocalSigner,
    Peer,
    PeerPool,
    PreparedTransaction,
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


async def _submitted(gateway: Gateway, argument: bytes | None = None) -> PreparedTransaction:
    prepared = await gateway.endorse("RegisterLien", [argument or lien_argument()])
    await gateway.submit(prepared.transaction_id, prepared.envelope)
    return prepared


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
            await made.endorse("RegisterLien", [lien_argument()])
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
        prepared = await asyncio.gather(*(made.endorse("RegisterLien", [lien_argument()]) for _ in range(40)))
        assert len({one.transaction_id for one in prepared}) == 40
    finally:
        await made.close()
