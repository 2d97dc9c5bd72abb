"""`InsightStore` on one connection. Every writer of alerts holds the insight lock to the end of its transaction."""

# ruff: noqa: S608 - the queries are put together from constants of ours; every value is a parameter

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter, ValidationError

from carlien.telematics.v1 import events_pb2
from carlien_common import outbox
from carlien_common.postgres import Connection
from carlien_telematics.adapters.postgres_geofences import PostgresGeofences
from carlien_telematics.adapters.samples import SELECTED, WITH_SOMETHING, to_sample
from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.power import Presence
from carlien_telematics.domain.alerts.signals import AlertKind, Evidence
from carlien_telematics.domain.alerts.watch import VERSION, Watch
from carlien_telematics.domain.devices import DeviceProtocol, OnlineReason
from carlien_telematics.domain.geofences import Geofence
from carlien_telematics.domain.trips import Sample
from carlien_telematics.messages import alert_to_proto
from carlien_telematics.service.insight import Due, Kept, Known

ALERT_TOPIC = "carlien.telematics.alert.v1"
ALERT_CHANGED = "carlien.telematics.alert.changed"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('carlien_telematics.insight'))"
_DUE = """
SELECT vin, min(since) AS since, max(heard_at) AS heard_at, array_agg(due_id) AS due_ids
FROM insight_due WHERE due_id <= $2 GROUP BY vin ORDER BY min(due_id) LIMIT $1
"""
_KNOWN = "SELECT vin, head, head_time, heard_at, watched_from, profiled_to FROM car_watch WHERE vin = ANY($1)"
_SAMPLES = f"""
SELECT d.vin, s.* FROM unnest($1::text[], $2::timestamptz[]) AS d(vin, start) CROSS JOIN LATERAL (
    SELECT {SELECTED} FROM frame f
    WHERE f.vin = d.vin AND f.device_time > d.start AND f.device_time >= $3 AND {WITH_SOMETHING}
    ORDER BY f.device_time, f.device_id, f.digest LIMIT $4
) s
"""
_PRESENCE = "SELECT vin, device_id, protocol, online, online_reason FROM device WHERE vin = ANY($1) AND status = 'ACTIVE'"
CASE_COLUMNS = "alert_id, kind, incident, signals, evidence, geofence_id, started_at, last_signal_at, closed_at, revision"
_KEEP = """
INSERT INTO car_watch (vin, head, head_time, heard_at, silence_due_at, watched_from, profiled_to, profile_due)
VALUES ($1, $2, $3::timestamptz, $4, COALESCE($5, $3::timestamptz), $6, $7, $8)
ON CONFLICT (vin) DO UPDATE SET head = $2, head_time = $3, heard_at = $4, silence_due_at = COALESCE($5, car_watch.silence_due_at),
    watched_from = $6, profile_due = car_watch.profile_due OR $8
"""
_CHECKPOINT = """
INSERT INTO car_checkpoint (vin, device_time, state) VALUES ($1, $2, $3) ON CONFLICT (vin, device_time) DO UPDATE SET state = $3
"""
# The last three, and the last of each of the last eight days there are.
_PRUNE = """
DELETE FROM car_checkpoint WHERE vin = $1 AND device_time NOT IN (
    (SELECT device_time FROM car_checkpoint WHERE vin = $1 ORDER BY device_time DESC LIMIT 3)
    UNION
    (SELECT max(device_time) FROM car_checkpoint WHERE vin = $1 GROUP BY date_trunc('day', device_time AT TIME ZONE 'UTC')
     ORDER BY 1 DESC LIMIT 8)
)
"""
_PUT = """
INSERT INTO alert (alert_id, vin, kind, severity, state, signals, evidence, incident, geofence_id, started_at, last_signal_at, closed_at,
                   revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (alert_id) DO UPDATE SET kind = $3, severity = $4, state = $5, signals = $6, evidence = $7, started_at = $10,
    last_signal_at = $11, closed_at = $12, revision = $13
"""

_watch: TypeAdapter[Watch] = TypeAdapter(Watch)
_evidence: TypeAdapter[list[Evidence]] = TypeAdapter(list[Evidence])


class PostgresInsight:
    """See `InsightStore`."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source

    async def newest_due(self) -> int:
        """See `InsightStore`."""
        return int(await self._connection.fetchval("SELECT COALESCE(max(due_id), 0) FROM insight_due"))

    async def due(self, limit: int, upto: int) -> Sequence[Due]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(_DUE, limit, upto)
        return [Due(row["vin"], row["since"], row["heard_at"], row["due_ids"]) for row in rows]

    async def settle(self, due: Sequence[Due]) -> None:
        """See `InsightStore`. By number: a row that appeared since is of records that were not seen."""
        done = [due_id for entry in due for due_id in entry.due_ids]
        await self._connection.execute("DELETE FROM insight_due WHERE due_id = ANY($1::bigint[])", done)

    async def again(self, vin: str, since: datetime, heard_at: datetime) -> None:
        """See `InsightStore`."""
        await self._connection.execute("INSERT INTO insight_due (vin, since, heard_at) VALUES ($1, $2, $3)", vin, since, heard_at)

    async def silent(self, now: datetime, limit: int) -> Sequence[str]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(
            "SELECT vin FROM car_watch WHERE silence_due_at <= $1 ORDER BY silence_due_at LIMIT $2", now, limit
        )
        return [row["vin"] for row in rows]

    async def postpone(self, vins: Sequence[str], until: datetime) -> None:
        """See `InsightStore`."""
        await self._connection.execute("UPDATE car_watch SET silence_due_at = $2 WHERE vin = ANY($1)", list(vins), until)

    async def consented(self, vins: Collection[str]) -> set[str]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(
            "SELECT DISTINCT vin FROM data_consent WHERE vin = ANY($1) AND revoked_at IS NULL AND expires_at > now()", list(vins)
        )
        return {row["vin"] for row in rows}

    async def known(self, vins: Collection[str]) -> Mapping[str, Known]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(_KNOWN, list(vins))
        cars = {row["vin"]: _read_watch(row["head"]) for row in rows}
        return {
            row["vin"]: Known(watch, row["head_time"], row["heard_at"], row["watched_from"], row["profiled_to"])
            for row in rows
            if (watch := cars[row["vin"]]) is not None
        }

    async def checkpoint(self, vin: str, before: datetime) -> tuple[datetime, Watch] | None:
        """See `InsightStore`."""
        row = await self._connection.fetchrow(
            "SELECT device_time, state FROM car_checkpoint WHERE vin = $1 AND device_time < $2 ORDER BY device_time DESC LIMIT 1",
            vin,
            before,
        )
        watch = None if row is None else _read_watch(row["state"])
        return None if row is None or watch is None else (row["device_time"], watch)

    async def forgotten(self, vin: str) -> bool:
        """See `InsightStore`."""
        days = await self._connection.fetchval(
            "SELECT count(DISTINCT date_trunc('day', device_time AT TIME ZONE 'UTC')) FROM car_checkpoint WHERE vin = $1", vin
        )
        return bool(days >= 8)

    async def samples(self, starts: Mapping[str, datetime], limit: int) -> Mapping[str, Sequence[Sample]]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(_SAMPLES, list(starts), list(starts.values()), min(starts.values()), limit)
        found: dict[str, list[Sample]] = defaultdict(list)
        for row in rows:
            found[row["vin"]].append(to_sample(row))
        return found

    async def geofences(self, vins: Collection[str]) -> Sequence[Geofence]:
        """See `InsightStore`."""
        return await PostgresGeofences(self._connection).concerning(vins)

    async def presence(self, vins: Collection[str]) -> Mapping[str, Mapping[str, Presence]]:
        """See `InsightStore`."""
        found: dict[str, dict[str, Presence]] = defaultdict(dict)
        for row in await self._connection.fetch(_PRESENCE, list(vins)):
            found[row["vin"]][row["device_id"]] = _presence(row)
        return found

    async def cases(self, vin: str, after: datetime) -> Sequence[Case]:
        """See `InsightStore`."""
        rows = await self._connection.fetch(f"SELECT {CASE_COLUMNS} FROM alert WHERE vin = $1 AND last_signal_at > $2", vin, after)
        return [read_case(row) for row in rows]

    async def keep(self, kept: Sequence[Kept]) -> None:
        """See `InsightStore`."""
        rows = [
            (
                entry.known.watch.vin,
                _watch.dump_json(entry.known.watch).decode(),
                entry.known.head_time,
                entry.known.heard_at,
                entry.silence_due_at,
                entry.known.watched_from,
                entry.known.profiled_to,
                entry.profile_due,
            )
            for entry in kept
        ]
        await self._connection.executemany(_KEEP, rows)
        for entry in kept:
            vin = entry.known.watch.vin
            if entry.replayed_from is not None:
                await self._connection.execute("DELETE FROM car_checkpoint WHERE vin = $1 AND device_time > $2", vin, entry.replayed_from)
            if entry.checkpoints:
                # the last of each hour of a long run would be pruned at once but for the last of a day
                made = {when.date(): (when, watch) for when, watch in entry.checkpoints[:-3]}
                states = [*made.values(), *entry.checkpoints[-3:]]
                await self._connection.executemany(_CHECKPOINT, [(vin, when, _watch.dump_json(watch).decode()) for when, watch in states])
                await self._connection.execute(_PRUNE, vin)

    async def change(self, vin: str, cases: Sequence[Case]) -> Sequence[Case]:
        """See `InsightStore`."""
        if not cases:
            return []
        identifiers = [UUID(case.case_id) for case in cases]
        rows = await self._connection.fetch(f"SELECT {CASE_COLUMNS} FROM alert WHERE alert_id = ANY($1)", identifiers)
        stored = {str(row["alert_id"]): (row["revision"], _told(read_case(row))) for row in rows}
        changed = [case for case in cases if case.case_id not in stored or stored[case.case_id][1] != _told(case)]
        for case in changed:
            await self._put(vin, case, 1 + (stored[case.case_id][0] if case.case_id in stored else 0))
        return changed

    async def _put(self, vin: str, case: Case, revision: int) -> None:
        await self._connection.execute(
            _PUT,
            UUID(case.case_id),
            vin,
            case.kind.value,
            case.severity.value,
            "OPEN" if case.open else "CLOSED",
            [kind.value for kind in case.signals],
            _evidence.dump_json(case.evidence).decode(),
            case.incident,
            case.geofence_id or None,
            case.started_at,
            case.last_signal_at,
            case.closed_at,
            revision,
        )
        message = alert_to_proto(vin, case, revision)
        await self._connection.execute(
            "INSERT INTO alert_change (vin, kind, changed_at, alert) VALUES ($1, $2, now(), $3)",
            vin,
            case.kind.value,
            message.SerializeToString(),
        )
        await outbox.append(
            self._connection,
            topic=ALERT_TOPIC,
            key=vin,
            event=events_pb2.AlertChanged(alert=message),
            ce_type=ALERT_CHANGED,
            ce_source=self._source,
            ce_id=f"{case.case_id}/{revision}",
        )


def _presence(row: asyncpg.Record) -> Presence:
    """A log that is uploaded now and then is never silent; a maker's platform may be for longer than a device."""
    if row["online"] or row["protocol"] == DeviceProtocol.OBD2:
        return Presence.CONNECTED
    asleep = row["online_reason"] == OnlineReason.LOGOUT or row["protocol"] == DeviceProtocol.OEM_API
    return Presence.ASLEEP if asleep else Presence.AWAY


def _read_watch(text: str) -> Watch | None:
    """None for one that another version wrote."""
    try:
        watch = _watch.validate_json(text)
    except ValidationError:
        return None
    return watch if watch.version == VERSION else None


def read_case(row: asyncpg.Record) -> Case:
    """A case as it is stored; what goes on in it is only known to the watch."""
    return Case(
        case_id=str(row["alert_id"]),
        incident=row["incident"],
        kind=AlertKind(row["kind"]),
        started_at=row["started_at"],
        last_signal_at=row["last_signal_at"],
        signals=[AlertKind(kind) for kind in row["signals"]],
        active=[],
        evidence=_evidence.validate_json(row["evidence"]),
        geofence_id=row["geofence_id"] or "",
        closed_at=row["closed_at"],
    )


def _told(case: Case) -> tuple[Any, ...]:
    """What a lender is told; a later measure of the same evidence alone is no news."""
    names = tuple(sorted(item.name for item in case.evidence))
    return case.kind, tuple(case.signals), case.closed_at, case.geofence_id, names
