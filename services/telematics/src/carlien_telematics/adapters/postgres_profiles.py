"""`ProfileStore` on one connection."""

# ruff: noqa: S608 - the queries are put together from constants of ours; every value is a parameter

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from carlien.telematics.v1 import events_pb2, profile_pb2
from carlien_common import outbox
from carlien_common.postgres import Connection
from carlien_telematics.adapters.postgres_geofences import PostgresGeofences
from carlien_telematics.adapters.postgres_insight import PostgresInsight
from carlien_telematics.adapters.postgres_registry import PostgresTracks
from carlien_telematics.adapters.samples import SELECTED, WITH_SOMETHING, to_sample
from carlien_telematics.domain.alerts.cases import Case
from carlien_telematics.domain.alerts.signals import AlertKind, Signal
from carlien_telematics.domain.behaviour import Circumstances, Profile, UsageNature
from carlien_telematics.domain.geofences import GeofenceKind
from carlien_telematics.domain.trips import Sample
from carlien_telematics.messages import profile_to_proto
from carlien_telematics.service import insight
from carlien_telematics.service.profiling import ProfileTask, Told

PROFILE_TOPIC = "carlien.telematics.profile.v1"
PROFILE_CHANGED = "carlien.telematics.profile.changed"
_SAMPLES = f"""
SELECT * FROM (
    SELECT {SELECTED}, f.digest FROM frame f
    WHERE f.vin = $1 AND f.device_time >= $2 AND f.device_time <= $3 AND {WITH_SOMETHING}
    ORDER BY f.device_time DESC, f.device_id DESC, f.digest DESC LIMIT $4
) newest ORDER BY device_time, device_id, digest
"""


class PostgresProfiles:
    """See `ProfileStore`."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        self._source = source

    async def due(self, limit: int) -> Sequence[ProfileTask]:
        """See `ProfileStore`."""
        rows = await self._connection.fetch("SELECT vin, head_time FROM car_watch WHERE profile_due ORDER BY vin LIMIT $1", limit)
        return [ProfileTask(row["vin"], row["head_time"]) for row in rows]

    async def consented(self, vin: str) -> bool:
        """See `ProfileStore`."""
        return await PostgresTracks(self._connection).consented(vin)

    async def samples(self, vin: str, start: datetime, end: datetime, limit: int) -> Sequence[Sample]:
        """See `ProfileStore`."""
        return [to_sample(row) for row in await self._connection.fetch(_SAMPLES, vin, start, end, limit)]

    async def circumstances(self, vin: str, start: datetime, end: datetime) -> Circumstances:
        """See `ProfileStore`."""
        declared = await self._connection.fetchrow("SELECT usage_nature, battery_capacity_ah FROM car_declaration WHERE vin = $1", vin)
        fences = await PostgresGeofences(self._connection).page("", vin, 100)
        kinds = await self._connection.fetchval(
            "SELECT array_agg(DISTINCT s.kind) FROM alert a, unnest(a.signals) AS s(kind) WHERE a.vin = $1 "
            "AND a.last_signal_at >= $2 AND a.started_at <= $3",
            vin,
            start,
            end,
        )
        nature = declared["usage_nature"] if declared else None
        return Circumstances(
            declared_nature=None if nature is None else UsageNature(nature),
            home=next((fence for fence in fences if fence.kind is GeofenceKind.HOME), None),
            battery_capacity_ah=declared["battery_capacity_ah"] if declared else None,
            incidents=frozenset(map(AlertKind, kinds or ())),
        )

    async def published(self, vin: str) -> Told | None:
        """See `ProfileStore`."""
        stored = await self._connection.fetchval("SELECT profile FROM car_profile WHERE vin = $1", vin)
        return None if stored is None else _told(profile_pb2.BehaviourProfile.FromString(stored))

    async def put(self, vin: str, task: ProfileTask, start: datetime, profile: Profile, changed: Sequence[str], now: datetime) -> None:
        """See `ProfileStore`."""
        await self._done(task)
        if not changed:
            return
        message = profile_to_proto(vin, start, task.end, profile)
        await self._connection.execute(
            "INSERT INTO car_profile (vin, computed_at, profile) VALUES ($1, $2, $3) "
            "ON CONFLICT (vin) DO UPDATE SET computed_at = $2, profile = $3",
            vin,
            now,
            message.SerializeToString(),
        )
        event = events_pb2.ProfileChanged(profile=message, changed=changed)
        event.computed_at.FromDatetime(now)
        await outbox.append(self._connection, topic=PROFILE_TOPIC, key=vin, event=event, ce_type=PROFILE_CHANGED, ce_source=self._source)

    async def skip(self, task: ProfileTask) -> None:
        """See `ProfileStore`."""
        await self._done(task)

    async def _done(self, task: ProfileTask) -> None:
        # a record that came while the profile was made may ask for the next one
        await self._connection.execute(
            "UPDATE car_watch SET profiled_to = $2, profile_due = head_time >= $2::timestamptz + $3::interval WHERE vin = $1",
            task.vin,
            task.end,
            insight.PROFILE_EVERY,
        )

    async def cases_of_use(self, vin: str, signals: Sequence[Signal]) -> Sequence[Case]:
        """See `ProfileStore`."""
        return await insight.tell(PostgresInsight(self._connection, self._source), vin, signals)


def _told(message: profile_pb2.BehaviourProfile) -> Told:
    has_odometer, has_battery = message.HasField("verified_odometer"), message.HasField("battery_health")
    return Told(
        UsageNature(profile_pb2.UsageNature.Name(message.usage_nature).removeprefix("USAGE_NATURE_")),
        message.risk_score,
        message.trust.score,
        message.verified_odometer.odometer_km if has_odometer else None,
        message.verified_odometer.consistent if has_odometer else None,
        message.battery_health.soh_percent if has_battery else None,
    )
