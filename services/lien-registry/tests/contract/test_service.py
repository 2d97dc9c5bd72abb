"""The service on the real ledger, database and broker: two lenders meet."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from registry_service import RegistryProcess, debtor, fresh_vin, key, refusal, registration, running

from carlien.lien.v1 import certificate_pb2, lien_pb2, lien_service_pb2, search_service_pb2, title_service_pb2
from carlien_common.testing.pki import Pki
from carlien_common.testing.plugin import from_environment

DEADLINE = 30.0


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


async def search(service: RegistryProcess, **query: object) -> certificate_pb2.SearchCertificate:
    return (await service.searches().SearchLiens(search_service_pb2.SearchLiensRequest(**query), timeout=DEADLINE)).certificate  # type: ignore[arg-type]


async def test_a_registration_is_committed_readable_and_certified(org1: RegistryProcess) -> None:
    vin = fresh_vin()
    lien = await org1.register(registration(vin, require_first_rank=True))
    assert (lien.vin, lien.status, lien.secured_party_msp_id) == (vin, lien_pb2.LIEN_STATUS_ACTIVE, "Org1MSP")
    assert lien.tx_id
    assert lien.block_number > 0
    got = await org1.liens().GetLien(lien_service_pb2.GetLienRequest(registration_number=lien.registration_number), timeout=DEADLINE)
    assert got.lien == lien
    certificate = await search(org1, vin=vin, min_block=lien.block_number)
    assert [hit.lien for hit in certificate.hits] == [lien]
    assert certificate.known_to_block >= lien.block_number
    assert certificate.ledger_height >= certificate.known_to_block


async def proven(service: RegistryProcess, **query: object) -> certificate_pb2.SearchCertificate:
    """A certificate whose proof takes `min_block` into account: both lenders post their roots within seconds."""
    async with asyncio.timeout(DEADLINE):
        while True:
            certificate = await search(service, **query)
            if certificate.HasField("proof") and not certificate.known_since:
                return certificate


@pytest.mark.parametrize("registered", [True, False])
async def test_a_certificate_is_stored_replayed_and_verified_by_another_lender(
    org1: RegistryProcess, org2: RegistryProcess, registered: bool
) -> None:
    vin = fresh_vin()
    lien = await org1.register(registration(vin)) if registered else None
    certificate = await proven(org1, vin=vin, min_block=lien.block_number if lien else 0)
    assert [hit.lien for hit in certificate.hits] == ([lien] if lien else [])
    assert list(certificate.anchored_by) == ["Org1MSP", "Org2MSP"]
    assert len(certificate.proof.records) == len(certificate.hits)
    request = search_service_pb2.GetCertificateRequest(certificate_number=certificate.certificate_number)
    assert (await org1.searches().GetCertificate(request, timeout=DEADLINE)).certificate == certificate

    async def verify(one: certificate_pb2.SearchCertificate) -> search_service_pb2.VerifyCertificateResponse:
        return await org2.searches().VerifyCertificate(search_service_pb2.VerifyCertificateRequest(certificate=one), timeout=DEADLINE)

    assert (await verify(certificate)).valid
    certificate.searched_at.seconds += 1
    assert list((await verify(certificate)).failures) == ["SIGNATURE_INVALID"]
    certificate.searched_at.seconds -= 1
    certificate.proof.root = bytes(32)
    assert set((await verify(certificate)).failures) == {"SIGNATURE_INVALID", "ROOT_DIFFERS", "PROOF_INVALID"}


async def test_first_rank_is_claimed_once_and_others_register_behind(org1: RegistryProcess, org2: RegistryProcess) -> None:
    vin = fresh_vin()
    first = await org1.register(registration(vin, require_first_rank=True))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await org2.register(registration(vin, require_first_rank=True))
    assert refusal(caught.value) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FIRST_RANK_TAKEN",
        {"registration_number": first.registration_number},
    )
    second = await org2.register(registration(vin))
    hits = (await search(org1, vin=vin, min_block=second.block_number)).hits
    assert [hit.lien.registration_number for hit in hits] == [first.registration_number, second.registration_number]
    assert [hit.lien.secured_party_msp_id for hit in hits] == ["Org1MSP", "Org2MSP"]


async def test_a_discharge_shows_in_history_and_frees_first_rank(org1: RegistryProcess, org2: RegistryProcess) -> None:
    vin = fresh_vin()
    lien = await org1.register(registration(vin, require_first_rank=True))
    ended = await org1.discharge(lien.registration_number)
    assert (ended.status, ended.discharge_reason) == (lien_pb2.LIEN_STATUS_DISCHARGED, "PAID_OFF")
    assert (ended.block_number, ended.tx_id) == (lien.block_number, lien.tx_id), "a lien's place is that of its registration"
    history = await org1.liens().GetLienHistory(
        lien_service_pb2.GetLienHistoryRequest(registration_number=lien.registration_number), timeout=DEADLINE
    )
    assert [entry.change for entry in history.entries] == ["lien.registered", "lien.discharged"]
    assert [entry.lien.status for entry in history.entries] == [lien_pb2.LIEN_STATUS_ACTIVE, lien_pb2.LIEN_STATUS_DISCHARGED]
    assert (await org2.register(registration(vin, require_first_rank=True))).first_rank


async def test_nobody_discharges_another_lender_s_lien(org1: RegistryProcess, org2: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin()))
    await search(org2, vin=lien.vin, min_block=lien.block_number)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await org2.discharge(lien.registration_number)
    assert refusal(caught.value)[0] in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)


async def test_one_title_per_car_by_the_registrar(org1: RegistryProcess) -> None:
    request = title_service_pb2.IssueTitleRequest(
        vin=fresh_vin(), holder=debtor(), registration_certificate_number="RC0123456789", idempotency_key=key()
    )
    title = (await org1.titles().IssueTitle(request, timeout=DEADLINE)).title
    assert (await org1.titles().IssueTitle(request, timeout=DEADLINE)).title == title
    got = await org1.titles("originator").GetTitle(title_service_pb2.GetTitleRequest(vin=request.vin), timeout=DEADLINE)
    assert got.title == title
    request.idempotency_key = key()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await org1.titles().IssueTitle(request, timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_repeated_key_gets_the_first_answer_also_in_parallel(org1: RegistryProcess) -> None:
    request = registration(fresh_vin())
    answers = await asyncio.gather(*(org1.register(request) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert len((await search(org1, vin=request.vin, min_block=answers[0].block_number)).hits) == 1
    await org1.discharge(answers[0].registration_number)
    assert await org1.register(request) == answers[0], "a repeat gives the first answer, whatever happened since"
    request.secured_amount.units += 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await org1.register(request)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


async def test_of_many_claims_to_first_rank_from_two_lenders_one_wins(org1: RegistryProcess, org2: RegistryProcess) -> None:
    vin = fresh_vin()
    claims = [service.register(registration(vin, require_first_rank=True)) for _ in range(10) for service in (org1, org2)]
    results = await asyncio.gather(*claims, return_exceptions=True)
    winners = [result for result in results if isinstance(result, lien_pb2.Lien)]
    reasons = [refusal(result)[1] for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(winners) == 1
    assert set(reasons) == {"FIRST_RANK_TAKEN"}
    assert len(reasons) == 19


async def test_a_debtor_is_found_by_both_and_known_by_none(org1: RegistryProcess) -> None:
    person = lien_pb2.Debtor(id_type="PASSPORT", id_number=f"E{fresh_vin()}", name="Zhang San")
    lien = await org1.register(registration(fresh_vin(), debtor=person))
    certificate = await search(org1, debtor=lien_pb2.Debtor(id_type=person.id_type, id_number=person.id_number))
    assert [hit.lien.registration_number for hit in certificate.hits] == [lien.registration_number]
    assert certificate.debtor_hash == lien.debtor_hash
    assert person.id_number.encode() not in certificate.SerializeToString()


async def test_a_misread_serial_is_found_by_a_similar_search(org1: RegistryProcess) -> None:
    lien = await org1.register(registration(fresh_vin()))
    misread = lien.vin[:-6] + lien.vin[-6:].replace("0", "O").replace("1", "I").replace("8", "B").replace("5", "S")
    certificate = await search(org1, vin=misread, match=certificate_pb2.MATCH_TYPE_SIMILAR)
    assert lien.registration_number in [hit.lien.registration_number for hit in certificate.hits]


async def test_a_block_that_is_not_there_yet_is_waited_for_and_then_unavailable(org1: RegistryProcess) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(org1, vin=fresh_vin(), min_block=10**9)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.UNAVAILABLE, "READ_MODEL_BEHIND")
