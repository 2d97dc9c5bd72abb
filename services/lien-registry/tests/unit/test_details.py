"""Private details on their way to the ledger: many in one transaction, and none lost or held up by another's failure."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from carlien_common.domain.errors import precondition
from carlien_lien_registry.service.details import DetailsKeeper, DueDetails
from carlien_lien_registry.service.ports import Endorsed, OutcomeUnknown


@dataclass
class _Store:
    """Details in a dictionary by registration number; a delay is over at once."""

    waiting: dict[str, DueDetails]
    delays: list[dt.timedelta] = field(default_factory=list)

    async def due(self, limit: int, *, again: bool) -> Sequence[DueDetails]:
        return [one for one in self.waiting.values() if (one.tries > 0) is again][:limit]

    async def done(self, sent: Sequence[DueDetails]) -> None:
        for one in sent:
            del self.waiting[one.registration_number]

    async def later(self, failed: Sequence[DueDetails], delay: dt.timedelta) -> None:
        self.delays.append(delay)
        for one in failed:
            self.waiting[one.registration_number] = replace(one, tries=one.tries + 1)


@dataclass
class _Ledger:
    """Refuses transactions with any of `refused`; loses the outcome of the first `lost` commits."""

    refused: set[str] = field(default_factory=set)
    lost: int = 0
    collection: dict[str, bytes] = field(default_factory=dict)
    transactions: list[Mapping[str, bytes]] = field(default_factory=list)

    async def store_details(self, details: Mapping[str, bytes]) -> Endorsed:
        if self.refused & details.keys():
            raise precondition("DETAILS_MISMATCH", "other details")
        self.transactions.append(details)
        return Endorsed(str(len(self.transactions) - 1), b"")

    async def has_details(self, registration_number: str) -> bool:
        return registration_number in self.collection

    async def commit(self, endorsed: Endorsed) -> None:
        self.collection.update(self.transactions[int(endorsed.tx_id)])
        if self.lost:
            self.lost -= 1
            raise OutcomeUnknown("the peer is away")


def _waiting(number: int) -> _Store:
    return _Store({f"L{index}": DueDetails(index, f"{index:064x}", f"L{index}", b"{}") for index in range(number)})


def _keeper(store: _Store, ledger: _Ledger, *, busy: bool = False) -> DetailsKeeper:
    return DetailsKeeper(store, ledger, lambda _: False, lambda: busy)


async def test_many_details_go_in_one_transaction() -> None:
    store, ledger = _waiting(150), _Ledger()
    keeper = _keeper(store, ledger)
    assert await keeper.step(), "there are more"
    assert not await keeper.step()
    assert [len(transaction) for transaction in ledger.transactions] == [100, 50]
    assert not store.waiting
    assert len(ledger.collection) == 150


async def test_one_that_is_refused_holds_up_no_other() -> None:
    store, ledger = _waiting(5), _Ledger(refused={"L3"})
    keeper = _keeper(store, ledger)
    assert not await keeper.step()
    await keeper.step()
    assert ledger.collection.keys() == {"L0", "L1", "L2", "L4"}
    assert [(one.registration_number, one.tries) for one in store.waiting.values()] == [("L3", 2)]


async def test_what_was_stored_without_our_learning_of_it_is_not_stored_again() -> None:
    store, ledger = _waiting(3), _Ledger(lost=1)
    keeper = _keeper(store, ledger)
    await keeper.step()
    assert len(store.waiting) == 3
    await keeper.step()
    assert not store.waiting
    assert len(ledger.transactions) == 1


@pytest.mark.parametrize(("tries", "seconds"), [(0, 1), (3, 8), (10_000, 300)])
async def test_what_fails_is_tried_again_ever_later_but_every_five_minutes(tries: int, seconds: int) -> None:
    store = _waiting(1)
    store.waiting["L0"] = replace(store.waiting["L0"], tries=tries)
    await _keeper(store, _Ledger(refused={"L0"})).step()
    assert store.delays == [dt.timedelta(seconds=seconds)]


async def test_registrations_come_first_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    store, ledger = _waiting(300), _Ledger()
    stored: list[int] = []

    async def pause(_: float) -> None:
        stored.append(len(ledger.collection))
        if len(stored) == 12:
            raise asyncio.CancelledError

    monkeypatch.setattr("carlien_lien_registry.service.details.asyncio.sleep", pause)
    with contextlib.suppress(asyncio.CancelledError):
        await _keeper(store, ledger, busy=True).run()
    assert stored == [0] * 10 + [300] * 2
