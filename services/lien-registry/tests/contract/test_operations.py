"""The life of a lien beyond registration and discharge, between two real lenders."""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2, money_pb2
from registry_service import CONSORTIUM_KEY, RegistryProcess, debtor, fresh_vin, key, refusal, registration, running

from carlien.lien.v1 import (
    consent_pb2,
    consent_service_pb2,
    consent_service_pb2_grpc,
    court_order_pb2,
    dispute_pb2,
    dispute_service_pb2,
    dispute_service_pb2_grpc,
    lien_pb2,
    lien_service_pb2,
    priority_pb2,
    search_service_pb2,
    title_service_pb2,
)
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher

DEADLINE = 30.0
HASH = hashlib.sha256(b"a document").hexdigest()


@pytest.fixture(scope="module")
async def org1(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG1_PEER_ADDRESS")
    async with running("org1", make_database, pki, tmp_path_factory.mktemp("org1")) as service:
        yield service


@pytest.fixture(scope="module")
async def org2(
    make_database: Callable[[], str], pki: Pki, tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str
) -> AsyncIterator[RegistryProcess]:
    from_environment("FABRIC_ORG2_PEER_ADDRESS")
    async with running("org2", make_database, pki, tmp_path_factory.mktemp("org2")) as service:
        yield service


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)[:2]


def in_days(days: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(dt.datetime.now(dt.UTC) + dt.timedelta(days=days))
    return stamp


async def amend(service: RegistryProcess, number: str, **amendment: object) -> lien_pb2.Lien:
    request = lien_service_pb2.AmendLienRequest(registration_number=number, idempotency_key=key(), **amendment)  # type: ignore[arg-type]
    return (await service.liens().AmendLien(request, timeout=DEADLINE)).lien


async def test_a_batch_has_an_outcome_per_item_and_a_repeat_gets_the_same(org1: RegistryProcess) -> None:
    taken = await org1.register(registration(fresh_vin(), require_first_rank=True))
    items = [registration(fresh_vin(), idempotency_key="") for _ in range(5)]
    items[1].vin = "LSVAA41"
    items[3] = registration(taken.vin, idempotency_key="", require_first_rank=True)
    request = lien_service_pb2.BatchRegisterLiensRequest(registrations=items, idempotency_key=key())
    answer = await org1.liens().BatchRegisterLiens(request, timeout=DEADLINE)
    assert [outcome.WhichOneof("result") for outcome in answer.outcomes] == ["lien", "refusal", "lien", "refusal", "lien"]
    assert (answer.outcomes[1].refusal.reason, answer.outcomes[1].refusal.field) == ("VIN_LENGTH", "vin")
    assert answer.outcomes[3].refusal.reason == "FIRST_RANK_TAKEN"
    assert answer.outcomes[3].refusal.metadata["registration_number"] == taken.registration_number
    liens = [outcome.lien for outcome in answer.outcomes if outcome.HasField("lien")]
    assert [lien.vin for lien in liens] == [items[0].vin, items[2].vin, items[4].vin]
    assert len({lien.tx_id for lien in liens}) == 1
    assert await org1.liens().BatchRegisterLiens(request, timeout=DEADLINE) == answer


async def test_a_batch_of_too_many_or_none_is_refused(org1: RegistryProcess) -> None:
    for number in (0, 101):
        items = [registration(fresh_vin(), idempotency_key="")] * number
        request = lien_service_pb2.BatchRegisterLiensRequest(registrations=items, idempotency_key=key())
        assert (await refused(org1.liens().BatchRegisterLiens(request, timeout=DEADLINE)))[1] == "BATCH_SIZE"


async def test_amendments(org1: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin(), expires_at=in_days(30)))
    number = lien.registration_number
    lower = lien_service_pb2.PartialDischarge(secured_amount=money_pb2.Money(currency_code="CNY", units=20_000))
    assert (await amend(org1, number, partial_discharge=lower)).secured_amount.units == 20_000
    external = lien_service_pb2.ExternalRegistration(
        external_registry=lien_pb2.EXTERNAL_REGISTRY_PSB_VEHICLE, external_certificate_number="PSB-1", external_status="REGISTERED"
    )
    assert (await amend(org1, number, external_registration=external)).external_certificate_number == "PSB-1"
    restricted = await amend(org1, number, transfer_restriction=lien_service_pb2.TransferRestriction(registered=True))
    assert restricted.transfer_restriction_registered
    other = lien_service_pb2.DebtorChange(debtor=debtor(), contract_hash=HASH)
    changed = await amend(org1, number, debtor_change=other)
    assert changed.details_hash != lien.details_hash
    assert changed.version == 5
    renewal = lien_service_pb2.RenewLienRequest(registration_number=number, expires_at=in_days(60), idempotency_key=key())
    assert (await org1.liens().RenewLien(renewal, timeout=DEADLINE)).lien.expires_at == renewal.expires_at
    higher = lien_service_pb2.PartialDischarge(secured_amount=money_pb2.Money(currency_code="CNY", units=50_000))
    with pytest.raises(grpc.aio.AioRpcError):
        await amend(org1, number, partial_discharge=higher)


async def test_priority_is_reserved_used_and_released(org1: RegistryProcess, org2: RegistryProcess) -> None:
    vin = fresh_vin()
    reserve = lien_service_pb2.ReservePriorityRequest(vin=vin, hold_seconds=600, idempotency_key=key())
    reservation = (await org1.liens().ReservePriority(reserve, timeout=DEADLINE)).reservation
    assert reservation.state == priority_pb2.RESERVATION_STATE_HELD
    assert await refused(org2.register(registration(vin, require_first_rank=True))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FIRST_RANK_TAKEN",
    )
    lien = await org1.register(registration(vin, require_first_rank=True, reservation_id=reservation.reservation_id))
    assert lien.priority_tx_id == reservation.tx_id != lien.tx_id
    other = fresh_vin()
    reserve = lien_service_pb2.ReservePriorityRequest(vin=other, hold_seconds=600, idempotency_key=key())
    held = (await org1.liens().ReservePriority(reserve, timeout=DEADLINE)).reservation
    release = lien_service_pb2.ReleasePriorityRequest(vin=other, reservation_id=held.reservation_id, idempotency_key=key())
    assert (await org1.liens().ReleasePriority(release, timeout=DEADLINE)).reservation.state == priority_pb2.RESERVATION_STATE_RELEASED
    assert (await org2.register(registration(other, require_first_rank=True))).first_rank


async def test_a_lien_goes_to_another_lender_with_its_claim_and_that_one_s_consent(org1: RegistryProcess, org2: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin(), claim_id="CLAIM-1"))
    assign = lien_service_pb2.AssignLienRequest(
        registration_number=lien.registration_number, claim_id="CLAIM-1", assignee_msp_id="Org2MSP", idempotency_key=key()
    )
    assert (await refused(org1.liens().AssignLien(assign, timeout=DEADLINE)))[1] == "CONSENT_MISSING"
    give = consent_service_pb2.GiveConsentRequest(
        vin=lien.vin,
        assign=consent_service_pb2.AssignProposal(
            registration_number=lien.registration_number, claim_id="CLAIM-1", assignee_msp_id="Org2MSP"
        ),
        idempotency_key=key(),
    )
    consents = consent_service_pb2_grpc.ConsentServiceStub(org2.channel("originator"))
    consent = (await consents.GiveConsent(give, timeout=DEADLINE)).consent
    assert (consent.state, consent.msp_id) == (consent_pb2.CONSENT_STATE_GIVEN, "Org2MSP")
    assigned = (await org1.liens().AssignLien(assign, timeout=DEADLINE)).lien
    assert assigned.secured_party_msp_id == "Org2MSP"
    assert assigned.block_number == lien.block_number, "an assignment keeps its place"
    discharged = await org2.discharge(lien.registration_number)
    assert discharged.status == lien_pb2.LIEN_STATUS_DISCHARGED
    listed = await consents.ListConsents(consent_service_pb2.ListConsentsRequest(vin=lien.vin), timeout=DEADLINE)
    assert [one.state for one in listed.consents] == [consent_pb2.CONSENT_STATE_USED]


async def test_a_consent_is_taken_back(org1: RegistryProcess, org2: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin(), claim_id="CLAIM-2"))
    consents = consent_service_pb2_grpc.ConsentServiceStub(org2.channel("originator"))
    proposal = consent_service_pb2.AssignProposal(
        registration_number=lien.registration_number, claim_id="CLAIM-2", assignee_msp_id="Org2MSP"
    )
    give = consent_service_pb2.GiveConsentRequest(vin=lien.vin, assign=proposal, idempotency_key=key())
    consent = (await consents.GiveConsent(give, timeout=DEADLINE)).consent
    take = consent_service_pb2.WithdrawConsentRequest(vin=lien.vin, proposal_hash=consent.proposal_hash, idempotency_key=key())
    assert (await consents.WithdrawConsent(take, timeout=DEADLINE)).consent.state == consent_pb2.CONSENT_STATE_WITHDRAWN
    assign = lien_service_pb2.AssignLienRequest(
        registration_number=lien.registration_number, claim_id="CLAIM-2", assignee_msp_id="Org2MSP", idempotency_key=key()
    )
    assert (await refused(org1.liens().AssignLien(assign, timeout=DEADLINE)))[1] == "CONSENT_MISSING"


async def test_a_court_order_ends_a_lien(org1: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin()))
    request = lien_service_pb2.RegisterCourtOrderRequest(
        vin=lien.vin,
        registration_number=lien.registration_number,
        effect=court_order_pb2.COURT_ORDER_EFFECT_DISCHARGE,
        court_name="上海金融法院",
        file_number="(2026)沪74民初1号",
        order_date=date_pb2.Date(year=2026, month=1, day=5),
        order_hash=HASH,
        idempotency_key=key(),
    )
    order = (await org1.liens("registrar").RegisterCourtOrder(request, timeout=DEADLINE)).court_order
    assert order.court_order_id
    got = await org1.liens().GetLien(lien_service_pb2.GetLienRequest(registration_number=lien.registration_number), timeout=DEADLINE)
    assert got.lien.status == lien_pb2.LIEN_STATUS_DISCHARGED


async def test_a_dispute_is_opened_decided_and_listed(org1: RegistryProcess, org2: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin()))
    stub = dispute_service_pb2_grpc.DisputeServiceStub(org2.channel("collections"))
    request = dispute_service_pb2.OpenDisputeRequest(
        vin=lien.vin,
        registration_number=lien.registration_number,
        kind=dispute_pb2.DISPUTE_KIND_OBJECTION,
        statement_hash=HASH,
        idempotency_key=key(),
    )
    dispute = (await stub.OpenDispute(request, timeout=DEADLINE)).dispute
    decide = dispute_service_pb2.ResolveDisputeRequest(
        dispute_id=dispute.dispute_id, resolution=dispute_pb2.DISPUTE_STATE_REJECTED, resolution_hash=HASH, idempotency_key=key()
    )
    registrar = dispute_service_pb2_grpc.DisputeServiceStub(org1.channel("registrar"))
    assert (await registrar.ResolveDispute(decide, timeout=DEADLINE)).dispute.state == dispute_pb2.DISPUTE_STATE_REJECTED
    listed = await registrar.ListDisputes(dispute_service_pb2.ListDisputesRequest(vin=lien.vin), timeout=DEADLINE)
    assert [(one.dispute_id, one.opened_by_msp_id) for one in listed.disputes] == [(dispute.dispute_id, "Org2MSP")]


async def test_pages_of_all_my_liens(org1: RegistryProcess) -> None:
    vins = [fresh_vin() for _ in range(5)]
    mine = {(await org1.register(registration(vin, expires_at=in_days(3)))).registration_number for vin in vins}
    found: list[str] = []
    token = ""
    while True:
        request = lien_service_pb2.ListLiensRequest(
            status=lien_pb2.LIEN_STATUS_ACTIVE, expires_before=in_days(4), page_size=2, page_token=token
        )
        answer = await org1.liens("analyst").ListLiens(request, timeout=DEADLINE)
        assert all(lien.secured_party_msp_id == "Org1MSP" for lien in answer.liens)
        found += [lien.registration_number for lien in answer.liens]
        token = answer.next_page_token
        if not token:
            break
    assert mine <= set(found)
    assert found == sorted(set(found))


async def test_ranks_by_law_with_a_what_if(org1: RegistryProcess, org2: RegistryProcess) -> None:
    vin = fresh_vin()
    first = await org1.register(registration(vin))
    second = await org2.register(registration(vin, expires_at=in_days(1)))
    await org1.searches().SearchLiens(search_service_pb2.SearchLiensRequest(vin=vin, min_block=second.block_number), timeout=DEADLINE)
    today = dt.datetime.now(dt.UTC).date()
    what_if = lien_service_pb2.WhatIf(
        lien_class=lien_pb2.LIEN_CLASS_PURCHASE_MONEY,
        secured_amount=money_pb2.Money(currency_code="CNY", units=10_000),
        delivery_date=date_pb2.Date(year=today.year, month=today.month, day=today.day),
    )
    request = lien_service_pb2.RankPrioritiesRequest(vin=vin, what_if=what_if)
    answer = await org1.liens("analyst").RankPriorities(request, timeout=DEADLINE)
    assert [(rank.registration_number, rank.rule) for rank in answer.ranks] == [
        ("", "Civil Code 416"),
        (first.registration_number, "Civil Code 414"),
        (second.registration_number, "Civil Code 414"),
    ]
    assert [rank.secured_party_msp_id for rank in answer.ranks] == ["", "Org1MSP", "Org2MSP"]
    assert answer.as_of_block >= second.block_number


async def test_a_title_s_life(org1: RegistryProcess) -> None:
    vin = fresh_vin()
    issue = title_service_pb2.IssueTitleRequest(
        vin=vin, holder=debtor(), registration_certificate_number="RC0123456789", idempotency_key=key()
    )
    await org1.titles().IssueTitle(issue, timeout=DEADLINE)
    lien = await org1.register(registration(vin))
    transfer = title_service_pb2.TransferTitleRequest(
        vin=vin,
        holder=lien_pb2.Debtor(id_type="PASSPORT", id_number="E12345678", name="Zhang San"),
        holder_msp_id="Org2MSP",
        registration_certificate_number="RC9876543210",
        idempotency_key=key(),
    )
    # The organisation that shall keep it for the new holder must agree.
    assert (await refused(org1.titles().TransferTitle(transfer, timeout=DEADLINE)))[1] == "CONSENT_MISSING"
    transfer.holder_msp_id, transfer.idempotency_key = "Org1MSP", key()
    assert (await refused(org1.titles().TransferTitle(transfer, timeout=DEADLINE)))[1] == "CONSENT_MISSING", "the mortgagee's"
    holder = transfer.holder
    proposal = consent_service_pb2.TransferTitleProposal(
        holder_hash=DebtorHasher({1: CONSORTIUM_KEY}).newest(Debtor(holder.id_type, holder.id_number, holder.name)),
        holder_msp_id="Org1MSP",
        registration_certificate_number=transfer.registration_certificate_number,
    )
    give = consent_service_pb2.GiveConsentRequest(vin=vin, transfer_title=proposal, idempotency_key=key())
    await consent_service_pb2_grpc.ConsentServiceStub(org1.channel("originator")).GiveConsent(give, timeout=DEADLINE)
    title = (await org1.titles().TransferTitle(transfer, timeout=DEADLINE)).title
    assert title.registration_certificate_number == "RC9876543210"
    history = await org1.titles().GetTitleHistory(title_service_pb2.GetTitleHistoryRequest(vin=vin), timeout=DEADLINE)
    assert [entry.change for entry in history.entries] == ["title.issued", "title.transferred"]
    got = await org1.liens().GetLien(lien_service_pb2.GetLienRequest(registration_number=lien.registration_number), timeout=DEADLINE)
    assert got.lien.status == lien_pb2.LIEN_STATUS_ACTIVE, "the mortgage follows the car (Civil Code 406)"
