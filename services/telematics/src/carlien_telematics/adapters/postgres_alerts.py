"""`AlertStore` on one connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from carlien_common.postgres import Connection
from carlien_telematics.adapters.postgres_insight import CASE_COLUMNS, read_case
from carlien_telematics.adapters.postgres_registry import PostgresTracks
from carlien_telematics.service.alerting import AlertQuery, Change, StoredCase
from carlien_telematics.service.reading import Reader

_LIVE = "EXISTS (SELECT 1 FROM data_consent c WHERE c.vin = a.vin AND c.revoked_at IS NULL AND c.expires_at > now())"
_PAGE = f"""
SELECT vin, {CASE_COLUMNS} FROM alert a
WHERE ($1::text IS NULL OR vin = $1) AND ($2::text[] = '{{}}' OR kind = ANY($2)) AND ($3::text IS NULL OR state = $3)
  AND ($4::timestamptz IS NULL OR (started_at, alert_id) < ($4, $5)) AND {_LIVE}
ORDER BY started_at DESC, alert_id DESC LIMIT $6
"""  # noqa: S608 - constants of ours
_CHANGES = f"""
SELECT change_id, alert,
       ($2::text IS NULL OR vin = $2) AND ($3::text[] = '{{}}' OR kind = ANY($3)) AND {_LIVE} AS wanted
FROM alert_change a WHERE change_id > $1 ORDER BY change_id LIMIT $4
"""  # noqa: S608 - constants of ours


class PostgresAlerts:
    """See `AlertStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tracks = PostgresTracks(connection)

    async def consented(self, vin: str) -> bool:
        """See `AlertStore`."""
        return await self._tracks.consented(vin)

    async def note_read(self, reader: Reader, rpc: str, vin: str, start: datetime | None, end: datetime | None, rows: int) -> None:
        """See `AlertStore`."""
        await self._tracks.note_read(reader, rpc, vin, start, end, rows)

    async def page(self, query: AlertQuery, before: tuple[datetime, str] | None, limit: int) -> Sequence[StoredCase]:
        """See `AlertStore`."""
        state = None if query.open is None else "OPEN" if query.open else "CLOSED"
        started_at, alert_id = (before[0], UUID(before[1])) if before else (None, None)
        kinds = sorted(query.kinds)
        rows = await self._connection.fetch(_PAGE, query.vin, kinds, state, started_at, alert_id, limit)
        return [StoredCase(row["vin"], read_case(row), row["revision"]) for row in rows]

    async def newest_change(self) -> int:
        """See `AlertStore`. Counted by the sequence, for changes of a car are deleted with it."""
        return int(await self._connection.fetchval("SELECT COALESCE(max(change_id), 0) FROM alert_change"))

    async def changes(self, query: AlertQuery, after: int, limit: int) -> tuple[Sequence[Change], int]:
        """See `AlertStore`. Ids are in commit order (see 0004_insight.sql), so nothing can appear behind what was looked at."""
        rows = await self._connection.fetch(_CHANGES, after, query.vin, sorted(query.kinds), limit)
        wanted = [Change(row["change_id"], row["alert"]) for row in rows if row["wanted"]]
        return wanted, rows[-1]["change_id"] if rows else after
