import asyncio
import contextlib
from collections.abc import Callable

import pytest
from registry_fakes import FakeLedger, FakeStore

from carlien_common.domain.errors import DomainError, ErrorKind, precondition
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import Endorsed, EndorsementsDiffer, LedgerCall, WriteRequest, WriteState
from carlien_lien_registry.service.writing import MAX_ATTEMPTS, LedgerWriter

_CALL = LedgerCall("RegisterLien", ("{}",))


def _request(key: str = "k", fingerprint: bytes = b"f") -> WriteRequest:
    return WriteRequest("org1", "LienService/RegisterLien", key, fingerprint, _CALL)


def _writer(*script: str) -> tuple[LedgerWriter, FakeLedger, FakeStore]:
    outcomes, store = Outcomes(), FakeStore()
    ledger = FakeLedger(outcomes, list(script), store)
    return LedgerWriter(ledger, store, outcomes, store), ledger, store


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the fakes have nothing to wait on
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carlien_lien_registry.service.writing._BLOCK_SECONDS", 0.01)


async def test_a_write_returns_what_its_block_changed() -> None:
    writer, _ledger, store = _writer("VALID")
    outcome = await writer.write(_request())
    assert outcome.tx_id == "tx1"
    assert outcome.changes[0].position.block_number == 7
    assert [write.state for write in store.writes.values()] == [WriteState.COMMITTED]


async def test_a_lost_envelope_is_sent_again_and_never_endorsed_anew() -> None:
    writer, ledger, _ = _writer("lost", "unreachable", "lost", "VALID")
    await writer.write(_request())
    assert ledger.submitted == ["tx1"] * 4
    assert len(ledger.endorsements) == 1


@pytest.mark.parametrize("conflict", ["MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"])
async def test_a_read_conflict_is_endorsed_anew(conflict: str) -> None:
    writer, ledger, _ = _writer(conflict, "VALID")
    outcome = await writer.write(_request())
    assert ledger.submitted == ["tx1", "tx2"]
    assert outcome.tx_id == "tx2"


async def test_after_five_read_conflicts_the_write_is_given_up() -> None:
    writer, ledger, store = _writer(*["MVCC_READ_CONFLICT"] * MAX_ATTEMPTS)
    with pytest.raises(DomainError) as caught:
        await writer.write(_request())
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.CONFLICT, "LEDGER_CONFLICT")
    assert len(ledger.endorsements) == MAX_ATTEMPTS
    assert [write.state for write in store.writes.values()] == [WriteState.FAILED]


async def test_the_loser_of_a_race_gets_the_chaincode_s_refusal() -> None:
    writer, ledger, store = _writer("MVCC_READ_CONFLICT")
    ledger.refusals = [None, precondition("FIRST_RANK_TAKEN", "taken", registration_number="L1")]  # type: ignore[list-item]
    with pytest.raises(DomainError) as caught:
        await writer.write(_request())
    assert caught.value.reason == "FIRST_RANK_TAKEN"
    assert caught.value.metadata == {"registration_number": "L1"}
    assert [write.state for write in store.writes.values()] == [WriteState.FAILED]


async def test_a_duplicate_in_a_later_block_says_nothing() -> None:
    # The same envelope twice: the first is valid, its copy is marked DUPLICATE_TXID.
    writer, _, _ = _writer("DUPLICATE_TXID", "VALID")
    assert (await writer.write(_request())).valid


async def test_differing_endorsements_are_asked_for_again_at_most_five_times() -> None:
    writer, ledger, store = _writer("VALID")
    ledger.refusals = [EndorsementsDiffer()] * MAX_ATTEMPTS
    with pytest.raises(DomainError, match="differed"):
        await writer.write(_request())
    assert len(ledger.endorsements) == MAX_ATTEMPTS
    assert not store.writes


async def test_a_repeated_key_waits_for_the_first_outcome() -> None:
    writer, ledger, _ = _writer("lost", "lost", "VALID")
    first, second = await asyncio.gather(writer.write(_request()), writer.write(_request()))
    assert first == second
    assert len(ledger.endorsements) == 1


async def test_a_repeat_after_the_commit_gets_the_first_answer() -> None:
    writer, ledger, _ = _writer("VALID")
    first = await writer.write(_request())
    again = await writer.write(_request())
    assert (again.tx_id, again.changes) == (first.tx_id, first.changes)
    assert ledger.submitted == ["tx1"]


async def test_a_key_used_for_another_request_is_refused() -> None:
    writer, _, _ = _writer("VALID")
    await writer.write(_request())
    with pytest.raises(DomainError) as caught:
        await writer.write(_request(fingerprint=b"other"))
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.DUPLICATE, "IDEMPOTENCY_KEY_REUSED")


async def test_a_key_is_refused_for_another_request_also_while_the_first_is_under_way() -> None:
    writer, ledger, _ = _writer("VALID")
    first = asyncio.create_task(writer.write(_request()))
    await asyncio.sleep(0)
    with pytest.raises(DomainError, match="another request"):
        await writer.write(_request(fingerprint=b"other"))
    assert (await first).valid
    assert len(ledger.endorsements) == 1


async def test_a_failed_write_may_be_tried_anew_under_its_key() -> None:
    writer, _ledger, _ = _writer(*["MVCC_READ_CONFLICT"] * MAX_ATTEMPTS, "VALID")
    with pytest.raises(DomainError):
        await writer.write(_request())
    assert (await writer.write(_request())).valid


async def test_a_caller_that_leaves_does_not_stop_its_write() -> None:
    writer, ledger, _store = _writer("lost", "VALID")
    caller = asyncio.create_task(writer.write(_request()))
    await _until(lambda: bool(ledger.submitted))
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    assert (await writer.write(_request())).valid
    assert ledger.submitted == ["tx1", "tx1"]


async def test_recovery_sends_the_same_envelope_that_a_killed_process_left() -> None:
    writer, ledger, store = _writer("VALID")
    await store.begin(_request(), Endorsed("tx-of-the-past", b"envelope"))
    await writer.recover()
    await _until(lambda: store.writes[("org1", "LienService/RegisterLien", "k")].state is WriteState.COMMITTED)
    assert ledger.submitted == ["tx-of-the-past"]
    assert ledger.endorsements == []


async def test_an_invalid_transaction_that_is_no_conflict_is_not_tried_again() -> None:
    writer, ledger, _ = _writer("ENDORSEMENT_POLICY_FAILURE")
    with pytest.raises(DomainError) as caught:
        await writer.write(_request())
    assert caught.value.metadata["validation"] == "ENDORSEMENT_POLICY_FAILURE"
    assert len(ledger.endorsements) == 1
