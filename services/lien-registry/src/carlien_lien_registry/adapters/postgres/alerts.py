"""Alerts into the outbox: what others change on cars we have a registration on, and registrations of ours that end."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

from carlien_common import outbox
from carlien_common.postgres import Connection, Pool
from carlien_lien_registry import metrics
from carlien_lien_registry.adapters.postgres.rows import registered_at
from carlien_lien_registry.domain.alerts import Alert, AlertKind, concerns
from carlien_lien_registry.domain.changes import Change
from carlien_lien_registry.wire import alert_to_proto

TOPIC: Final = "carlien.lien.alert.v1"
_HELD: Final = """
    SELECT vin, registration_number, expires_at, registered_block, registered_tx_index, registered_change_index FROM lien_versions
    WHERE vin = ANY($1) AND secured_party_msp_id = $2 AND superseded_block IS NULL AND NOT discharged"""
# A registration is reminded of once for each distance, the nearest one it has come within; 0 is its end. What ended long ago
# (a read model just rebuilt, a service that was away) isn't news.
_DUE: Final = """
    WITH due AS (
        SELECT registration_number, vin, expires_at,
            (SELECT min(d) FROM unnest($3::integer[]) d WHERE expires_at <= $1::timestamptz + d * interval '1 day') AS days_ahead
        FROM lien_versions
        WHERE superseded_block IS NULL AND NOT discharged AND secured_party_msp_id = $2
          AND expires_at <= $1::timestamptz + $4::integer * interval '1 day' AND expires_at > $1::timestamptz - interval '30 days'
    ), fresh AS (
        INSERT INTO reminders (registration_number, expires_at, days_ahead)
        SELECT registration_number, expires_at, days_ahead FROM due
        WHERE NOT EXISTS (
            SELECT 1 FROM reminders r WHERE r.registration_number = due.registration_number
            AND r.expires_at = due.expires_at AND r.days_ahead <= due.days_ahead
        ) ORDER BY expires_at LIMIT 1000 ON CONFLICT DO NOTHING RETURNING registration_number, expires_at, days_ahead
    )
    SELECT due.* FROM due JOIN fresh USING (registration_number, expires_at, days_ahead)"""


class ChangeAlerts:
    """Writes change alerts in the projection's transaction."""

    def __init__(self, msp_id: str, event_source: str) -> None:
        """Take whose registrations are watched, and the CloudEvents source."""
        self._msp_id = msp_id
        self._source = event_source

    async def write(self, conn: Connection, changes: Iterable[Change]) -> None:
        """Alert of what somebody else changed on cars on which we had registered before, and still do after these changes."""
        foreign = [change for change in changes if concerns(change, self._msp_id)]
        if not foreign:
            return
        held = await conn.fetch(_HELD, sorted({change.vin for change in foreign}), self._msp_id)
        alerts = [
            Alert(AlertKind.CHANGE, change.vin, row["registration_number"], row["expires_at"], change=change)
            for change in foreign
            for row in held
            if row["vin"] == change.vin and registered_at(row) < change.position
        ]
        await _append(conn, alerts, self._source)


class PostgresReminders:
    """ReminderStore on PostgreSQL."""

    def __init__(self, pool: Pool, msp_id: str, event_source: str) -> None:
        """Take the pool, whose registrations are watched, and the CloudEvents source."""
        self._pool = pool
        self._msp_id = msp_id
        self._source = event_source

    async def remind(self, now: dt.datetime, days_ahead: Sequence[int]) -> int:
        """Write the reminders that are due and not out yet, at most 1,000; returns how many."""
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await conn.fetch(_DUE, now, self._msp_id, [0, *days_ahead], max(days_ahead))
            alerts = [
                Alert(
                    AlertKind.EXPIRED if row["days_ahead"] == 0 else AlertKind.EXPIRY_REMINDER,
                    row["vin"],
                    row["registration_number"],
                    row["expires_at"],
                    row["days_ahead"],
                )
                for row in rows
            ]
            await _append(conn, alerts, self._source)
        return len(alerts)


async def _append(conn: Connection, alerts: Sequence[Alert], source: str) -> None:
    entries = [outbox.Entry(one.vin, alert_to_proto(one), f"carlien.lien.alert.{one.kind.value}.v1", one.alert_id) for one in alerts]
    await outbox.append_all(conn, topic=TOPIC, ce_source=source, entries=entries)
    for one in alerts:
        metrics.ALERTS.labels(one.kind.value).inc()
