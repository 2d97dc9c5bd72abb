"""Audits of dealers' stock: telematics is asked for each car in its turn, and what it says is judged."""

from carlien_common.domain.clock import Clock
from carlien_pricing.domain import stock
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.watch_state import Cause
from carlien_pricing.service.ports import Store, Telematics

# Cars asked for per pass: a stock of any size is audited in many passes.
_PASS = 50


class Auditing:
    """Audits the cars whose turn it is."""

    def __init__(self, store: Store, telematics: Telematics, policies: PolicyBundle, clock: Clock) -> None:
        self._store, self._telematics, self._policies, self._clock = store, telematics, policies, clock

    async def audit(self) -> int:
        """One pass; how many watches changed. Where telematics doesn't answer, the audit stays due and is tried again."""
        changed = 0
        for due in await self._store.due_checks(self._clock(), _PASS):
            # Outside any transaction: a slow telematics must not hold a row.
            usage = await self._telematics.state(due.vin, self._clock())
            now = self._clock()
            async with self._store.transaction() as tx:
                watch = await tx.watch_for_update(due.loan_id)
                if watch is None:
                    continue
                outcome = stock.audited(watch, usage, self._policies.ladder_on(now.date()), now)
                if outcome.watch is not watch:
                    await tx.put_watch(outcome.watch, outcome.change, Cause.STOCK_CHECK)
                    changed += 1
        return changed
