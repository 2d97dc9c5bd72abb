"""Private details on their way to the ledger."""

import datetime as dt
from collections.abc import Sequence

from carlien_common.postgres import Pool
from carlien_lien_registry.service.details import DueDetails


class PostgresDetails:
    """DetailsStore on PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def due(self, limit: int) -> Sequence[DueDetails]:
        """Return details of committed registrations that are to be sent now, and keep other replicas off them for a while."""
        rows = await self._pool.fetch(
            """
            UPDATE private_details d SET next_try_at = now() + interval '30 seconds'
            FROM (
                SELECT p.write_id, p.details_hash, v.registration_number FROM private_details p
                JOIN ledger_writes w ON w.write_id = p.write_id AND w.state = 'COMMITTED'
                JOIN lien_versions v ON v.tx_id = w.tx_id AND v.record ->> 'details_hash' = p.details_hash AND NOT v.discharged
                WHERE p.next_try_at <= now() ORDER BY p.next_try_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED
            ) due
            WHERE d.write_id = due.write_id AND d.details_hash = due.details_hash
            RETURNING d.write_id, d.details_hash, due.registration_number, d.details, d.tries""",
            limit,
        )
        return [DueDetails(row["write_id"], row["details_hash"], row["registration_number"], row["details"], row["tries"]) for row in rows]

    async def done(self, one: DueDetails) -> None:
        """Forget them."""
        await self._pool.execute("DELETE FROM private_details WHERE write_id = $1 AND details_hash = $2", one.write_id, one.details_hash)

    async def later(self, one: DueDetails, delay: dt.timedelta) -> None:
        """Try again after the delay."""
        await self._pool.execute(
            "UPDATE private_details SET tries = tries + 1, next_try_at = now() + $3::interval WHERE write_id = $1 AND details_hash = $2",
            one.write_id,
            one.details_hash,
            delay,
        )

    async def count(self) -> int:
        """Return how many are not on the ledger yet."""
        return int(await self._pool.fetchval("SELECT count(*) FROM private_details"))
