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
        """Return details of committed registrations that are to be sent now, and keep other replicas off them for a while.

        What a batch brought for a registration that the chaincode refused belongs to nothing: it goes, once the read model has
        the batch's block (while it is rebuilt, it hasn't).
        """
        rows = await self._pool.fetch(
            """
            WITH candidates AS MATERIALIZED (
                SELECT p.write_id, p.details_hash, w.tx_id, w.block_number FROM private_details p
                JOIN ledger_writes w ON w.write_id = p.write_id AND w.state = 'COMMITTED'
                WHERE p.next_try_at <= now() AND (p.tries > 0) = $2 ORDER BY p.next_try_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED
            ), registrations AS MATERIALIZED (
                SELECT tx_id, record ->> 'details_hash' AS details_hash, registration_number FROM lien_versions
                WHERE tx_id IN (SELECT tx_id FROM candidates) AND NOT discharged
            ), due AS MATERIALIZED (
                SELECT * FROM candidates LEFT JOIN registrations USING (tx_id, details_hash)
            ), refused AS (
                DELETE FROM private_details d USING due, ledger_checkpoint c
                WHERE d.write_id = due.write_id AND d.details_hash = due.details_hash
                  AND due.registration_number IS NULL AND due.block_number <= c.block_number
            )
            UPDATE private_details d SET next_try_at = now() + interval '30 seconds'
            FROM due WHERE d.write_id = due.write_id AND d.details_hash = due.details_hash AND due.registration_number IS NOT NULL
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
