"""The chaincode on the real network: what its unit tests assume of peers and ledger, shown there."""

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from registry_service import fresh_vin

from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.adapters.fabric import (
    CommitError,
    EndorseError,
    EvaluateError,
    Gateway,
    Identity,
    LocalSigner,
    Peer,
    PeerPool,
    PreparedTransaction,
    RetryAction,
    TlsOptions,
)

Document = dict[str, Any]
CONFLICTS: Final = {"MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"}


@dataclass(frozen=True)
class Member:
    """An organisation's clients on the channel: its ordinary one and its registrar."""

    client: Gateway
    registrar: Gateway

    async def propose(self, function: str, argument: Mapping[str, object], registrar: bool = False) -> PreparedTransaction:
        """Endorse a call; right after a network start peers may not have met yet, and one may be a block behind the other."""
        gateway = self.registrar if registrar else self.client
        async with asyncio.timeout(30):
            while True:
                try:
                    return await gateway.endorse(function, [json.dumps(argument).encode()])
                except EndorseError as error:
                    if error.retry is not RetryAction.NEW_TRANSACTION:
                        raise
                await asyncio.sleep(0.2)

    async def order(self, transaction: PreparedTransaction) -> str:
        """Submit and tell what the peers made of it."""
        await self.client.submit(transaction.transaction_id, transaction.envelope)
        try:
            await self.client.commit_status(transaction.transaction_id)
        except CommitError as error:
            return error.validation
        return "VALID"

    async def submit(self, function: str, argument: Mapping[str, object], registrar: bool = False) -> Document:
        """Do it; it must succeed."""
        transaction = await self.propose(function, argument, registrar)
        assert await self.order(transaction) == "VALID"
        answer: Document = json.loads(transaction.result)
        return answer

    async def refused(self, function: str, argument: Mapping[str, object], registrar: bool = False) -> Document:
        """Try it; it must be refused, by every endorser alike."""
        with pytest.raises(EndorseError) as caught:
            await self.propose(function, argument, registrar)
        told = {message: json.loads(message) for message in caught.value.chaincode_messages}
        assert len(told) == 1, str(caught.value)
        refusal: Document = next(iter(told.values()))
        return refusal

    async def read(self, function: str, argument: Mapping[str, object]) -> Document:
        """Evaluate at an own peer."""
        answer: Document = json.loads(await self.client.evaluate(function, json.dumps(argument).encode(), own_org_only=True))
        return answer


@pytest.fixture(scope="module")
async def members() -> AsyncIterator[tuple[Member, Member]]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    pools: list[PeerPool] = []

    def member(org: str) -> Member:
        env = {name: os.environ[f"FABRIC_{org}_{name}"] for name in ("MSP_ID", "PEER_ADDRESS", "TLS_CA_FILE")}
        pool = PeerPool([Peer(env["PEER_ADDRESS"], TlsOptions(Path(env["TLS_CA_FILE"]).read_bytes()))])
        pools.append(pool)

        def gateway(kind: str) -> Gateway:
            identity = Identity.from_file(env["MSP_ID"], Path(os.environ[f"FABRIC_{org}_{kind}CERT_FILE"]))
            signer = LocalSigner.from_file(Path(os.environ[f"FABRIC_{org}_{kind}KEY_FILE"]))
            return Gateway(pool, identity, signer, os.environ["FABRIC_CHANNEL"], os.environ["FABRIC_CHAINCODE"])

        return Member(gateway(""), gateway("REGISTRAR_"))

    yield member("ORG1"), member("ORG2")
    for pool in pools:
        await pool.close()


def lien_on(vin: str, **fields: object) -> Document:
    return {
        "vin": vin,
        "lien_class": "MORTGAGE",
        "secured_amount": "120000",
        "currency": "CNY",
        "details_hash": hashlib.sha256(vin.encode()).hexdigest(),
        "debtor_hash": f"k1:{secrets.token_hex(32)}",
        **fields,
    }


async def test_bytes_that_arent_utf8_are_refused_and_the_chaincode_goes_on(members: tuple[Member, Member]) -> None:
    org1, _ = members
    for function, arguments in (
        ("GetLien", [b"\xff\xfe"]),
        ("GetTitle", [b'{"vin":"\xff"}']),
        ("GetLien", [b'{"registration_number":"L"}', b"\xff"]),
        ("Get\udcff", [b"{}"]),
    ):
        with pytest.raises((EvaluateError, UnicodeEncodeError, ValueError)) as caught:
            await org1.client.evaluate(function, *arguments)
        if isinstance(caught.value, EvaluateError):
            assert "ARGUMENT_NOT_UTF8" in str(caught.value)
    assert await org1.read("ListLiensByVin", {"vin": fresh_vin()}) == {"liens": [], "bookmark": ""}


async def test_of_claims_by_two_lenders_at_once_one_wins(members: tuple[Member, Member]) -> None:
    vin = fresh_vin()
    claimants = [members[turn % 2] for turn in range(20)]
    claims = await asyncio.gather(*(one.propose("RegisterLien", lien_on(vin, require_first_rank=True)) for one in claimants))
    outcomes = await asyncio.gather(*(one.order(claim) for one, claim in zip(claimants, claims, strict=True)))
    assert outcomes.count("VALID") == 1
    assert set(outcomes) - {"VALID"} <= CONFLICTS
    winner = json.loads(claims[outcomes.index("VALID")].result)["registration_number"]
    for one in members:
        refusal = await one.refused("RegisterLien", lien_on(vin, require_first_rank=True))
        assert (refusal["reason"], refusal["metadata"]) == ("FIRST_RANK_TAKEN", {"registration_number": winner})
    liens = (await members[0].read("ListLiensByVin", {"vin": vin}))["liens"]
    assert [lien["registration_number"] for lien in liens] == [winner]


async def test_an_ordinary_lien_that_slips_in_stops_a_claim_and_is_stopped_by_none(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    vin = fresh_vin()
    claim = await org1.propose("RegisterLien", lien_on(vin, require_first_rank=True))
    ordinary = [await org2.propose("RegisterLien", lien_on(vin)) for _ in range(5)]
    assert await asyncio.gather(*(org2.order(one) for one in ordinary)) == ["VALID"] * 5
    assert await org1.order(claim) == "PHANTOM_READ_CONFLICT"
    assert (await org1.refused("RegisterLien", lien_on(vin, require_first_rank=True)))["reason"] == "FIRST_RANK_TAKEN"


async def test_a_reservation_is_held_used_and_released(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    vin = fresh_vin()
    reservation = await org1.submit("ReservePriority", {"vin": vin, "hold_seconds": 300})
    refusal = await org2.refused("RegisterLien", lien_on(vin, require_first_rank=True))
    assert refusal["metadata"]["reservation_id"] == reservation["reservation_id"]
    await org2.submit("RegisterLien", lien_on(vin))
    lien = await org1.submit("RegisterLien", lien_on(vin, require_first_rank=True))
    assert lien["priority_tx_id"] == reservation["tx_id"]
    other = fresh_vin()
    reservation = await org1.submit("ReservePriority", {"vin": other, "hold_seconds": 300})
    await org1.submit("ReleasePriority", {"vin": other, "reservation_id": reservation["reservation_id"]})
    assert (await org2.submit("RegisterLien", lien_on(other, require_first_rank=True)))["first_rank"]


async def test_only_the_secured_party_discharges_and_history_keeps_all(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    lien = await org1.submit("RegisterLien", lien_on(fresh_vin()))
    number = {"registration_number": lien["registration_number"]}
    assert (await org2.refused("DischargeLien", {**number, "reason": "PAID_OFF"}))["reason"] == "NOT_SECURED_PARTY"
    lowered = await org1.submit("AmendLien", {**number, "amendment": "PARTIAL_DISCHARGE", "secured_amount": "1"})
    ended = await org1.submit("DischargeLien", {**number, "reason": "PAID_OFF"})
    entries = (await org2.read("GetLienHistory", number))["entries"]
    assert [entry["lien"] for entry in entries] == [lien, lowered, ended]
    assert [entry["tx_id"] for entry in entries] == [record["changed_tx_id"] for record in (lien, lowered, ended)]


async def test_titles_need_a_registrar_and_transfers_the_holders_consent(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    vin = fresh_vin()
    title = {"vin": vin, "holder_hash": f"k1:{secrets.token_hex(32)}", "registration_certificate_number": "320000000001"}
    assert (await org1.refused("IssueTitle", title))["reason"] == "REGISTRAR_ONLY"
    await org1.submit("IssueTitle", title, registrar=True)
    await org2.submit("RegisterLien", lien_on(vin))
    transfer = {**title, "holder_hash": f"k1:{secrets.token_hex(32)}", "holder_msp_id": "Org1MSP"}
    refusal = await org1.refused("TransferTitle", transfer, registrar=True)
    assert (refusal["reason"], refusal["metadata"]["missing_msp_ids"]) == ("CONSENT_MISSING", "Org2MSP")
    proposal = await org2.read("GetProposal", {**transfer, "operation": "TRANSFER_TITLE"})
    assert proposal["proposal_hash"] == hashlib.sha256(json.dumps(proposal["proposal"], separators=(",", ":")).encode()).hexdigest()
    await org2.submit("GiveConsent", {"vin": vin, "operation": "TRANSFER_TITLE", "proposal_hash": refusal["metadata"]["proposal_hash"]})
    assert (await org1.submit("TransferTitle", transfer, registrar=True))["version"] == 2
    assert (await org1.read("GetTitleHistory", {"vin": vin}))["entries"][-1]["title"]["holder_hash"] == transfer["holder_hash"]


async def test_details_reach_own_peers_only(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    details = json.dumps({"contract_hash": "0" * 64, "debtor": {"name": "示例商贸有限公司"}, "salt": secrets.token_hex(32)}).encode()
    lien = await org1.submit("RegisterLien", lien_on(fresh_vin(), details_hash=hashlib.sha256(details).hexdigest()))
    number = json.dumps({"registration_number": lien["registration_number"]}).encode()
    stored = await org1.client.endorse("StoreDetails", [number], transient={"details": details}, endorsing_organizations=["Org1MSP"])
    assert await org1.order(stored) == "VALID"
    assert json.loads(await org1.client.evaluate("GetDetails", number, own_org_only=True))["details"].encode() == details
    with pytest.raises(EvaluateError, match="DETAILS_UNKNOWN"):
        await org2.client.evaluate("GetDetails", number, own_org_only=True)
    with pytest.raises(EndorseError, match="DETAILS_MISMATCH"):
        await org1.client.endorse("StoreDetails", [number], transient={"details": b"{}"}, endorsing_organizations=["Org1MSP"])
    with pytest.raises(EndorseError, match="TRANSIENT_FORBIDDEN"):
        await org1.client.endorse("RegisterLien", [number], transient={"details": details}, endorsing_organizations=["Org1MSP"])
    numbers = json.dumps({"registration_numbers": [lien["registration_number"]]}).encode()
    again = await org1.client.endorse(
        "BatchStoreDetails", [numbers], transient={lien["registration_number"]: details}, endorsing_organizations=["Org1MSP"]
    )
    assert await org1.order(again) == "VALID"
    with pytest.raises(EvaluateError, match="DETAILS_UNKNOWN"):
        await org2.client.evaluate("GetDetails", number, own_org_only=True)
    purged = await org1.client.endorse("PurgeDetails", [number], endorsing_organizations=["Org1MSP"])
    assert await org1.order(purged) == "VALID"
    with pytest.raises(EvaluateError, match="DETAILS_UNKNOWN"):
        await org1.client.evaluate("GetDetails", number, own_org_only=True)


async def test_a_batch_of_a_hundred_in_one_transaction(members: tuple[Member, Member]) -> None:
    org1, _ = members
    vins = [fresh_vin() for _ in range(99)]
    items = [lien_on(vin, require_first_rank=True) for vin in vins]
    answer = await org1.submit("BatchRegisterLiens", {"items": [*items, {**items[0], "secured_amount": "-1"}]})
    assert [outcome["lien"]["vin"] for outcome in answer["outcomes"][:99]] == vins
    assert answer["outcomes"][99]["error"]["metadata"]["field"] == "items[99].secured_amount"


async def test_pages_follow_each_other(members: tuple[Member, Member]) -> None:
    org1, org2 = members
    vin = fresh_vin()
    numbers = sorted([(await org1.submit("RegisterLien", lien_on(vin)))["registration_number"] for _ in range(5)])
    seen: list[str] = []
    bookmark = ""
    while True:
        page = await org2.read("ListLiensByVin", {"vin": vin, "page_size": 2, "bookmark": bookmark})
        seen += [lien["registration_number"] for lien in page["liens"]]
        bookmark = page["bookmark"]
        if not bookmark:
            break
    assert seen == numbers
