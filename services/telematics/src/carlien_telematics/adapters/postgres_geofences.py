"""Geofences on one connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import asyncpg
from pydantic import TypeAdapter

from carlien_common.postgres import Connection
from carlien_telematics.domain.geofences import Circle, Geofence, GeofenceKind, Polygon

_COLUMNS = "geofence_id, vin, kind, name, shape, dwell_minutes, updated_at"
_PUT = """
INSERT INTO geofence (geofence_id, vin, kind, name, shape, dwell_minutes, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (geofence_id) DO UPDATE SET vin = $2, kind = $3, name = $4, shape = $5, dwell_minutes = $6, updated_at = $7
"""
_shape: TypeAdapter[Circle | Polygon] = TypeAdapter(Circle | Polygon)


class PostgresGeofences:
    """See `GeofenceStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, fence: Geofence) -> None:
        """See `GeofenceStore`."""
        await self._connection.execute(
            _PUT,
            fence.geofence_id,
            fence.vin or None,
            fence.kind.value,
            fence.name,
            _shape.dump_json(fence.shape).decode(),
            None if fence.dwell is None else int(fence.dwell / timedelta(minutes=1)),
            fence.updated_at,
        )

    async def delete(self, geofence_id: str) -> bool:
        """See `GeofenceStore`."""
        return bool(await self._connection.fetchval("DELETE FROM geofence WHERE geofence_id = $1 RETURNING true", geofence_id))

    async def page(self, after: str, vin: str | None, limit: int) -> Sequence[Geofence]:
        """See `GeofenceStore`."""
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM geofence WHERE geofence_id > $1 AND ($2::text IS NULL OR vin = $2) "  # noqa: S608 - constants
            "ORDER BY geofence_id LIMIT $3",
            after,
            vin,
            limit,
        )
        return [_read(row) for row in rows]

    async def count(self, vin: str, other_than: str) -> int:
        """See `GeofenceStore`."""
        return int(
            await self._connection.fetchval(
                "SELECT count(*) FROM geofence WHERE vin IS NOT DISTINCT FROM $1 AND geofence_id <> $2", vin or None, other_than
            )
        )

    async def concerning(self, vins: Collection[str]) -> Sequence[Geofence]:
        """Places of all cars, and of these."""
        rows = await self._connection.fetch(
            f"SELECT {_COLUMNS} FROM geofence WHERE vin IS NULL OR vin = ANY($1)",  # noqa: S608 - constants
            list(vins),
        )
        return [_read(row) for row in rows]


def _read(row: asyncpg.Record) -> Geofence:
    minutes = row["dwell_minutes"]
    return Geofence(
        row["geofence_id"],
        row["vin"] or "",
        GeofenceKind(row["kind"]),
        row["name"],
        _shape.validate_json(row["shape"]),
        None if minutes is None else timedelta(minutes=minutes),
        row["updated_at"],
    )
