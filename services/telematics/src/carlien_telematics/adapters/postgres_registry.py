"""`RegistryStore` and `TrackStore` on one connection."""

# ruff: noqa: S608 - the queries are put together from constants of this module; every value is a parameter

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from carlien_common.postgres import Connection
from carlien_telematics.adapters.postgres_access import signing_key
from carlien_telematics.adapters.samples import SELECTED, WITH_SOMETHING, to_sample
from carlien_telematics.domain.behaviour import UsageNature
from carlien_telematics.domain.consents import Consent, Purpose
from carlien_telematics.domain.devices import Credential, Device, DeviceProtocol, DeviceStatus, OnlineReason
from carlien_telematics.domain.tracks import TrackPoint, VehicleState
from carlien_telematics.domain.trips import Sample
from carlien_telematics.service.reading import Cursor, Reader

_DEVICE = """
device_id, vin, protocol, status, registered_at, last_seen_at, online, online_reason, signing_algorithm, signing_key, replaces,
(SELECT newer.device_id FROM device newer WHERE newer.replaces = device.device_id) AS replaced_by
"""
_CONSENT = "vin, purpose, granted_at, expires_at, revoked_at"


class PostgresRegistry:
    """Devices and consents."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_device(self, device: Device, credential: Credential) -> bool:
        """See `RegistryStore`."""
        added = await self._connection.fetchval(
            "INSERT INTO device (device_id, vin, protocol, credential_salt, credential_hash, status, registered_at, "
            "signing_algorithm, signing_key, replaces) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING true",
            device.device_id,
            device.vin,
            device.protocol.value,
            credential.salt,
            credential.digest,
            device.status.value,
            device.registered_at,
            device.signing_key and device.signing_key.algorithm.value,
            device.signing_key and device.signing_key.key,
            device.replaces,
        )
        return bool(added)

    async def declare(self, vin: str, usage: UsageNature | None, battery_capacity_ah: float | None) -> None:
        """See `RegistryStore`."""
        await self._connection.execute(
            "INSERT INTO car_declaration (vin, usage_nature, battery_capacity_ah) VALUES ($1, $2, $3) ON CONFLICT (vin) DO UPDATE "
            "SET usage_nature = COALESCE($2, car_declaration.usage_nature), "
            "battery_capacity_ah = COALESCE($3, car_declaration.battery_capacity_ah)",
            vin,
            usage and usage.value,
            battery_capacity_ah,
        )

    async def device(self, device_id: str) -> Device | None:
        """See `RegistryStore`."""
        row = await self._connection.fetchrow(f"SELECT {_DEVICE} FROM device WHERE device_id = $1", device_id)
        return None if row is None else _device(row)

    async def devices(self, after: str, vin: str | None, limit: int) -> Sequence[Device]:
        """See `RegistryStore`."""
        query = f"SELECT {_DEVICE} FROM device WHERE device_id > $1 AND ($2::text IS NULL OR vin = $2) ORDER BY device_id LIMIT $3"
        return [_device(row) for row in await self._connection.fetch(query, after, vin, limit)]

    async def retire(self, device_id: str, at: datetime, reason: str) -> None:
        """See `RegistryStore`."""
        await self._connection.execute(
            "UPDATE device SET status = 'RETIRED', retired_at = $2, retire_reason = $3 WHERE device_id = $1", device_id, at, reason
        )

    async def add_consent(self, consent: Consent) -> None:
        """See `RegistryStore`."""
        await self._connection.execute(
            "INSERT INTO data_consent (vin, purpose, granted_at, expires_at) VALUES ($1, $2, $3, $4)",
            consent.vin,
            consent.purpose.value,
            consent.granted_at,
            consent.expires_at,
        )

    async def revoke(self, vin: str, purpose: Purpose | None, at: datetime) -> Sequence[Consent]:
        """See `RegistryStore`. Overlapping consents of a purpose end together, and the newest stands for them."""
        rows = await self._connection.fetch(
            "UPDATE data_consent SET revoked_at = $3 WHERE vin = $1 AND ($2::text IS NULL OR purpose = $2) "
            f"AND revoked_at IS NULL AND expires_at > $3 RETURNING {_CONSENT}",
            vin,
            purpose and purpose.value,
            at,
        )
        newest = {row["purpose"]: row for row in sorted(rows, key=lambda row: row["granted_at"])}
        return [_consent(row) for row in newest.values()]

    async def consents(self, vin: str) -> Sequence[Consent]:
        """See `RegistryStore`."""
        query = f"SELECT DISTINCT ON (purpose) {_CONSENT} FROM data_consent WHERE vin = $1 ORDER BY purpose, granted_at DESC"
        return sorted(map(_consent, await self._connection.fetch(query, vin)), key=lambda consent: consent.granted_at, reverse=True)

    async def schedule_deletion(self, vin: str, at: datetime) -> None:
        """See `RegistryStore`."""
        await self._connection.execute("INSERT INTO deletion (vin, received_until) VALUES ($1, $2)", vin, at)


_STATE = """
SELECT d.vin, d.online, d.device_id AS bound_device, s.device_id, s.device_time, s.received_at, s.latitude, s.longitude, s.speed_kmh,
       s.odometer_km, s.soc_percent, s.ignition, s.last_alarm,
       EXISTS (SELECT 1 FROM data_consent c WHERE c.vin = $1 AND c.revoked_at IS NULL AND c.expires_at > now()) AS consented
FROM (SELECT vin, bool_or(online) AS online, max(device_id) AS device_id FROM device WHERE vin = $1 GROUP BY vin) d
LEFT JOIN vehicle_state s ON s.vin = d.vin
"""
_POSITIONS = """
SELECT device_time, device_id, digest, latitude, longitude, speed_kmh, odometer_km, reissued FROM position
WHERE vin = $1 AND device_time >= COALESCE($2::timestamptz, '-infinity') AND device_time < COALESCE($3::timestamptz, 'infinity')
  AND ($4::timestamptz IS NULL OR (device_time, device_id, digest) > ($4, $5, $6))
ORDER BY device_time, device_id, digest LIMIT $7
"""
_SAMPLES = f"""
SELECT {SELECTED} FROM frame f WHERE f.vin = $1 AND f.device_time >= $2 AND f.device_time < $3 AND {WITH_SOMETHING}
ORDER BY f.device_time, f.device_id, f.digest LIMIT $4
"""


class PostgresTracks:
    """States and positions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self, vin: str) -> tuple[VehicleState, bool] | None:
        """See `TrackStore`: one query, for this is asked most."""
        row = await self._connection.fetchrow(_STATE, vin)
        if row is None:
            return None
        values = {name: row[name] for name in VehicleState.__slots__ if name not in ("device_id",)}
        return VehicleState(**values, device_id=row["device_id"] or row["bound_device"]), row["consented"]

    async def consented(self, vin: str) -> bool:
        """See `TrackStore`."""
        return bool(
            await self._connection.fetchval(
                "SELECT EXISTS (SELECT 1 FROM data_consent WHERE vin = $1 AND revoked_at IS NULL AND expires_at > now())", vin
            )
        )

    async def positions(
        self, vin: str, start: datetime | None, end: datetime | None, after: Cursor | None, limit: int
    ) -> Sequence[TrackPoint]:
        """See `TrackStore`."""
        place: tuple[Any, ...] = (after.device_time, after.device_id, after.digest) if after else (None, None, None)
        # the page's own start prunes partitions that lie before it
        if after is not None:
            start = after.device_time if start is None else max(start, after.device_time)
        rows = await self._connection.fetch(_POSITIONS, vin, start, end, *place, limit)
        return [TrackPoint(**dict(row.items())) for row in rows]

    async def samples(self, vin: str, start: datetime, end: datetime, limit: int) -> Sequence[Sample]:
        """See `TrackStore`."""
        return [to_sample(row) for row in await self._connection.fetch(_SAMPLES, vin, start, end, limit)]

    async def note_read(self, reader: Reader, rpc: str, vin: str, start: datetime | None, end: datetime | None, rows: int) -> None:
        """See `TrackStore`."""
        await self._connection.execute(
            "INSERT INTO track_read (read_at, org, role, rpc, vin, from_time, to_time, rows_read) "
            "VALUES (now(), $1, $2, $3, $4, $5, $6, $7)",
            reader.org,
            reader.role,
            rpc,
            vin,
            start,
            end,
            rows,
        )


def _device(row: asyncpg.Record) -> Device:
    return Device(
        row["device_id"],
        row["vin"],
        DeviceProtocol(row["protocol"]),
        DeviceStatus(row["status"]),
        row["registered_at"],
        row["last_seen_at"],
        row["online"],
        OnlineReason(row["online_reason"]),
        signing_key(row["signing_algorithm"], row["signing_key"]),
        row["replaces"],
        row["replaced_by"],
    )


def _consent(row: asyncpg.Record) -> Consent:
    return Consent(row["vin"], Purpose(row["purpose"]), row["granted_at"], row["expires_at"], row["revoked_at"])
