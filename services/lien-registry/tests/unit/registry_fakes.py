"""In-memory stand-ins for unit tests of the use cases. The real ones are shown in tests/contract."""

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from carlien_common.domain.errors import DomainError
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.domain.liens import Position
from carlien_lien_registry.service.outcomes import Outcomes
from carlien_lien_registry.service.ports import Endorsed, LedgerCall, Outcome, OutcomeUnknown, Write, WriteRequest, WriteState


def change(tx_id: str, block: int = 7) -> Change:
    return Change("lien.registered", "LSVAA4182E2184847", Position(block, 0), tx_id, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@dataclass
class FakeLedger:
    """Plays a script: per submission what happens to the envelope (an outcome's validation, `lost`, or `refused`)."""

    outcomes: Outcomes
    script: list[str]
    store: "FakeStore"
    endorsements: list[LedgerCall] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def endorse(self, call: LedgerCall) -> Endorsed:
        self.endorsements.append(call)
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        number = next(self._numbers)
        return Endorsed(f"tx{number}", f"envelope{number}".encode())

    async def submit(self, endorsed: Endorsed) -> None:
        self.submitted.append(endorsed.tx_id)
        # The rule that everything hangs on: no envelope leaves before it is stored.
        assert any(write.endorsed == endorsed for write in self.store.writes.values())
        step = self.script.pop(0)
        if step == "unreachable":
            raise OutcomeUnknown("the orderer is away")
        if step == "lost":
            return
        changes = (change(endorsed.tx_id),) if step == "VALID" else ()
        if step == "VALID":
            self.store.commit(endorsed.tx_id)
        self.outcomes.resolve([Outcome(endorsed.tx_id, step, 7, 0)], {endorsed.tx_id: changes} if changes else {})

    async def status(self, tx_id: str) -> Outcome:
        raise OutcomeUnknown("nothing is known")


@dataclass
class FakeStore:
    """Writes in a dictionary."""

    writes: dict[tuple[str, str, str], Write] = field(default_factory=dict)

    async def find(self, org: str, rpc: str, key: str) -> Write | None:
        return self.writes.get((org, rpc, key))

    async def begin(self, request: WriteRequest, endorsed: Endorsed) -> Write:
        name = (request.org, request.rpc, request.key)
        found = self.writes.get(name)
        if found is None or found.state is WriteState.FAILED:
            self.writes[name] = Write(len(self.writes), *name, request.fingerprint, request.call, WriteState.PENDING, 1, endorsed)
        return self.writes[name]

    async def replace(self, write: Write, endorsed: Endorsed) -> Write:
        return self._put(replace(write, endorsed=endorsed, attempt=write.attempt + 1))

    async def fail(self, write: Write, error: DomainError) -> None:
        self._put(replace(write, state=WriteState.FAILED, error=error))

    async def reload(self, write: Write) -> Write:
        return self.writes[(write.org, write.rpc, write.key)]

    async def pending(self, older_than: dt.timedelta, limit: int) -> Sequence[Write]:
        return [write for write in self.writes.values() if write.state is WriteState.PENDING][:limit]

    async def changes_of(self, tx_id: str) -> tuple[Change, ...]:
        return (change(tx_id),)

    def commit(self, tx_id: str) -> None:
        for write in list(self.writes.values()):
            if write.endorsed.tx_id == tx_id:
                self._put(replace(write, state=WriteState.COMMITTED, block_number=7))

    def _put(self, write: Write) -> Write:
        self.writes[(write.org, write.rpc, write.key)] = write
        return write
