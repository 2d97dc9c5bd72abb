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

    async def due(self, limit: int, *, again: bool) -> Sequence[DueDetails]:
        """Return details of committed registrations that are to be sent now, and keep other replicas off them for a while."""
        rows = await self._pool.fetch(
            """
            -- Materialized: as a subquery it may be run once per row, each time with another hundred.
            WITH due AS MATERIALIZED (
                SELECT p.write_id, p.details_hash, v.registration_number FROM private_details p
                JOIN ledger_writes w ON w.write_id = p.write_id AND w.state = 'COMMITTED'
                JOIN lien_versions v ON v.tx_id = w.tx_id AND v.record ->> 'details_hash' = p.details_hash AND NOT v.discharged
                WHERE p.next_try_at <= now() AND (p.tries > 0) = $2 ORDER BY p.next_try_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED
            )
            UPDATE private_details d SET next_try_at = now() + interval '30 seconds'
            FROM due WHERE d.write_id = due.write_id AND d.details_hash = due.details_hash
            RETURNING d.write_id, d.details_hash, due.registration_number, d.details, d.tries""",
            limit,
            again,
        )
        return [DueDetails(row["write_id"], row["details_hash"], row["registration_number"], row["details"], row["tries"]) for row in rows]

    async def done(self, sent: Sequence[DueDetails]) -> None:
        """Forget them."""
        await self._pool.execute(
            "DELETE FROM private_details d USING unnest($1::bigint[], $2::text[]) u (write_id, details_hash) "
            "WHERE d.write_id = u.write_id AND d.details_hash = u.details_hash",
            *_names(sent),
        )

    async def later(self, failed: Sequence[DueDetails], delay: dt.timedelta) -> None:
        """Try again after the delay."""
        await self._pool.execute(
            "UPDATE private_details d SET tries = tries + 1, next_try_at = now() + $3::interval "
            "FROM unnest($1::bigint[], $2::text[]) u (write_id, details_hash) "
            "WHERE d.write_id = u.write_id AND d.details_hash = u.details_hash",
            *_names(failed),
            delay,
        )

    async def count(self) -> int:
        """Return how many are not on the ledger yet."""
        return int(await self._pool.fetchval("SELECT count(*) FROM private_details"))


def _names(details: Sequence[DueDetails]) -> tuple[list[int], list[str]]:
    return [one.write_id for one in details], [one.details_hash for one in details]
